"""The share for a latency: found by bisection, and refused where it is no latency to come down to."""

from types import SimpleNamespace

from compat import UserError

import pytest

from engine.pruning.pruner import UnreachableError
from tool.pruning.latency import STEPS, measure, share_for_latency


def network(share):
    """Pruned; below a fifth it cannot be."""
    if share < 0.2:
        raise UnreachableError("so little cannot be reached")
    return SimpleNamespace(model=share, share=share)


def latency(share):
    """10 ms for everything, of which 2 are not multiply-accumulates."""
    return 2 + 8 * share


@pytest.mark.parametrize("milliseconds", [9, 6.4, 3.8])
def test_the_share_is_the_largest_that_is_fast_enough(milliseconds):
    share = share_for_latency(1.0, milliseconds, network, latency)
    assert latency(share) <= milliseconds < latency(share + 2**-STEPS)


@pytest.mark.parametrize(
    ("milliseconds", "message"),
    [(10.5, "takes 10.0 ms already; name a shorter"), (3, r"the fastest pruned network takes 3\.\d ms; name a longer")],
)
def test_what_cannot_be_is_named(milliseconds, message):
    with pytest.raises(UserError, match=message):
        share_for_latency(1.0, milliseconds, network, latency)


def test_another_error_is_not_taken_for_a_share_that_is_too_small():
    """It was reported as a latency that cannot be reached."""

    def broken(share):
        raise UserError("street.png: cannot be read")

    with pytest.raises(UserError, match="street.png: cannot be read"):
        share_for_latency(1.0, 5.0, broken, latency)


def test_a_network_is_exported_and_timed():
    from tests.helpers.small_network import SmallNetwork

    assert 0 < measure(SmallNetwork(3), 3, "paddle", (16, 24), 1) < 10**4
