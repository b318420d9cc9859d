"""Repairs of paddle.io.DataLoader: a dataset's exception must reach the loop over the loader, an abandoned loader must
not keep the process alive, and the workers of the next one must not hang.

In Paddle's own code an image that cannot be read ends the loader's reader thread. Without worker processes the training
loop then waits for that thread forever; with them it gets a SystemError about a queue. The destructor of an iterator
waits forever for its workers if their queues are gone before they are told to end.

The reader thread of a loader with workers ends up to five seconds after the loop over it. At its end it takes a lock of
Paddle's memory statistics; a worker of another loader that is forked just then inherits that lock as taken, and waits
for it forever when it hands over its first batch. So the thread ends with its loop.
"""

import contextlib
import multiprocessing
import os
import select
import threading
import time

from paddle.io.dataloader import dataloader_iter

SECONDS_TO_END = 10  # for a reader thread
SECONDS_TO_LEAVE = 2  # for a worker process
_MultiProcess = dataloader_iter._DataLoaderIterMultiProcess
READERS = (dataloader_iter._DataLoaderIterSingleProcess, _MultiProcess)


def repair_data_loader() -> None:
    """Replace methods of the two reader classes. Calling it again changes nothing."""
    for reader in READERS:
        if not hasattr(reader, "reader_error"):
            _pass_errors_on(reader)
    if _MultiProcess._try_shutdown_all.__module__ != __name__:
        _end_workers()


def _pass_errors_on(reader: type) -> None:
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
                self._thread.join(SECONDS_TO_END)  # it closes the queue before it raises its error
            if self.reader_error is None:
                raise
            self._try_shutdown_all()  # worker processes outlive us otherwise
            raise self.reader_error from None

    reader.reader_error = None
    reader._thread_loop = _thread_loop
    reader.__next__ = __next__


def _end_workers() -> None:
    shut_down = _MultiProcess._try_shutdown_all

    def _try_shutdown_all(self, timeout=None):
        if not self._shutdown:
            _end_reader_thread(self)
        shut_down(self, timeout or SECONDS_TO_LEAVE)
        for worker in set(self._workers).intersection(multiprocessing.active_children()):
            worker.terminate()

    _MultiProcess._try_shutdown_all = _try_shutdown_all


def _end_reader_thread(reader) -> None:
    """Wake the thread that waits for batches of the workers, and wait until the system has removed it."""
    thread = reader._thread
    if thread is None or thread is threading.current_thread():
        return
    reader._exit_thread_expectedly()
    with contextlib.suppress(OSError, ValueError):  # the pipe is closed, or its other end is
        pipe = reader._data_queue._writer
        if select.select([], [pipe], [], 0)[1]:  # a full pipe needs no message to wake the thread
            pipe.send_bytes(b"")  # which is not a pickle: an error, on which the thread sees that it is to end
    thread.join(SECONDS_TO_END)
    task = (
        f"/proc/self/task/{thread.native_id}"  # Linux; Python's threads have joined before they run C++'s destructors
    )
    give_up = time.monotonic() + SECONDS_TO_END
    while os.path.exists(task) and time.monotonic() < give_up:
        time.sleep(0.001)
