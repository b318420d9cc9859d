"""Builds networks quickly, for tests that load all weights anyway."""

from contextlib import contextmanager

import pytest
from paddle.nn.initializer import Constant, Normal


@contextmanager
def zero_networks():
    """Initialise normally distributed weights with 0, because drawing them takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Normal, "forward", lambda self, parameter, block=None: Constant(0.0)(parameter, block))
        yield
