"""How a recipe is run."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class RunOptions:
    """What decides how a recipe is run, and not what it computes (but for `seed`)."""

    save_dir: str = "output"
    num_workers: Optional[int] = None  # None: 0 on the CPU, up to 8 for a GPU
    seed: int = 0
    diff_seed: bool = False  # what is drawn on a device (dropout) differs by rank; weights and data are shared anyway
    deterministic: bool = False
    validate: bool = True
    resume_model: Optional[str] = None
    load_from: Optional[str] = None
    keep_checkpoint_max: int = 5
    use_vdl: bool = False
    on_nan: str = "stop"
    max_skipped: int = 10  # iterations, for on_nan="skip"
    skip_bad_samples: int = 0  # so many training images may be unreadable
