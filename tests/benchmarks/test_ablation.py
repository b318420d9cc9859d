"""benchmarks.ablation: plans, runs that go on, and what stands in its CSV and its table."""

import csv
import re
import signal

from compat import UserError

import numpy as np
import paddle
import pytest

from benchmarks import ablation
from benchmarks.study import scores, training
from benchmarks.study.plan import load_plan
from benchmarks.study.tables import find_rows
from engine.build import dataset_of
from engine.evaluation.evaluator import evaluate
from engine.recipe import load_recipe
from engine.resilience.checkpoint import save_checkpoint
from engine.training.state import RunState
from tests.helpers.tiny_training import TinyNetwork
from tool.speed import provenance

PLAN = """
config: RECIPE
iters: 4
seeds: [0]
baseline: default
overrides: {save_interval: 2, batch_size: 2}
variants:
  default: {seeds: [0, 1]}
  fast: {overrides: {lr_scheduler.learning_rate: 0.05}}
  small: {overrides: {train_dataset.transforms.RandomPaddingCrop.crop_size: [64, 64]}, iters: 6}
  both: {combine: [fast, small], overrides: {optimizer.lr_mult: {'^heads\\.': 10}}, seeds: [1]}
"""


@pytest.fixture
def plan_file(tmp_path):
    def write(text=PLAN):
        path = tmp_path / "plan.yml"
        recipe = f"{training.ROOT}/configs/stdc1_seg_sample.yml"
        path.write_text(text.replace("RECIPE", recipe))
        return path

    return write


def test_a_plan_lists_its_runs(plan_file):
    plan = load_plan(plan_file())
    runs = [run for variant in plan.chosen() for run in variant.runs()]
    assert [(run.variant, run.iters, run.seed) for run in runs] == [
        ("default", 4, 0), ("default", 4, 1), ("fast", 4, 0), ("small", 6, 0), ("both", 4, 1),
    ]  # fmt: skip
    assert len({run.folder for run in runs}) == len(runs)
    recipe = runs[-1].recipe({"train_dataset.dataset_root": "elsewhere"})
    assert (recipe.lr_scheduler.learning_rate, recipe.batch_size, recipe.iters) == (0.05, 2, 4)
    assert dict(recipe.optimizer.lr_mult) == {r"^heads\.": 10}
    crop = next(one for one in recipe.train_dataset.transforms if one.type == "RandomPaddingCrop")
    assert crop.crop_size == (64, 64) and recipe.train_dataset.dataset_root == "elsewhere"


def test_overrides_survive_the_command_line(plan_file):
    for variant in load_plan(plan_file()).chosen():
        run = variant.runs()[0]
        assert run.recipe() == load_recipe(run.config, {**run.overrides, "iters": run.iters})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("iters: 4", "iter: 4", "did you mean iters"),
        ("iters: 4\n", "", "'iters' is missing"),
        ("baseline: default", "baseline: defalt", "did you mean default"),
        ("default: {seeds", "de/fault: {seeds", "names a folder"),
        ("seeds: [0, 1]", "seeds: 2", "seeds: 2 is not a list"),
        ("[fast, small]", "[fast, smal]", "variant both: combine 'smal'.* did you mean small"),
        ("learning_rate: 0.05", "learning_rat: 0.05", "variant fast: .*did you mean learning_rate"),
        ("variants:", "variants: [", "not valid YAML"),
        ("iters: 6", "iters: many", "variant small: iters: 'many'"),
    ],
)
def test_a_wrong_plan_is_named_before_anything_runs(plan_file, old, new, message):
    assert old in PLAN
    with pytest.raises(UserError, match=message):
        load_plan(plan_file(PLAN.replace(old, new)))


@pytest.fixture
def study(plan_file, sample_root, tmp_path, monkeypatch):
    """Runs the command with a stand-in for training; what was trained is in `study.trained`."""

    class Study:
        folder = tmp_path / "runs"
        trained = []
        statuses = {}

        def __call__(self, *flags, text=PLAN):
            paths = ["--config", str(plan_file(text)), "--save_dir", str(self.folder)]
            return ablation.main([*paths, "--dataset_root", str(sample_root), "--nice", "0", *flags])

        def train(self, run, folder, flags, lock):
            self.trained.append((run.variant, run.seed))
            status = self.statuses.get(run.variant, 0)
            (folder / "output.log").write_text("error: said by train.py\n\n")
            if status == 0:
                finish_training(run, folder)
            return status

    study = Study()
    study.trained, study.statuses = [], {}
    monkeypatch.setattr(ablation, "train", study.train)
    monkeypatch.setattr(scores, "network_of", lambda recipe, num_classes, weights: TinyNetwork())
    return study


def finish_training(run, folder):
    """What train.py leaves: weights, another average of them, its state and its log."""
    paddle.seed(run.seed)
    weights, average = TinyNetwork(), TinyNetwork()
    best = {"best": {"full": {"miou": 0.5, "iteration": 2}}}
    state = RunState(run.iters, run.iters, run.iters, run.seed, 2, {}, {}, best, {}, {}).to_json()
    extra = {} if run.variant == "fast" else {"average": dict(average.state_dict())}
    optimizer = paddle.optimizer.Momentum(parameters=weights.parameters())
    save_checkpoint(folder / f"iter_{run.iters}", weights, optimizer, state, extra)
    line = "[INFO]\t[TRAIN] epoch: 1, iter: {}/4, loss: 1.0, lr: 0.1, batch_cost: {}, reader_cost: 0.1, ips: 1 | ETA"
    (folder / "train.log").write_text("\n".join([line.format(2, 0.5), "[EVAL] 3 images", line.format(4, 1.5)]))


def lines_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_results_are_those_of_the_averaged_last_weights(study, sample_root):
    study("--only", "default", "fast")
    lines = lines_of(study.folder / "ablation_plan.csv")
    assert [(line["variant"], line["seed"]) for line in lines] == [("default", "0"), ("default", "1"), ("fast", "0")]
    recipe = load_recipe(
        "configs/stdc1_seg_sample.yml", {"val_dataset.dataset_root": str(sample_root), "batch_size": 2}
    )
    dataset, protocol = dataset_of(recipe.val_dataset), next(iter(recipe.test_config.values()))
    for line in lines:
        paddle.seed(int(line["seed"]))
        weights, average = TinyNetwork(), TinyNetwork()
        expected = evaluate(weights if line["variant"] == "fast" else average, dataset, protocol)
        assert float(line["miou"]) == pytest.approx(expected.miou, rel=1e-5)
        ious = [float(line[f"iou_{name}"]) for name in dataset.classes.names]
        assert ious == pytest.approx(expected.class_iou.tolist(), rel=1e-5)
        assert (float(line["seconds"]), float(line["best_miou"])) == (2 * 0.5 + 2 * 1.5, 0.5)
    folder = study.folder / "default" / "iters_4_seed_0"
    assert not list(folder.glob("iter_*")) and (folder / "last_model" / "model.pdparams").is_file()


def test_what_is_at_its_end_is_not_trained_again(study, capsys):
    study("--only", "fast")
    study()
    assert study.trained == [("fast", 0), ("default", 0), ("default", 1), ("small", 0), ("both", 1)]
    study("--table")
    assert len(study.trained) == 5
    assert "both" in capsys.readouterr().out


def test_a_failed_run_stops_no_other(study):
    study.statuses = {"default": 1}
    with pytest.raises(UserError, match="2 of 5 runs have failed: default, default"):
        study()
    assert [line["variant"] for line in lines_of(study.folder / "ablation_plan.csv")] == ["fast", "small", "both"]
    study.statuses = {}
    study()
    assert study.trained[5:] == [("default", 0), ("default", 1)]


def test_a_signal_stops_the_command(study):
    study.statuses = {"fast": 128 + signal.SIGTERM}
    with pytest.raises(SystemExit) as leaving:
        study()
    assert leaving.value.code == 128 + signal.SIGTERM
    assert study.trained[-1] == ("fast", 0)


def test_results_of_other_settings_are_refused(study):
    study("--only", "fast")
    with pytest.raises(UserError, match="1 of 1 runs have failed"):
        study("--only", "fast", text=PLAN.replace("0.05", "0.06"))
    run = load_plan(study.folder.parent / "plan.yml").variants["fast"].runs()[0]
    with pytest.raises(UserError, match=r"was trained with overrides .*0.05.*the plan says .*0.06"):
        training.check_settings(run, study.folder / run.folder)


def test_only_one_ablation_is_at_work_in_a_folder(tmp_path):
    with training.locked(tmp_path), pytest.raises(UserError, match="another ablation"), training.locked(tmp_path):
        pass
    with training.locked(tmp_path):
        pass


def test_the_table_compares_the_sums_over_shared_seeds(study, capsys):
    study()
    default, fast, small, both = find_rows(load_plan(study.folder.parent / "plan.yml"), study.folder)
    summed = both.against(default)
    assert summed.first[0] == pytest.approx(float(both.results[1]["miou"]))
    assert summed.second[0] == pytest.approx(float(default.results[1]["miou"]))
    assert fast.against(default).difference[0] == pytest.approx(fast.results[0]["miou"] - default.results[0]["miou"])
    assert both.against(fast) is None  # no seed in common
    printed = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split() for line in printed if line}
    mious = np.array([result["miou"] for result in default.results.values()])
    assert cells["default"][1:5] == ["4", "2", f"{100 * mious.mean():.2f}", f"{100 * mious.std(ddof=1):.2f}"]
    assert cells["fast"][6] == f"{100 * fast.against(default).difference[0]:+.2f}"
    assert cells["small"][6] == "-"  # of another number of iterations


def test_a_real_training_goes_to_its_end(plan_file, sample_root, tmp_path, capsys):
    text = PLAN.replace("iters: 6", "iters: 1")
    paths = ["--config", str(plan_file(text)), "--save_dir", str(tmp_path / "runs")]
    ablation.main([*paths, "--dataset_root", str(sample_root), "--nice", "0", "--only", "small"])
    (line,) = lines_of(tmp_path / "runs" / "ablation_plan.csv")
    assert (line["variant"], line["iters"]) == ("small", "1") and float(line["seconds"]) > 0
    assert float(line["miou"]) == pytest.approx(float(line["best_miou"]), abs=1e-6)


def test_a_result_says_of_which_code_it_is(monkeypatch):
    """A commit of files that were changed has a + behind it."""
    answers = {"rev-parse": "0123456789", "status": " M train.py"}
    monkeypatch.setattr(provenance, "_git", lambda command, *_: answers[command])
    about = ablation._about()
    assert about["commit"] == "0123456789+" and about["processor"] == provenance.describe_hardware(1)["processor"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])
