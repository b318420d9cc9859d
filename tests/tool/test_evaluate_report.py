"""tool.evaluate --report and --compare: what they say is what the evaluation and the paired test say."""

import json
import re
from pathlib import Path

from compat import UserError, json_text

import numpy as np
import paddle
import pytest

from engine.build import dataset_of
from engine.evaluation.comparison import compare
from engine.evaluation.evaluator import evaluate_images
from engine.evaluation.scorecard import Scorecard, ScoreOptions
from engine.recipe import load_recipe
from models import build_model
from tests.helpers.zero_networks import zero_networks
from tool.evaluate import _parser, compared_recipes, main
from tool.evaluation.comparison import comparison_rows, comparison_table, significant, table_text

SAMPLE = "configs/stdc1_seg_sample.yml"


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """An untrained STDC1-Seg, and the same with another classifier."""
    folder = tmp_path_factory.mktemp("weights")
    paddle.seed(1)
    state = build_model("stdc1_seg", 19).state_dict()
    paddle.save(state, str(folder / "a.pdparams"))
    classifier = state["heads.main.classifier.weight"]
    classifier.set_value(paddle.roll(classifier, 1, axis=0))
    paddle.save(state, str(folder / "b.pdparams"))
    return str(folder / "a.pdparams"), str(folder / "b.pdparams")


@pytest.fixture(autouse=True)
def _quickly_built():
    with zero_networks():
        yield


def confusions(weight_file, root):
    recipe = load_recipe(SAMPLE, {"val_dataset.dataset_root": str(root)})
    model = build_model("stdc1_seg", 19)
    model.set_state_dict(paddle.load(weight_file))
    results = evaluate_images(model, dataset_of(recipe.val_dataset), {"": recipe.test_config["full"]})
    return np.stack([result[""].confusion for result in results])


def test_compare_says_what_the_paired_test_says(weight_files, sample_root, tmp_path, capsys):
    common = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--absent", "nan"]
    out = tmp_path / "compared.json"
    main([*common, "--compare", *weight_files, "--json", str(out), "--report", str(tmp_path)])
    text = capsys.readouterr().out
    expected = compare(*(confusions(file, sample_root) for file in weight_files), absent="nan")
    for row, name in ((0, "mean IoU"), (1, "road")):
        line = next(line for line in text.splitlines() if line.startswith(name))
        a, b, difference, low, high = (100 * field[row] for field in expected[:5])
        numbers = f"{a:.2f} {b:.2f} {difference:+.2f} {low:+.2f} {high:+.2f} {expected.p_value[row]:.4f}"
        assert line[len(name) :].split() == numbers.split()
    compared = json.loads(out.read_text())["compared_with"]
    assert compared["model_path"] == weight_files[1] and compared["rows"][1]["name"] == "road"
    assert compared["rows"][0]["first"] == expected.first[0] and compared["rows"][1]["p_value"] == expected.p_value[1]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert weight_files[1] in page and "difference" in page and "A against B" in page


def test_the_report_shows_the_evaluation(weight_files, sample_root, tmp_path, capsys):
    flags = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--model_path", weight_files[0]]
    main([*flags, "--report", str(tmp_path / "made"), "--protocols", "full", "mIoU50"])
    assert f"report: {tmp_path / 'made' / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "made" / "report.html").read_text(encoding="utf-8")
    results = confusions(weight_files[0], sample_root)
    matrix = results.sum(0)
    scores = json.loads(re.search(r'id="scores">(.*?)</script>', page).group(1))
    assert len(scores) == 3 and page.count('class="card"') == 3 and page.count("data:image/webp") == 12
    hits, labels, predictions = np.diag(results[1]), results[1].sum(1), results[1].sum(0)
    for index, score in enumerate(scores[1][1:]):
        if labels[index] == 0:
            assert score is None
        else:
            assert score == pytest.approx(hits[index] / (labels + predictions - hits)[index], abs=1e-6)
    assert f"road as building: {matrix[0, 2]:,} pixels" in page
    assert ">mIoU50<" in page and "Categories, full" in page
    assert "leinwandhafen_000000_000019" in page and "_leftImg8bit" not in page


OF_A, OF_B = "configs/stdc1_seg_cityscapes_mmseg.yml", "configs/official/stdc1_seg50_cityscapes.yml"


@pytest.mark.parametrize(
    ("flags", "configs", "biased"),
    [
        ("", (OF_A, OF_B), (True, False)),
        ("--compare_config other.yml", (OF_A, "other.yml"), (True, False)),
        ("--config one.yml", ("one.yml", "one.yml"), (False, False)),
        ("--config one.yml --compare_config other.yml", ("one.yml", "other.yml"), (False, False)),
    ],
)
def test_each_of_two_names_brings_its_own_recipe(flags, configs, biased):
    names = ("stdc1_seg_paddleseg", "stdc1_seg50_official")
    arguments = _parser().parse_args([*flags.split(), "--compare", *names, "--opts", "seed=1"])
    paths, files, overrides = zip(*compared_recipes(arguments))
    assert paths == names and all(Path(file).match(config) for file, config in zip(files, configs))
    assert tuple("model.gate_bias=true" in opts for opts in overrides) == biased
    assert all(opts[-1] == "seed=1" and opts.count("seed=1") == 1 for opts in overrides)


def test_refused_before_anything_is_evaluated(weight_files, sample_root, tmp_path):
    common = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--compare", *weight_files]
    five = tmp_path / "five.yml"
    options = "{type: Dataset, num_classes: 5, train_path: val.txt, val_path: val.txt}"
    base = Path(SAMPLE).resolve().as_posix()
    five.write_text(f"_base_: {base}\ntrain_dataset: {options}\nval_dataset: {options}\n")
    image = next((sample_root / "leftImg8bit" / "val").rglob("*.png")).relative_to(sample_root)
    label = next((sample_root / "gtFine" / "val").rglob("*_labelTrainIds.png")).relative_to(sample_root)
    (sample_root / "val.txt").write_text(f"{image} {label}\n")
    paddle.save(build_model("stdc1_seg", 5).state_dict(), str(tmp_path / "five.pdparams"))
    flags = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--compare_config", str(five)]
    with pytest.raises(UserError, match="five.yml: its val_dataset has 5 classes"):
        main([*flags, "--compare", weight_files[0], str(tmp_path / "five.pdparams")])
    with pytest.raises(UserError, match="none.pdparams: no such weight file"):
        main([*common[:-1], "none.pdparams"])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write there"):
        main([*common, "--report", str(tmp_path / "file" / "report")])


def test_an_absent_class_has_no_number():
    matrices = np.zeros((4, 3, 3), np.int64)
    matrices[:, 0, 0], matrices[:, 0, 1] = 9, 1
    card = Scorecard(("road", "sidewalk", "traffic_sign"), ScoreOptions(absent="nan"), has_instances=False)
    comparison = compare(matrices, matrices, "nan")
    rows = json.loads(json_text(comparison_rows(comparison, card)))
    assert rows[3] == {"name": "traffic_sign", **dict.fromkeys(comparison._fields)} and rows[1]["p_value"] == 1
    text = table_text(comparison_table(comparison, card))
    assert "\ntraffic sign      -      -           -      -      -       -\n" in text and "is left out of the" in text


def test_holm_by_hand():
    # 0.01 <= 0.05 / 4, 0.015 <= 0.05 / 3, 0.03 > 0.05 / 2, and so 0.04 does not count though it is below 0.05.
    found = significant(np.array([0.04, 0.01, np.nan, 0.03, 0.015]))
    assert found.tolist() == [False, True, False, False, True]
    assert significant(np.array([np.nan])).tolist() == [False]
    assert significant(np.array([0.02, 0.05])).tolist() == [True, True]
