"""SIGTERM and SIGINT while training: the run saves a checkpoint and ends within one iteration."""

import contextlib
import os
import signal
import threading
import time
from typing import Iterator, Optional

from compat import logger

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Paddle's launcher sends SIGTERM up to three times within 0.6 s: what follows so soon is the same request.
SAME_REQUEST_SECONDS = 1.0


class Interrupted(SystemExit):
    """A signal ended the run; the exit status is 128 + its number, as in shells."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


class Interruption:
    """Handles the signals within `with`, if that is entered in the main thread.

    The first one is remembered until `leave_if_requested`; another one, more than a second later, ends the process at
    once.

    Args:
        decides: whether this process acts on a signal. Of several devices only rank 0 does: it cannot finish its
            iteration without the others, so they continue until they lose it or the launcher kills them.
    """

    def __init__(self, decides: bool = True):
        self.decides = decides
        self.received: Optional[int] = None
        self.received_at = 0.0
        self._anywhere = False

    def __enter__(self) -> "Interruption":
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether this process has to end."""
        return self.received is not None and self.decides

    def leave_if_requested(self) -> None:
        """Raises Interrupted if a signal came; to be called where the run's state is consistent."""
        if self.requested:
            raise Interrupted(self.received)

    @contextlib.contextmanager
    def leaving_anywhere(self) -> Iterator[None]:
        """Within it a signal raises Interrupted at once; for long computations that change and write nothing."""
        self.leave_if_requested()
        self._anywhere = True
        try:
            yield
        finally:
            self._anywhere = False

    def _receive(self, number: int, _frame) -> None:
        if self.received is None:
            self.received, self.received_at = number, time.monotonic()
            if self.decides:
                logger.warning("%s: saving and leaving; a second one leaves at once", signal.Signals(number).name)
            if self._anywhere:
                self.leave_if_requested()
        elif time.monotonic() - self.received_at > SAME_REQUEST_SECONDS:
            os._exit(128 + number)
