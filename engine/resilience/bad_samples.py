"""Training images that cannot be read: the loader replaces them, and they are counted and listed here."""

from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

from compat import UserError, logger

import numpy as np
import paddle

from data import SegmentationDataset, sample_candidates

LIST = "bad_samples.txt"


class BadSamples:
    """Counts the bad samples of a run, each once however often it is drawn.

    The loader replaces a bad sample silently. Which ones it replaced follows from the indices that it delivers, because
    its candidates for each sample number are known.

    Args:
        dataset: of the training images.
        seed: of the run.
        limit: number of bad samples allowed.
        save_dir: folder of the list `bad_samples.txt`; each further device has a list `bad_samples_rank_N.txt`.
        rank: of this process.
    """

    def __init__(self, dataset: SegmentationDataset, seed: int, limit: int, save_dir: Path, rank: int = 0):
        self.dataset = dataset
        self.seed = seed
        self.limit = limit
        self.file = save_dir / (f"bad_samples_rank_{rank}.txt" if rank else LIST)
        self.found: Dict[str, str] = {}  # {image file: what is wrong}
        self._unchecked: List[Tuple[Sequence[int], paddle.Tensor]] = []

    def state_dict(self) -> Dict[str, Dict[str, str]]:
        """The bad samples found so far."""
        return {"found": dict(self.found)}

    def set_state_dict(self, state: Mapping[str, Mapping[str, str]]) -> None:
        """Take what `state_dict` returned."""
        self.found = dict(state["found"])

    def delivered(self, numbers: Sequence[int], indices: paddle.Tensor) -> None:
        """To be called with each batch's sample numbers and the dataset indices [N] int64 delivered for them."""
        if self.limit:
            self._unchecked.append((numbers, indices))

    def check(self) -> None:
        """Check the batches since the last check; raises UserError when there are more bad samples than allowed."""
        unchecked, self._unchecked = self._unchecked, []
        for numbers, indices in unchecked:
            for number, index in zip(numbers, indices.numpy()):
                for candidate in sample_candidates(self.dataset, number, self.seed):
                    if candidate.index == index:
                        break
                    self._add(candidate.index)

    def _add(self, index: int) -> None:
        image = self.dataset.file_list[index][0]
        if image in self.found:
            return
        try:
            self.dataset.train_item(index, np.random.default_rng(0))
            reason = "it could not be read, but now it can"
        except UserError as error:
            reason = str(error)
        self.found[image] = reason
        # Written anew, since the list may hold what was found after the checkpoint that this run was resumed from.
        lines = [f"{image}: {reason}\n" for image, reason in self.found.items()]
        self.file.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
        if len(self.found) > self.limit:
            raise UserError(
                f"{reason}. This is bad sample number {len(self.found)}, and --skip_bad_samples allows {self.limit}; "
                f"they are listed in {self.file}"
            )
        logger.warning("skipped: %s (bad sample %d of at most %d)", reason, len(self.found), self.limit)
