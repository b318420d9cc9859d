"""Log lines of a run that goes on after its losses have changed."""

from types import SimpleNamespace

import paddle

from engine.parallel import Devices
from engine.training.progress import Progress


def test_a_run_resumed_with_other_losses_logs_the_means_of_those_that_there_are(small_recipe):
    recorded = {}
    records = SimpleNamespace(scalar=lambda name, value, iteration: recorded.update({name: value}))
    progress = Progress(small_recipe(log_iters=2, iters=10), 6, Devices(0, 1), records)
    progress.set_state_dict({"pending_losses": [{"loss": 4.0, "main.OhemCrossEntropyLoss": 4.0}]})
    progress.batch_done({"loss": paddle.to_tensor(2.0), "main.CrossEntropyLoss": paddle.to_tensor(2.0)})
    progress.iteration_done(2, 0.01)
    assert recorded["Train/loss"] == 3.0
    assert recorded["Train/main.CrossEntropyLoss"] == 2.0 and "Train/main.OhemCrossEntropyLoss" not in recorded
