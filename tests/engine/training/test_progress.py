"""Log lines: times by a clock of the test's own, and losses of a run that goes on after its losses have changed."""

from types import SimpleNamespace

import paddle

from engine.parallel import Devices
from engine.training.progress import Progress, clock


def test_a_run_resumed_with_other_losses_logs_the_means_of_those_that_there_are(small_recipe):
    recorded = {}
    records = SimpleNamespace(scalar=lambda name, value, iteration: recorded.update({name: value}))
    progress = Progress(small_recipe(log_iters=2, iters=10), 6, Devices(0, 1), records)
    progress.set_state_dict({"pending_losses": [{"loss": 4.0, "main.OhemCrossEntropyLoss": 4.0}]})
    progress.batch_done({"loss": paddle.to_tensor(2.0), "main.CrossEntropyLoss": paddle.to_tensor(2.0)})
    progress.iteration_done(2, 0.01)
    assert recorded["Train/loss"] == 3.0
    assert recorded["Train/main.CrossEntropyLoss"] == 2.0 and "Train/main.OhemCrossEntropyLoss" not in recorded


def test_a_line_has_the_times_of_its_own_iterations_alone(small_recipe, monkeypatch, caplog):
    """Each iteration of two batches waits 0.2 s and computes 0.6 s a batch, later twice that; others' time is left out.

    An iteration takes 2 * 2 images on each of 2 devices.
    """
    time, recorded = SimpleNamespace(now=0.0), []
    monkeypatch.setattr("engine.training.progress.time.perf_counter", lambda: time.now)
    monkeypatch.setattr("engine.training.progress.logger.propagate", True)
    caplog.set_level("INFO")
    records = SimpleNamespace(scalar=lambda name, value, iteration: recorded.append((name, round(value, 6), iteration)))
    recipe = small_recipe(log_iters=2, iters=4000, accumulate=2)
    progress = Progress(recipe, 12, Devices(0, 2), records)
    for iteration in range(1, 5):
        pace = 1 if iteration <= 2 else 2
        for _ in range(2):
            time.now += 0.2 * pace
            progress.batch_read()
            time.now += 0.6 * pace
            progress.batch_done({"loss": paddle.ones([])})
        progress.iteration_done(iteration, 0.01)
        if iteration == 2:
            time.now += 100  # a validation
            progress.restart_clock()
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("[TRAIN] epoch: 1, iter: 2/4000, loss: 1.0000, lr: 0.010000, batch_cost: 1.6000, ")
    assert first.endswith("reader_cost: 0.40000, ips: 5.0000 samples/sec | ETA 01:46:36")  # 3998 * 1.6 s
    assert second.startswith("[TRAIN] epoch: 3, iter: 4/4000, ")
    assert second.endswith("batch_cost: 3.2000, reader_cost: 0.80000, ips: 2.5000 samples/sec | ETA 03:33:07")
    assert recorded[-1] == ("Train/reader_cost", 0.8, 4) and ("Train/batch_cost", 1.6, 2) in recorded


def test_the_clock_counts_hours_beyond_a_day():
    assert [clock(seconds) for seconds in (59.9, 3661, 100 * 3600 + 59 * 60)] == ["00:00:59", "01:01:01", "100:59:00"]
