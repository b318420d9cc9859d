"""Reading ahead in threads: order, bounds, errors, and leaving."""

import gc
import subprocess
import sys
import threading
import time

from compat import UserError

import numpy as np
import pytest

from data import train_batches
from data.prefetch import in_order


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def assert_readers_leave():
    for _ in range(500):
        if not readers():
            return
        time.sleep(0.01)
    raise AssertionError(f"still there: {readers()}")


def test_results_come_in_order_whoever_is_first():
    def slow_when_even(number):
        time.sleep(0.01 * (number % 2 == 0))
        return number * number

    assert list(in_order(slow_when_even, range(20), threads=4, ahead=6)) == [n * n for n in range(20)]
    assert list(in_order(slow_when_even, [], threads=4, ahead=6)) == []
    assert_readers_leave()


def test_no_more_is_read_ahead_than_asked():
    begun = []
    squares = in_order(lambda number: begun.append(number), range(1000), threads=3, ahead=5)
    for used in range(1, 4):
        next(squares)
        time.sleep(0.05)
        assert len(begun) <= used + 5
    squares.close()
    assert len(begun) < 12


def fails_at(bad):
    def function(number):
        if number == bad:
            raise UserError(f"number {number} is bad")
        return number

    return function


def test_an_exception_comes_where_its_result_would():
    results = in_order(fails_at(7), range(100), threads=2, ahead=20)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(UserError, match="number 7 is bad"):
        next(results)
    assert next(results, "ended") == "ended"
    assert_readers_leave()


def test_an_exception_of_the_items_is_handed_on():
    results = in_order(lambda item: item, (1 // n for n in (1, 0)), threads=2, ahead=0)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert_readers_leave()


def test_readers_leave_when_closed_or_forgotten():
    begun = []

    def wait(number):
        begun.append(number)
        time.sleep(0.02)
        return number

    closed = in_order(wait, range(100), threads=2, ahead=50)
    next(closed)
    start, at_work = time.perf_counter(), len(begun)
    closed.close()
    assert time.perf_counter() - start < 0.5
    assert_readers_leave()
    assert len(begun) <= at_work + 4  # what was not begun is dropped
    forgotten = in_order(wait, range(100), threads=2, ahead=50)
    next(forgotten)
    at_work = len(begun)
    cycle = [forgotten]
    cycle.append(cycle)
    del forgotten, cycle
    gc.collect()
    assert_readers_leave()
    assert len(begun) <= at_work + 4


PROGRAM = """
import os, signal, sys, threading, time
sys.path.insert(0, ".")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
from data.prefetch import in_order

def work(number):
    time.sleep(0.05)
    return number

def consume():
    for number in in_order(work, range(10**6), threads=2, ahead=40):
        if number == 3 and sys.argv[1] == "interrupt":
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        if number == 3 and sys.argv[1] == "exit":
            sys.exit(7)

kept = in_order(work, range(10**6), threads=2, ahead=4)  # alive when the interpreter ends
next(kept)
try:
    consume()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(("how", "status", "said"), [("interrupt", 0, "interrupted"), ("exit", 7, "")])
def test_a_program_ends_while_readers_are_at_work(how, status, said):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (status, said), done.stderr
    assert time.perf_counter() - start < 40


def test_batches_do_not_depend_on_the_number_of_threads(small_recipe):
    from engine.build import dataset_of

    dataset = dataset_of(small_recipe().train_dataset)
    one, four = (
        [[part.numpy() for part in batch] for batch in train_batches(dataset, 2, 5, 0, 4, threads=threads)]
        for threads in (1, 4)
    )
    assert len(one) == 4 and all((a == b).all() for left, right in zip(one, four) for a, b in zip(left, right))


def test_a_bad_image_stops_the_loader_and_is_named(small_recipe, tmp_path):
    from engine.build import dataset_of

    dataset = dataset_of(small_recipe().train_dataset)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    dataset.samples[2] = dataset.samples[2]._replace(image=bad)
    with pytest.raises(UserError, match="bad.png: not a complete image file"):
        for _, _, indices in train_batches(dataset, 2, 0, 0, 3):
            assert not (np.asarray(indices) == 2).any()
    assert_readers_leave()
