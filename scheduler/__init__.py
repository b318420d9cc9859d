"""Learning-rate schedules."""

import compat  # noqa: F401  it must come before paddle

from scheduler.warmup_poly import WarmupPoly, warmup_poly

__all__ = ["WarmupPoly", "warmup_poly"]
