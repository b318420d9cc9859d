"""The guard of losses by itself; test_faults.py has it in runs."""

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from engine.parallel import Devices
from engine.resilience.divergence import Batch, LossGuard


def test_an_iteration_is_skipped_once_however_many_of_its_batches_are_not_finite(tmp_path):
    batch = Batch(np.zeros([1, 8, 8, 3], np.uint8), np.zeros([1, 8, 8], np.uint8), ["a.png"])
    guard = LossGuard("skip", 1, 2, lambda number: batch, tmp_path, Devices(0, 1))
    model = nn.Linear(2, 2)
    accepted = []
    for number, loss in enumerate([np.nan, np.nan, 1.0, 1.0]):
        if number % 2 == 0:
            guard.begin_iteration(model)
        accepted.append(guard.accepts(number, {"loss": paddle.to_tensor(loss)}))
    assert accepted == [False, False, True, True] and guard.skipped == 1


def test_a_resumed_run_that_allows_fewer_than_were_skipped_skips_no_more(tmp_path):
    batch = Batch(np.zeros([1, 8, 8, 3], np.uint8), np.zeros([1, 8, 8], np.uint8), ["a.png"])
    guard = LossGuard("skip", 2, 1, lambda number: batch, tmp_path, Devices(0, 1))
    guard.set_state_dict({"skipped": 5})
    guard.begin_iteration(nn.Linear(2, 2))
    with pytest.raises(UserError, match="5 iterations were skipped before, and --max_skipped allows 2"):
        guard.accepts(0, {"loss": paddle.to_tensor(np.nan)})
