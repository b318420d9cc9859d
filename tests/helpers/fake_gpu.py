"""Lets our code take its GPU branches while Paddle computes on the CPU."""

import contextlib
import sys
from pathlib import Path
from typing import Any, Iterator

import compat  # noqa: F401  it must come before paddle

import paddle
import pytest

ROOT = str(Path(__file__).parents[2])


class _Place:
    """The place of a tensor, as our code sees it."""

    def is_cpu_place(self) -> bool:
        return False

    def is_gpu_place(self) -> bool:
        return True


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """`Tensor.place` and `get_device()` report a GPU to this project's code, but not to Paddle itself."""
    place = paddle.Tensor.place
    device = paddle.device.get_device

    def place_of(tensor: paddle.Tensor) -> Any:
        return _Place() if _called_by_project() else place.__get__(tensor)

    def get_device() -> str:
        return "gpu:0" if _called_by_project() else device()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paddle.Tensor, "place", property(place_of))
        patch.setattr(paddle.device, "get_device", get_device)
        patch.setattr(paddle, "get_device", get_device)
        yield


def _called_by_project() -> bool:
    file = sys._getframe(2).f_code.co_filename
    return file.startswith(ROOT) and "site-packages" not in file
