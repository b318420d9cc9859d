"""Ctrl-C during the imports of a command; this process stands in for it."""

import signal
import sys

from compat import interrupt

import pytest


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("program", ["train.py", "tool/predict.py", "benchmarks/memory.py"])
def test_our_commands_end_at_once_until_they_run(monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [str(interrupt.ROOT / program), "--help"])
    interrupt.exit_quietly_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    interrupt.restore_keyboard_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("program", ["", "-c", "/usr/bin/pytest", "/somewhere/train.py"])
def test_a_library_leaves_signals_alone(monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [program])
    interrupt.exit_quietly_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_it_goes_on_ignoring_it(monkeypatch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(sys, "argv", [str(interrupt.ROOT / "train.py")])
    interrupt.exit_quietly_on_interrupt()
    interrupt.restore_keyboard_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
