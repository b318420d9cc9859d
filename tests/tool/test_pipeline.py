"""The pipeline of tool.predict: its stages overlap, keep the order, and end together."""

import itertools
import threading

from compat import UserError

import pytest

from tool.prediction.pipeline import overlap


def test_stages_overlap():
    """Reading the second item and writing the first must happen while the network holds another."""
    second_read, first_written = threading.Event(), threading.Event()
    met = []

    def read(task):
        if task == 1:
            second_read.set()
        return task

    def infer(item):
        met.append({0: second_read, 1: first_written}.get(item, second_read).wait(timeout=10))
        return item

    def write(item):
        if item == 0:
            first_written.set()

    timing = overlap(range(3), read, infer, write)
    assert met == [True] * 3 and timing.items == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_the_network_sees_the_order_and_memory_is_bounded(threads):
    read, seen, written, ahead = [], [], [], []

    def infer(item):
        ahead.append(len(read) - len(written))
        seen.append(item)
        return item

    def source(task):
        read.append(task)
        return task if task < 30 else None  # the end of an endless run of tasks

    timing = overlap(itertools.count(), source, infer, written.append, threads, depth=3)
    assert seen == list(range(30)) and sorted(written) == seen and timing.items == 30
    assert written == seen or threads > 1
    assert max(ahead) <= 7  # 3 before the network, 3 behind it, 1 in it


@pytest.mark.parametrize("stage", ["read", "infer", "write"])
def test_an_error_of_any_stage_is_raised_and_the_rest_is_written(stage):
    def fails(item):
        if item == 5:
            raise UserError("number 5")
        return item

    written = []
    stages = {"read": lambda item: item, "infer": lambda item: item, "write": written.append}
    stages[stage] = (lambda item: written.append(fails(item))) if stage == "write" else fails
    with pytest.raises(UserError, match="number 5"):
        overlap(range(20), *stages.values())
    assert written[:5] == list(range(5))
