"""The files that a run writes about itself, when someone else changes them."""

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
