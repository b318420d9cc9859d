"""The endless stream of training samples.

Sample number k of a run is a pure function of (seed, k): which image it is, and every random draw of its
augmentation. So neither worker processes nor interruptions change what a run sees, and a resumed run simply starts at
another number.
"""

import contextlib
import ctypes
import signal
import sys
from contextlib import closing
from itertools import islice
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from compat import UserError

import cv2
import numpy as np
import paddle
from paddle.io import DataLoader, Dataset, IterableDataset

from data.datasets import SegmentationDataset
from data.prefetch import in_order, reader_threads

BATCHES_AHEAD = 2
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>: the signal a process gets when its parent dies
REPLACEMENTS = 20  # images that are tried in place of a bad one
# Draws are seeded by [seed, number, stream], where the stream keeps them independent. numpy takes missing numbers as 0,
# so the order of images, seeded by [seed, epoch], has stream 0; data.class_uniform has 3, and data.copy_paste 4.
AUGMENTATION, REPLACEMENT = 1, 2


def sample_of(number: int, length: int, seed: int) -> Tuple[int, int]:
    """(epoch, index in the dataset) of sample `number`: every epoch is a new permutation of the whole dataset."""
    epoch, position = divmod(number, length)
    return epoch, int(np.random.default_rng([seed, epoch]).permutation(length)[position])


class Candidate(NamedTuple):
    """An image's index in the dataset, and the class that its crop is to show; None for any crop."""

    index: int
    class_id: Optional[int] = None


def sample_candidates(dataset: SegmentationDataset, number: int, seed: int) -> Iterator[Candidate]:
    """The image for sample `number`, by class-uniform sampling or `sample_of`; then replacements if it is bad."""
    target = dataset.class_uniform.draw(number, seed) if dataset.class_uniform else None
    yield Candidate(target.index, target.class_id) if target else Candidate(sample_of(number, len(dataset), seed)[1])
    rng = np.random.default_rng([seed, number, REPLACEMENT])
    for _ in range(REPLACEMENTS):
        yield Candidate(int(rng.integers(len(dataset))))


def sample_numbers(batch: int, batch_size: int, rank: int = 0, ranks: int = 1) -> range:
    """The sample numbers of a run's batch number `batch` on device `rank` of `ranks`."""
    first = (batch * ranks + rank) * batch_size
    return range(first, first + batch_size)


class _Stream(Dataset):
    """Maps a sample number to (image, label, index in the dataset, number)."""

    def __init__(self, dataset: SegmentationDataset, seed: int, replace_bad: bool):
        super().__init__()
        self.dataset = dataset
        self.seed = seed
        self.replace_bad = replace_bad

    def __getitem__(self, number: int):
        problem = None
        for index, class_id in sample_candidates(self.dataset, number, self.seed):
            try:
                rng = np.random.default_rng([self.seed, number, AUGMENTATION])
                image, label = self.dataset.train_item(index, rng, class_id)
                return image, label, index, number
            except UserError as error:
                problem = error
                if not self.replace_bad:
                    break
        raise problem

    def __len__(self) -> int:
        return len(self.dataset)

    def collate(self, samples: Sequence[Tuple]) -> List[np.ndarray]:
        """[images, labels, indices] of a batch's samples, after copy-paste between them.

        Raises:
            UserError: for images of several sizes.
        """
        sizes = sorted({image.shape[1::-1] for image, *_ in samples})
        if len(sizes) > 1:
            raise UserError(
                f"train_dataset: a batch holds images of {' and '.join('{}x{}'.format(*size) for size in sizes[:2])}; "
                "crop them to one size by a transform, such as {type: RandomPaddingCrop, crop_size: [512, 512]}"
            )
        images, labels, indices, numbers = (np.stack(part) for part in zip(*samples))
        if self.dataset.copy_paste:
            images, labels = self.dataset.copy_paste(images, labels, numbers.tolist(), self.seed)
        return [images, labels, indices]


class _Batches:
    """Batch sampler: the sample numbers of the batches `start` to `stop`, for one of `ranks` devices."""

    def __init__(self, batch_size: int, start: int, stop: int, rank: int, ranks: int):
        self.batch_size = batch_size
        self.start = start
        self.stop = stop
        self.rank = rank
        self.ranks = ranks

    def __iter__(self) -> Iterator[list]:
        for batch in range(self.start, self.stop):
            yield list(sample_numbers(batch, self.batch_size, self.rank, self.ranks))

    def __len__(self) -> int:
        return self.stop - self.start


class _ThreadedBatches:
    """The batches of paddle's DataLoader, read by threads of this process.

    For a GPU, Paddle's own buffer copies a batch to pinned memory and on to the device, in a separate stream, while the
    batch before is computed.
    """

    def __init__(self, stream: _Stream, batches: _Batches, threads: int):
        self.stream = stream
        self.batches = batches
        self.threads = threads

    def __iter__(self) -> Iterator[List[paddle.Tensor]]:
        if paddle.get_device() == "cpu":
            for arrays in self.arrays():
                yield [paddle.to_tensor(array) for array in arrays]
            return
        source = _Source(self)
        buffered = iter(DataLoader(source, batch_size=None, num_workers=0, return_list=True))
        try:
            yield from buffered
        finally:
            buffered.__del__()  # ends its thread, whose reference keeps the iterator alive otherwise
            source.close()
        if source.error:
            raise source.error

    def arrays(self) -> Iterator[List[np.ndarray]]:
        """The batches in the host's memory."""
        numbers = (number for batch in self.batches for number in batch)
        ahead = BATCHES_AHEAD * self.batches.batch_size
        with closing(in_order(self.stream.__getitem__, numbers, self.threads, ahead)) as samples:
            for batch in self.batches:
                yield self.stream.collate(list(islice(samples, len(batch))))

    def __len__(self) -> int:
        return len(self.batches)


class _Source(IterableDataset):
    """Batches for Paddle's buffer, which has a thread of its own.

    An error ends the batches and is kept in `error`: raised in that thread, it would make Paddle print a traceback and
    report a killed queue.
    """

    def __init__(self, batches: _ThreadedBatches):
        super().__init__()
        self.arrays = batches.arrays()
        self.error: Optional[Exception] = None

    def __iter__(self) -> Iterator[List[np.ndarray]]:
        try:
            yield from self.arrays
        except Exception as error:
            self.error = error

    def close(self) -> None:
        """End the reader threads; for use after the buffer's thread has ended."""
        with contextlib.suppress(ValueError):  # that thread is still reading
            self.arrays.close()


def train_batches(
    dataset: SegmentationDataset,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    num_workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    threads: Optional[int] = None,
    replace_bad: bool = False,
) -> Union[_ThreadedBatches, DataLoader]:
    """Loader of the batches number `start` to `stop` (exclusive) of a run, for device `rank` of `ranks`.

    Args:
        num_workers: paddle's worker processes; at 0, `threads` threads of this process (by default one a core, up to
            8) read ahead.
        replace_bad: a sample that raises UserError is replaced, see `sample_candidates`.

    Yields:
        [images [N, h, w, 3] uint8, labels [N, h, w] uint8, indices [N] int64], N being `batch_size`.

    Raises:
        UserError: when a batch over all devices is larger than the dataset.
    """
    if batch_size * ranks > len(dataset):
        raise UserError(
            f"a batch of {batch_size * ranks} is larger than the dataset of {len(dataset)} images; "
            f"use --batch_size {max(1, len(dataset) // ranks)} or less"
        )
    cv2.setNumThreads(1)  # the readers run in parallel already
    stream, batches = _Stream(dataset, seed, replace_bad), _Batches(batch_size, start, stop, rank, ranks)
    if num_workers == 0:
        return _ThreadedBatches(stream, batches, threads or reader_threads())
    return DataLoader(
        stream,
        batch_sampler=batches,
        num_workers=num_workers,
        return_list=True,
        collate_fn=stream.collate,
        worker_init_fn=init_loader_worker,
    )


def init_loader_worker(_worker: int) -> None:
    """`worker_init_fn` of loaders: the worker process ignores ctrl-C and ends with its parent.

    Ctrl-C reaches every process of the terminal, but the trainer still needs its workers to finish the iteration. If it
    is killed, they must not outlive it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
