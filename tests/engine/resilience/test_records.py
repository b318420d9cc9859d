"""The files that a run writes about itself, when someone else changes them."""

import os
import sys

from compat import logger

import pytest

from data import build_dataset
from engine.resilience.bad_samples import BadSamples
from engine.resilience.records import Records, take_back


def test_a_log_that_was_deleted_does_not_end_the_run(tmp_path):
    with Records(tmp_path, use_vdl=False) as records:
        assert records.state_dict() == {"lengths": {"train.log": 0}}
        (tmp_path / "train.log").unlink()
        assert records.state_dict() == {"lengths": {}}


def test_what_a_killed_run_logged_after_its_checkpoint_is_cut_where_it_is_logged_again(tmp_path):
    before, others = b"[TRAIN] iter: 2\n[EVAL] full\n", b"skipped: a.png\nSIGTERM: saving\n"
    log, curves = tmp_path / "train.log", tmp_path / "vdlrecords.1.log"
    log.write_bytes(before + b"[TRAIN] iter: 4\n" + others + b"[EVAL] half\n" + b"skipped: half a li")
    curves.write_bytes(before + others)
    for path in (log, curves):
        take_back(path, len(before))
    assert log.read_bytes() == before + others and curves.read_bytes() == before
    for length in (len(before), 10**6):
        take_back(curves, length)
        assert curves.read_bytes() == before
    take_back(tmp_path / "gone.log", 0)
    assert not (tmp_path / "gone.log").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_names_that_are_not_utf8_do_not_end_the_run(sample_root, tmp_path):
    """The log and the list of bad samples could not hold them, which ended the run with a traceback."""
    name = os.fsdecode(b"gr\xf6n.png")
    with Records(tmp_path, use_vdl=False):
        logger.info("%s: broken", name)
    assert "gr\\udcf6n.png: broken" in (tmp_path / "train.log").read_text(encoding="utf-8")
    dataset = build_dataset("Cityscapes", str(sample_root), "train")
    dataset.samples[0] = dataset.samples[0]._replace(image=tmp_path / name)
    dataset.file_list[0][0] = str(tmp_path / name)
    bad = BadSamples(dataset, 0, 1, tmp_path)
    bad._add(0)
    assert "gr\\udcf6n.png" in (tmp_path / "bad_samples.txt").read_text(encoding="utf-8")
