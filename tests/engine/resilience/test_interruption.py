"""The handling of signals by itself; test_faults.py has it in runs."""

import os
import signal
import threading

from engine.resilience.interruption import Interruption


def test_a_second_signal_leaves_at_once(monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    with Interruption() as interruption:
        for _ in range(3):  # as Paddle's launcher, which repeats its request
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested and not left
        monkeypatch.setattr("engine.resilience.interruption.SAME_REQUEST_SECONDS", -1)
        os.kill(os.getpid(), signal.SIGTERM)
    assert left == [143]


def test_a_run_in_another_thread_leaves_signals_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def run():
        with Interruption() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
