"""The files that a run writes about itself, when someone else changes them."""

from engine.resilience.records import Records


def test_a_log_that_was_deleted_does_not_end_the_run(tmp_path):
    with Records(tmp_path, use_vdl=False) as records:
        assert records.state_dict() == {"lengths": {"train.log": 0}}
        (tmp_path / "train.log").unlink()
        assert records.state_dict() == {"lengths": {}}
