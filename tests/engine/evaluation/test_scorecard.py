"""Every score of a protocol, its tables and files, and the command that writes them."""

import csv
import json
import tracemalloc

from compat import UserError, json_text

import numpy as np
import paddle
import pytest

from data import build_dataset
from data.files import read_instance_ids
from engine.evaluation.evaluator import evaluate, evaluate_images
from engine.evaluation.instance_iou import InstanceScores, instance_file
from engine.evaluation.scorecard import ScoreOptions, score_protocols
from engine.protocols import STANDARD_PROTOCOLS, describe
from engine.recipe import Protocol
from loss import detail_target
from models import build_model
from tests.helpers.small_network import SmallNetwork
from tool.evaluation.score_table import as_csv, as_dict, class_table, protocol_table

PROTOCOLS = {"half": Protocol(scales=0.5), "flip": Protocol(scales=(0.5, 1.0), flip_horizontal=True)}
EVERYTHING = ScoreOptions(bootstrap=30, boundary_widths=(1, 2))


class WithDetail(SmallNetwork):
    """A small network with a detail head of stride 2."""

    output_names = ("main", "detail2")

    def __init__(self):
        super().__init__(19)
        self.detail = paddle.nn.Conv2D(3, 1, 3, stride=2, padding=1)

    def forward(self, image):
        return [*super().forward(image), self.detail(image)] if self.training else super().forward(image)


@pytest.fixture(scope="module")
def val_set(sample_root):
    return build_dataset("Cityscapes", str(sample_root), "val", [{"type": "Normalize"}])


@pytest.fixture(scope="module")
def cards(val_set):
    return score_protocols(SmallNetwork(19), val_set, PROTOCOLS, EVERYTHING)


def test_one_pass_answers_what_single_passes_answer(cards, val_set):
    for name, protocol in PROTOCOLS.items():
        instances = InstanceScores.zero()
        for results in evaluate_images(SmallNetwork(19), val_set, {name: protocol}):
            ids = read_instance_ids(instance_file(val_set.samples[results[name].index].label))
            instances = instances.with_image(ids, results[name].prediction)
        assert instances.of_class.sum() > 0
        np.testing.assert_array_equal(cards[name].instances.of_class, instances.of_class)
        alone = evaluate(SmallNetwork(19), val_set, protocol, bootstrap=30)
        assert (cards[name].scores.confusion == alone.confusion).all()
        totals = {score.key: score.value for score in cards[name].totals()}
        assert (totals["miou_low"], totals["miou_high"]) == alone.miou_interval()
        small = [val_set.classes.names.index(n) for n in
                 ("pole", "traffic_light", "traffic_sign", "person", "rider", "bicycle")]  # fmt: skip
        assert totals["small_object_miou"] == alone.class_iou[small].mean()
        assert {"category_miou", "class_iiou", "category_iiou", "boundary_iou_1px", "trimap_miou_2px"} <= set(totals)


def test_memory_does_not_grow_with_the_number_of_images(val_set):
    dataset = build_dataset("Cityscapes", val_set.samples[0].image.parents[3], "val", [{"type": "Normalize"}])
    dataset.samples = dataset.samples * 8
    held = []
    tracemalloc.start()
    try:
        score_protocols(
            SmallNetwork(19), dataset, {"full": Protocol()}, EVERYTHING,
            on_image=lambda results: held.append(tracemalloc.get_traced_memory()[0]),
        )  # fmt: skip
    finally:
        tracemalloc.stop()
    kept_per_image = (np.mean(held[-4:]) - np.mean(held[4:8])) / (len(held) - 8)
    assert len(held) == 24 and kept_per_image < 19 * 19 * 8 / 4  # not even a quarter of a confusion matrix


def test_detail_head_against_its_target(val_set):
    model = WithDetail()
    options = ScoreOptions(details=True)
    protocols = {"half": PROTOCOLS["half"], "flip": PROTOCOLS["flip"]}
    cards = score_protocols(model, val_set, protocols, options)
    right = marked = wanted = 0
    for index in range(len(val_set)):
        item = val_set[index]
        half = paddle.nn.functional.interpolate(paddle.to_tensor(item["img"][None]), [32, 64], mode="bilinear")
        logit = paddle.nn.functional.interpolate(model.detail(half), [64, 128], mode="bilinear", align_corners=True)
        says, counts = logit.numpy()[0, 0] > 0, item["label"][0] != 255
        target = detail_target(paddle.to_tensor(item["label"].astype("int64"))).numpy()[0, 0] > 0
        right += (says & target & counts).sum()
        marked += (says & counts).sum()
        wanted += (target & counts).sum()
    totals = {score.key: score.value for score in cards["half"].totals()}
    assert 0 < right < marked
    assert totals["detail_precision"] == right / marked and totals["detail_recall"] == right / wanted
    assert totals["detail_f"] == pytest.approx(2 * right / (marked + wanted))
    assert "detail_f" not in {score.key for score in cards["flip"].totals()}  # it is not defined for several scales


def test_parts_add_up_to_every_score_of_the_whole(val_set):
    model, options = WithDetail(), ScoreOptions(bootstrap=30, boundary_widths=(1, 2), details=True)

    def scored(indices):
        return score_protocols(model, val_set, {"half": PROTOCOLS["half"]}, options, indices=indices)["half"]

    whole, parts = scored(None), scored([2]) + scored([]) + scored([0, 1])
    assert parts.totals() == whole.totals() and len(whole.totals()) == 19
    for ours, expected in zip(parts.columns(), whole.columns()):
        np.testing.assert_array_equal(ours.values, expected.values, err_msg=expected.key)


def test_tables_state_the_rule_and_hold_the_numbers(cards):
    table = protocol_table(cards, PROTOCOLS)
    header, _, first = table.splitlines()[:3]
    assert header.split() == ["half", "flip"]
    assert first.split() == ["mean", "IoU", *(f"{100 * card.scores.miou:.2f}" for card in cards.values())]
    assert "half: scale 0.5.\nflip: scales 0.5 1, flip horizontal." in table
    for text in (table, class_table(cards["half"])):
        assert "counts as IoU 0, as in PaddleSeg 2.8 (--absent zero)" in text
    row = next(line.split() for line in class_table(cards["half"]).splitlines() if line.startswith("bicycle"))
    column = cards["half"].columns()[1]
    assert column.title == "precision" and row[2] == f"{100 * column.values[18]:.2f}"


def test_files_hold_the_same_numbers(cards):
    content = json.loads(json_text(as_dict(cards, PROTOCOLS, {"config": "c"})))
    lines = list(csv.DictReader(as_csv(cards).splitlines()))
    for name, card in cards.items():
        stored = content["protocols"][name]
        assert np.array(stored["confusion"]).tolist() == card.scores.confusion.tolist()
        assert stored["scores"]["miou"] == card.scores.miou and stored["absent"] == "zero"
        assert stored["classes"]["road"]["iiou"] is None  # no objects
        flat = {
            (line["kind"], line["name"], line["score"]): line["value"] for line in lines if line["protocol"] == name
        }
        assert float(flat["all", "", "kappa"]) == card.scores.kappa and flat["class", "road", "iiou"] == ""
        assert float(flat["category", "flat", "iou"]) == stored["categories"]["flat"]["iou"]
        assert float(flat["class", "car", "boundary_f_2px"]) == stored["classes"]["car"]["boundary_f_2px"]
        assert len(flat) == len(card.totals()) + 19 * len(card.columns()) + 7 * 2


def test_other_datasets_have_no_categories():
    from data import CAMVID
    from engine.evaluation.scorecard import Scorecard

    card = Scorecard(CAMVID.names, ScoreOptions(absent="nan"), has_instances=False)
    assert card.categories() == {} and [score.key for score in card.totals()][-1] == "small_object_miou"
    assert "left out of the mean" in class_table(card) and "category" not in class_table(card)


def test_standard_protocols():
    assert list(STANDARD_PROTOCOLS) == ["mIoU50", "mIoU75", "full", "multi_scale_flip", "sliding_window"]
    assert describe(STANDARD_PROTOCOLS["sliding_window"]) == "scale 1, window 1024x1024 every 768x768"
    assert describe(Protocol(aug_eval=False)) == "as it is"


def test_command(sample_root, tmp_path, capsys):
    from tool.evaluate import main

    weights = str(tmp_path / "model.pdparams")
    paddle.save(build_model("stdc1_seg", 19).state_dict(), weights)
    common = ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(sample_root), "--model_path", weights]
    written = tmp_path / "new" / "scores.json"
    main([*common, "--protocols", "mIoU50", "sliding_window", "--crop_size", "64", "64", "--stride", "64", "32",
          "--absent", "nan", "--bootstrap", "10", "--boundary_widths", "2", "--detail", "--align_corners",
          "--json", str(written), "--csv", str(tmp_path / "scores.csv")])  # fmt: skip
    output = capsys.readouterr().out
    assert "sliding_window: scale 1, window 64x64 every 64x32, align_corners" in output
    assert "is left out of the mean" in output and "detail head, F-score" in output
    content = json.loads(written.read_text())
    assert list(content["protocols"]) == ["mIoU50", "sliding_window"]
    assert content["protocols"]["mIoU50"]["protocol"]["align_corners"] is True
    assert (tmp_path / "scores.csv").read_text().startswith("protocol,kind,name,score,value\nmIoU50,all,,miou,")
    with pytest.raises(UserError, match="--protocols 'mIoU55'.*mIoU50"):
        main([*common, "--protocols", "mIoU55"])
    with pytest.raises(UserError, match="cannot be written"):
        main([*common, "--json", str(tmp_path / "scores.csv" / "x.json"), "--scales", "0.5", "--bootstrap", "0"])
