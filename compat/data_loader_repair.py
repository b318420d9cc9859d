"""Repair of paddle.io.DataLoader: what a dataset raises must arrive where the loader is iterated.

As Paddle has it, an image that cannot be read ends the loader's reader thread; without worker processes the training
loop then waits for that thread for ever, and with them it gets a SystemError about a queue.
"""

from paddle.io.dataloader import dataloader_iter

SECONDS_TO_END = 10
READERS = (dataloader_iter._DataLoaderIterSingleProcess, dataloader_iter._DataLoaderIterMultiProcess)


def repair_data_loader() -> None:
    """Replace the two reader classes' thread loop and `__next__`. Calling it again changes nothing."""
    for reader in READERS:
        if not hasattr(reader, "reader_error"):
            _repair(reader)


def _repair(reader: type) -> None:
    thread_loop, next_batch = reader._thread_loop, reader.__next__

    def _thread_loop(self, *args):
        try:
            thread_loop(self, *args)
        except BaseException as error:
            self.reader_error = error
            self._exit_thread_unexpectedly()  # wakes whoever waits for a batch

    def __next__(self):  # noqa: N807
        try:
            return next_batch(self)
        except Exception as error:
            if not isinstance(error, StopIteration):
                self._thread.join(SECONDS_TO_END)  # it closes the queue first, and only then raises its error
            if self.reader_error is None:
                raise
            self._try_shutdown_all()  # worker processes outlive us otherwise
            raise self.reader_error from None

    reader.reader_error = None
    reader._thread_loop = _thread_loop
    reader.__next__ = __next__
