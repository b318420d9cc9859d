"""Networks built and called without computing anything."""

import contextlib
from typing import Iterator

import paddle


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, Paddle only records the operations of networks that are built and called, and infers their shapes."""
    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
            yield
    finally:
        paddle.disable_static()
