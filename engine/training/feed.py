"""The training batches of a run, by number."""

from pathlib import Path
from typing import Iterator, Tuple

import paddle

from data import SegmentationDataset, sample_numbers, train_batches
from engine.parallel import Devices
from engine.resilience.bad_samples import BadSamples
from engine.resilience.divergence import Batch
from engine.resilience.shared_memory import check_shared_memory


class Feed:
    """Training batches by number, counted from the start of the run: a batch is a function of seed and number.

    Args:
        dataset: to train on.
        batch_size: images of one device's batch.
        seed: of the run.
        num_workers: loader processes.
        devices: of the run; each gets its own batches.
        skip_bad_samples: number of unreadable images that may be replaced by others.
        save_dir: where these are listed.

    Raises:
        UserError: when there is too little shared memory for the loader processes.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batch_size: int,
        seed: int,
        num_workers: int,
        devices: Devices,
        skip_bad_samples: int,
        save_dir: Path,
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.devices = devices
        self.bad_samples = BadSamples(dataset, seed, skip_bad_samples, save_dir, devices.rank)
        if num_workers:
            images, labels, _ = next(iter(self._loader(0, 1, num_workers=0)))
            check_shared_memory((images.numpy(), labels.numpy()), num_workers)

    def batches(self, start: int, stop: int) -> Iterator[Tuple[int, paddle.Tensor, paddle.Tensor]]:
        """Yield (number, images [N, H, W, 3] uint8, labels [N, H, W] uint8) of the batches `start` to `stop` - 1."""
        for number, (images, labels, indices) in enumerate(self._loader(start, stop, self.num_workers), start=start):
            self.bad_samples.delivered(sample_numbers(number, self.batch_size, *self.devices), indices)
            yield number, images, labels

    def read(self, number: int) -> Batch:
        """This device's batch of a number, read again."""
        images, labels, indices = next(iter(self._loader(number, number + 1, num_workers=0)))
        files = [self.dataset.file_list[index][0] for index in indices.numpy()]
        return Batch(images.numpy(), labels.numpy(), files)

    def _loader(self, start: int, stop: int, num_workers: int):
        replace_bad = self.bad_samples.limit > 0
        return train_batches(
            self.dataset, self.batch_size, self.seed, start, stop, num_workers, *self.devices, replace_bad=replace_bad
        )
