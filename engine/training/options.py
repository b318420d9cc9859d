"""How a recipe is run."""

from dataclasses import dataclass
from typing import Optional, Tuple

from compat import UserError

AUTO = "auto"  # --resume_model: the newest checkpoint, if any
MAX_SKIPPED = 10
BY_NAME = "by_name"  # --finetune_classes: classes of the same name


@dataclass(frozen=True)
class RunOptions:
    """How a recipe is run. Seeds, starting weights and what happens at faults affect the result, the rest does not."""

    save_dir: str = "output"
    num_workers: Optional[int] = None  # loader processes; None: 0 on the CPU, up to 8 for a GPU
    seed: int = 0
    diff_seed: bool = False  # whether dropout differs between devices; initial weights and data order never do
    deterministic: bool = False
    validate: bool = True
    resume_model: Optional[str] = None
    load_from: Optional[str] = None
    finetune: Optional[str] = None  # a weight file or a name of weights, of any class count
    finetune_classes: Tuple[str, ...] = ()  # BY_NAME, or "ours=theirs"
    finetune_config: Optional[str] = None  # the recipe of these weights, for the names of their classes
    keep_checkpoint_max: int = 5
    use_vdl: bool = False
    on_nan: str = "stop"
    max_skipped: Optional[int] = None  # iterations, for on_nan="skip"; None: MAX_SKIPPED
    skip_bad_samples: int = 0  # number of unreadable training images that may be replaced

    def __post_init__(self):
        if self.finetune and self.load_from:
            raise UserError(f"--finetune {self.finetune}: not with --load_from {self.load_from}; name one of them")
        if self.starting_weights and self.resume_model not in (None, AUTO):
            raise UserError(
                f"--resume_model {self.resume_model}: goes on with the weights there, so leave out "
                f"{self.starting_weights}"
            )
        if (self.finetune_classes or self.finetune_config) and not self.finetune:
            raise UserError("--finetune_classes and --finetune_config: are for --finetune, which is not given")
        if self.max_skipped is not None and self.on_nan != "skip":
            raise UserError(f"--max_skipped {self.max_skipped}: is for --on_nan skip, which is not given")

    @property
    def starting_weights(self) -> str:
        """The flag that names the weights to start from, and its value; empty if none is given."""
        flags = (("--load_from", self.load_from), ("--finetune", self.finetune))
        return next((f"{flag} {value}" for flag, value in flags if value), "")

    @property
    def skips_allowed(self) -> int:
        """Iterations that on_nan="skip" may skip."""
        return MAX_SKIPPED if self.max_skipped is None else self.max_skipped
