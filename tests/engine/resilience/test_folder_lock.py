"""Two runs in one folder, which would mix their checkpoints."""

import errno

from compat import UserError

import pytest

from engine.resilience import folder_lock
from engine.resilience.folder_lock import LOCK, FolderLock
from tests.helpers.locked_folder import REFUSED, TAKEN, lock_in_another_process, locked_by_another_process
from tests.helpers.tiny_training import tiny_recipe, train

pytest.importorskip("fcntl", reason="POSIX locks")


def test_another_process_waits_for_the_end_of_a_run(tmp_path):
    lock = FolderLock(tmp_path)
    assert lock_in_another_process(tmp_path) == REFUSED
    with lock:
        assert lock_in_another_process(tmp_path) == REFUSED
    assert lock_in_another_process(tmp_path) == TAKEN
    with lock:
        assert lock_in_another_process(tmp_path) == REFUSED


def test_a_run_holds_the_lock_until_it_ends(sample_root, tmp_path, monkeypatch):
    """Both runs of `python train.py` went on, and the checkpoints and best weights were those of either."""
    found = []
    leave = FolderLock.__exit__

    def try_then_leave(lock, *error):
        found.append(lock_in_another_process(tmp_path))
        leave(lock, *error)

    monkeypatch.setattr(FolderLock, "__exit__", try_then_leave)
    train(tiny_recipe(sample_root, iters=1, accumulate=1), save_dir=tmp_path, validate=False)
    assert found == [REFUSED] and lock_in_another_process(tmp_path) == TAKEN


def test_a_folder_that_is_locked_is_refused_before_anything_is_written(sample_root, tmp_path):
    refused = pytest.raises(UserError, match="another run writes there, .*choose another --save_dir")
    with locked_by_another_process(tmp_path), refused:
        train(tiny_recipe(sample_root), save_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_file_system_without_locks_is_no_reason_to_stop(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "lockf", without)
    with FolderLock(tmp_path):
        pass
