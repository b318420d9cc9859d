"""The log says once that training waits for images."""

from types import SimpleNamespace

import paddle
import pytest

from engine.parallel import Devices
from engine.training.progress import Progress


@pytest.fixture
def run(small_recipe, monkeypatch, caplog):
    """run(shares): one log line for each share of the time that goes into reading; returns the warnings so far."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("engine.training.progress.time.perf_counter", lambda: clock.now)
    monkeypatch.setattr("engine.training.progress.logger.propagate", True)
    progress = Progress(
        small_recipe(log_iters=1, iters=100), 6, Devices(0, 1), SimpleNamespace(scalar=lambda *record: None)
    )

    def lines(shares):
        for share in shares:
            clock.now += share
            progress.batch_read()
            clock.now += 1 - share
            progress.batch_done({"loss": paddle.ones([])})
            progress.iteration_done(1, 0.01)
        return [record.getMessage() for record in caplog.records if "waiting for images" in record.getMessage()]

    return lines


def test_starvation_is_reported_once_and_with_its_remedy(run):
    assert run([0.9]) == []  # the readers are only starting
    assert run([0.3, 0.33]) == []
    (line,) = run([0.4])
    assert line.startswith("40 % of the time") and "tool.prepare_data cache" in line and "--num_workers" in line
    assert run([0.9, 0.1, 0.9]) == [line]
