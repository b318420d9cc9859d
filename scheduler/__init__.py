"""Learning-rate schedules."""

import compat  # noqa: F401  it must come before paddle

from scheduler.warmup import Schedule
from scheduler.warmup_constant import WarmupConstant, warmup_constant
from scheduler.warmup_cosine import WarmupCosine, warmup_cosine
from scheduler.warmup_poly import WarmupPoly, warmup_poly

__all__ = [
    "Schedule",
    "WarmupConstant",
    "WarmupCosine",
    "WarmupPoly",
    "warmup_constant",
    "warmup_cosine",
    "warmup_poly",
]
