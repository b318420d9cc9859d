"""What an earlier run left in the folder is kept, and what a run says of its best weights is true."""

import pytest

from engine.resilience.checkpoint import weights_checksum
from engine.training.validation import Validation
from tests.helpers.tiny_training import tiny_recipe, train


class Scored:
    accuracy = kappa = 0.5

    def __init__(self, miou):
        self.miou = miou

    def summed(self, _sum):
        return self


@pytest.fixture
def run(sample_root, tmp_path, monkeypatch):
    """run(mious, rate): train 4 iterations, validated every second one with these mIoU; another rate, other weights."""

    def run(mious, rate, **options):
        scores = iter(mious)
        monkeypatch.setattr(
            "engine.training.validation.evaluate_protocols", lambda *_, **__: {"full": Scored(next(scores))}
        )
        recipe = tiny_recipe(
            sample_root, iters=4, save_interval=2, accumulate=1, ema_decay=0, lr_scheduler__learning_rate=rate
        )
        return train(recipe, save_dir=str(tmp_path), use_vdl=True, **options)

    monkeypatch.setattr(Validation, "_draw", lambda *_: None)
    return run


def test_the_best_weights_of_an_earlier_run_are_set_aside(run, tmp_path):
    run([0.7, 0.8], rate=0.1)
    earlier = weights_checksum(tmp_path / "best_model")
    assert run([0.3, 0.4], rate=0.2).best == {"full": {"miou": 0.4, "iteration": 4}}
    assert weights_checksum(tmp_path / "best_model.1") == earlier
    assert not (tmp_path / "best_model.2").exists()  # a run replaces its own
    text = (tmp_path / "train.log").read_text()
    assert f"{tmp_path / 'best_model'} of an earlier run is now {tmp_path / 'best_model.1'}" in text


def test_best_weights_that_another_run_replaced_are_not_claimed(run, tmp_path):
    run([0.8, 0.7], rate=0.1)
    (tmp_path / "iter_4").rename(tmp_path / "iter_40")
    run([0.3, 0.4], rate=0.2)
    others = weights_checksum(tmp_path / "best_model")
    resumed = run([0.75], rate=0.1, resume_model=str(tmp_path / "iter_40"))
    assert resumed.best == {}  # its iteration 2 is in best_model.1
    assert weights_checksum(tmp_path / "best_model") == others


def test_a_validation_repeated_after_a_kill_replaces_its_own(run, tmp_path, monkeypatch):
    """The best weights are written before the checkpoint: a run killed between the two writes them twice."""

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Validation, "_draw", kill)
        run([0.3], rate=0.1)
    assert (tmp_path / "best_model").is_dir() and not (tmp_path / "iter_2").exists()
    assert run([0.3, 0.4], rate=0.1, resume_model="auto").best == {"full": {"miou": 0.4, "iteration": 4}}
    assert [path.name for path in tmp_path.glob("best_model*")] == ["best_model"]


def test_the_records_of_a_run_whose_checkpoints_are_gone_are_set_aside(run, tmp_path):
    run([0.3, 0.4], rate=0.1)
    log = (tmp_path / "train.log").read_text()
    curves = [path.read_bytes() for path in (tmp_path / "vdl").iterdir()]
    for path in tmp_path.glob("iter_*"):
        path.rename(tmp_path / f"moved_{path.name}")
    run([0.3, 0.4], rate=0.1, resume_model="auto")
    assert (tmp_path / "train.log.1").read_text() == log
    assert [path.read_bytes() for path in (tmp_path / "vdl.1").iterdir()] == curves
    assert (tmp_path / "train.log").read_text().count("[EVAL] full") == 2
