"""What a run remembers beside its tensors: `state.json` of a checkpoint."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Dict, Mapping

from compat import UserError, logger

from engine.recipe import Recipe
from engine.recipe.optimization import Constant


@dataclass(frozen=True)
class RunState:
    """A run between two iterations; with the tensors of a checkpoint, all that an exact resume needs.

    The mappings are what `state_dict` of the run's parts returned.

    Attributes:
        iteration: updates made so far.
        validated: the last iteration that was saved with its validation, if the run has one.
        iters: length of the run.
        seed: of the run.
        total_batch: images of an iteration, over all devices and accumulated batches.
        guard: of engine.resilience.divergence.LossGuard.
        bad_samples: of engine.resilience.bad_samples.BadSamples.
        validation: of engine.training.validation.Validation; empty for a run without.
        progress: of engine.training.progress.Progress.
        records: of engine.resilience.records.Records.
    """

    iteration: int
    validated: int
    iters: int
    seed: int
    total_batch: int
    guard: Mapping[str, Any]
    bad_samples: Mapping[str, Any]
    validation: Mapping[str, Any]
    progress: Mapping[str, Any]
    records: Mapping[str, Any]

    def to_json(self) -> Dict[str, Any]:
        """The content of `state.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunState":
        """Read what `to_json` returned, now or before the parts had states of their own."""
        content = dict(content) if "guard" in content else _with_parts(content)
        return cls(**{field.name: content[field.name] for field in fields(cls)})

    def check_continued(self, folder: Path, recipe: Recipe, seed: int, total_batch: int) -> None:
        """Warn where a run that continues this one changes images or rates.

        Args:
            folder: the checkpoint's, for messages.
            recipe: of the run that continues.
            seed: of that run.
            total_batch: of that run.

        Raises:
            UserError: if the seeds differ.
        """
        if self.seed != seed:
            raise UserError(f"{folder}: was trained with --seed {self.seed}, not {seed}")
        if self.total_batch != total_batch:
            logger.warning(
                "%s: an iteration took %d images and now takes %d, so the order of images changes",
                folder,
                self.total_batch,
                total_batch,
            )
        if self.iters != recipe.iters and not isinstance(recipe.lr_scheduler, Constant):
            logger.warning(
                "%s: its run had %d iterations and this one has %d, so the learning rates change",
                folder,
                self.iters,
                recipe.iters,
            )


def _with_parts(content: Mapping[str, Any]) -> Dict[str, Any]:
    """The content of a `state.json` of the first format, which was flat, in today's."""
    return {
        **content,
        "guard": {"skipped": content["skipped"]},
        "bad_samples": {"found": content["bad_samples"]},
        "validation": {"best": content["best"]},
        "progress": {"pending_losses": content["untold_losses"]},
        "records": {"lengths": content["records"]},
    }
