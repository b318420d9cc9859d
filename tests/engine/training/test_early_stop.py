"""A run that does not improve any more ends, and resumes as one that has ended."""

from types import SimpleNamespace

import pytest

from engine.resilience.checkpoint import list_checkpoints
from engine.training.validation import Validation
from models.weights import read_weights
from tests.helpers.tiny_training import tiny_recipe, train

MIOU = {2: 0.5, 4: 0.6, 6: 0.6, 8: 0.59, 10: 0.58, 12: 0.9}  # by iteration


def scores(miou):
    found = SimpleNamespace(miou=miou, accuracy=0.5, kappa=0.5)
    found.summed = lambda _sum: found
    return found


@pytest.fixture
def run(sample_root, tmp_path, monkeypatch):
    """run(**overrides): train with those scores, saved every second iteration; returns the trainer."""

    def found(model, dataset, protocols, *_arguments, **_options):
        at = run.trainer_iteration()
        return {name: scores(MIOU[at] if name == "full" else at / 100) for name in protocols}

    iteration = []
    validate = Validation.run

    def watched(self, model, at, *arguments):
        iteration.append(at)
        return validate(self, model, at, *arguments)

    def run(resume=None, validate=True, **overrides):
        recipe = tiny_recipe(sample_root, **{"iters": 12, "save_interval": 2, "accumulate": 1, **overrides})
        return train(recipe, save_dir=str(tmp_path), resume_model=resume, validate=validate)

    run.trainer_iteration = lambda: iteration[-1]
    monkeypatch.setattr("engine.training.validation.evaluate_protocols", found)
    monkeypatch.setattr(Validation, "run", watched)
    monkeypatch.setattr(Validation, "_draw", lambda *_: None)
    return run


def test_a_run_ends_when_the_best_is_too_old(run, tmp_path):
    stopped = run(early_stop_intervals=2)
    assert stopped.iteration == 8 and stopped.best == {"full": {"miou": 0.6, "iteration": 4}}
    assert "no validation since iteration 4 had a better mIoU" in (tmp_path / "train.log").read_text()
    resumed = run("auto", early_stop_intervals=2)
    assert resumed.iteration == 8 and "nothing to do" in (tmp_path / "train.log").read_text()
    assert list_checkpoints(tmp_path)[-1].name == "iter_8"
    assert run("auto").iteration == 12  # allowed to go on, it goes on


def test_the_first_protocol_decides_and_each_has_its_best(run, tmp_path):
    stopped = run(early_stop_intervals=2, test_config__half={"scales": 0.25})  # whose score always rises
    assert stopped.iteration == 8
    assert stopped.best == {"full": {"miou": 0.6, "iteration": 4}, "half": {"miou": 0.08, "iteration": 8}}
    best, other, last = (
        read_weights(tmp_path / name / "model.pdparams") for name in ("best_model", "best_model_half", "iter_8")
    )
    average = stopped.step.average.state_dict()
    assert all((other[name] == average[name]).all() for name in last)
    assert any((best[name] != other[name]).any() for name in last)


def test_a_resumed_run_counts_on(run, tmp_path):
    run(early_stop_intervals=3)
    for folder in list_checkpoints(tmp_path)[3:]:
        folder.rename(tmp_path / f"later_{folder.name}")
    resumed = run("auto", early_stop_intervals=3)
    assert resumed.iteration == 10 and resumed.best["full"]["iteration"] == 4


@pytest.mark.parametrize("before", [{"validate": False}, {"test_config": {"half": {"scales": 0.25}}}])
def test_a_resumed_run_counts_from_the_first_validation_of_its_protocol(before, run, tmp_path):
    """What was saved before that counted as validated without better weights, so that nothing was trained."""
    run(iters=6, early_stop_intervals=2, **before)
    resumed = run("auto", early_stop_intervals=2)
    assert resumed.iteration == 12 and resumed.best["full"] == {"miou": 0.9, "iteration": 12}
    assert "stopping early" not in (tmp_path / "train.log").read_text()


def test_the_best_is_remembered_through_a_resumed_run_without_validation(run, tmp_path):
    """It was forgotten, so that the next validation's worse weights replaced the best model."""
    run(iters=4)
    best = read_weights(tmp_path / "best_model" / "model.pdparams")
    run("auto", iters=6, validate=False)
    resumed = run("auto", iters=8)  # 0.59 at iteration 8
    assert resumed.best == {"full": {"miou": 0.6, "iteration": 4}}
    kept = read_weights(tmp_path / "best_model" / "model.pdparams")
    assert all((kept[name] == best[name]).all() for name in best)


def test_without_the_option_a_run_goes_to_its_end(run):
    assert run().iteration == 12
