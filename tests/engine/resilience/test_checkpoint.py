"""Checkpoint folders: written whole or not at all, replaced, cleared away."""

import json
import os
import resource

from compat import UserError

import pytest
from paddle import nn

from engine.resilience.checkpoint import (
    damage,
    finish_replacements,
    in_order_of_writing,
    list_checkpoints,
    read_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_checkpoints_replace_each_other_whole(tmp_path):
    for number in (10, 2, 30):
        save_checkpoint(tmp_path / f"iter_{number}", nn.Linear(2, 2), state={"iteration": number})
    save_checkpoint(tmp_path / "iter_30", nn.Linear(2, 2), state={"iteration": 31})
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_2", "iter_10", "iter_30"]
    assert json.loads((tmp_path / "iter_30" / "state.json").read_text())["iteration"] == 31
    remove_old_checkpoints(tmp_path, keep=0)
    assert len(list_checkpoints(tmp_path)) == 3
    remove_old_checkpoints(tmp_path, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iter_2", "iter_30"]  # iter_10 was written first


def test_checkpoints_are_ordered_by_when_they_were_written(tmp_path):
    folders = [tmp_path / f"iter_{number}" for number in (10, 2, 30, 4)]
    for folder in folders:
        save_checkpoint(folder, nn.Linear(2, 2), state={})
    assert in_order_of_writing(tmp_path) == folders
    save_checkpoint(folders[1], nn.Linear(2, 2), state={})  # written again
    folders.append(folders.pop(1))
    assert in_order_of_writing(tmp_path) == folders
    for folder in folders[-2:]:  # as version 1.0.0 wrote them
        (folder / "state.json").write_text("{}")
    assert [folder.name for folder in in_order_of_writing(tmp_path)] == ["iter_2", "iter_4", "iter_10", "iter_30"]
    # One that is damaged is tried first, and named; but it pushes out none.
    (folders[0] / "state.json").write_text("{")
    assert in_order_of_writing(tmp_path)[-1] == folders[0]
    remove_old_checkpoints(tmp_path, keep=1)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["iter_30"]


def test_replacing_leaves_no_moment_without_an_intact_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "best_model", nn.Linear(2, 2), state={"number": 1})
    renamed = []

    def rename_once(source, target):
        if renamed:
            raise KeyboardInterrupt  # stands for a kill between the two renames
        renamed.append(os.rename(source, target))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", rename_once)
        save_checkpoint(tmp_path / "best_model", nn.Linear(2, 2), state={"number": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".best_model.old", ".best_model.tmp"]
    assert all(damage(path) is None for path in tmp_path.iterdir())
    finish_replacements(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best_model"]
    assert json.loads((tmp_path / "best_model" / "state.json").read_text())["number"] == 1
    # Killed after the second rename, before the old one is deleted.
    save_checkpoint(tmp_path / ".best_model.old", nn.Linear(2, 2), state={"number": 0})
    finish_replacements(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best_model"]
    assert json.loads((tmp_path / "best_model" / "state.json").read_text())["number"] == 1


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def flushed(descriptor):
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(source, target):
        calls.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    save_checkpoint(tmp_path / "iter_1", nn.Linear(2, 2), state={"number": 1})
    at = calls.index("renamed")
    assert sorted(calls[:at]) == [".iter_1.tmp", "SHA256SUMS", "model.pdparams", "state.json"]
    assert calls[at:] == ["renamed", tmp_path.name]


def test_clearing_up_leaves_hidden_files_of_others(tmp_path):
    save_checkpoint(tmp_path / ".iter_1.tmp", nn.Linear(2, 2))
    (tmp_path / ".notes.tmp").write_text("mine")
    (tmp_path / ".backup.old").mkdir()
    (tmp_path / ".backup.old" / "thesis.tex").write_text("mine")
    finish_replacements(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".backup.old", ".notes.tmp"]


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    save_checkpoint(tmp_path / "iter_1", nn.Linear(200, 200))
    before = contents(tmp_path / "iter_1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # the system refuses to write more into a file
    try:
        for name in ("iter_1", "iter_2"):
            with pytest.raises(UserError, match=f"{name}: the checkpoint cannot be written .*before it are kept"):
                save_checkpoint(tmp_path / name, nn.Linear(200, 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["iter_1"] and contents(tmp_path / "iter_1") == before


def test_what_paddleseg_writes_is_no_whole_checkpoint(tmp_path):
    for name in ("model.pdparams", "model.pdopt"):
        (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(UserError, match="lacks training.pdstate, .* --load_from takes weights alone"):
        read_checkpoint(tmp_path)
    for name in ("training.pdstate", "state.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(UserError, match="is damaged .*SHA256SUMS cannot be read"):
        read_checkpoint(tmp_path)


def test_a_link_stays_and_what_is_no_checkpoint_is_kept(tmp_path):
    """The link was replaced by a folder, on the disk that it led away from, and a file was hidden."""
    (tmp_path / "disk" / "average").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "average", target_is_directory=True)
    for number in (1, 2):
        save_checkpoint(tmp_path / "link", nn.Linear(2, 2), state={"number": number})
        assert json.loads((tmp_path / "disk" / "average" / "state.json").read_text())["number"] == number
    assert (tmp_path / "link").is_symlink() and len(list(tmp_path.iterdir())) == 2
    (tmp_path / "best_model").write_text("notes")
    with pytest.raises(UserError, match="best_model: is a file where a checkpoint's folder"):
        save_checkpoint(tmp_path / "best_model", nn.Linear(2, 2))
    assert (tmp_path / "best_model").read_text() == "notes"


def test_a_checkpoint_that_is_a_link_is_removed_without_its_target(tmp_path):
    save_checkpoint(tmp_path / "disk" / "iter_1", nn.Linear(2, 2))
    (tmp_path / "iter_1").symlink_to(tmp_path / "disk" / "iter_1", target_is_directory=True)
    save_checkpoint(tmp_path / "iter_2", nn.Linear(2, 2))
    remove_old_checkpoints(tmp_path, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "iter_2"]
    assert damage(tmp_path / "disk" / "iter_1") is None
