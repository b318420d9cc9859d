"""Building networks quickly, for tests that load every weight anyway."""

from contextlib import contextmanager

import pytest
from paddle.nn.initializer import Constant, Normal


@contextmanager
def zero_networks():
    """What is drawn from a normal distribution meanwhile is 0: drawing a network's weights takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Normal, "forward", lambda self, parameter, block=None: Constant(0.0)(parameter, block))
        yield
