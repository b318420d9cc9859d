"""Cityscapes submissions, against cityscapesscripts: its file search, its labels and its scores."""

import glob
import zipfile

from compat import UserError

import cv2
import numpy as np
import paddle
import pytest

from data.classes import CITYSCAPES
from data.submission import (
    TEST_IMAGES,
    check_submission,
    label_ids_of,
    split_sizes,
    submission_names,
    write_submission,
)
from models import build_model

SAMPLE = "configs/stdc1_seg_sample.yml"


def test_label_ids_are_those_of_cityscapesscripts():
    from cityscapesscripts.helpers.labels import trainId2label

    ours = label_ids_of(np.arange(256, dtype=np.uint8)[None])[0]
    assert [trainId2label[train_id].id for train_id in range(19)] == ours[:19].tolist()
    assert [trainId2label[train_id].name.replace(" ", "_") for train_id in range(19)] == list(CITYSCAPES.names)
    assert not ours[19:].any()


def test_predicted_submission_is_found_and_scored_by_cityscapesscripts(sample_root, tmp_path, capsys, monkeypatch):
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as server  # noqa: N813  its name

    from engine.build import dataset_of
    from engine.evaluation.evaluator import evaluate
    from engine.recipe import load_recipe
    from tool.predict import main as predict
    from tool.prepare_data import main as prepare

    paddle.seed(2)
    model = build_model("stdc1_seg", 19)
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    archive = tmp_path / "out" / "val.zip"
    images = ["--image_path", str(sample_root / "leftImg8bit" / "val")]
    flags = ["--config", SAMPLE, "--model_path", str(tmp_path / "model.pdparams"), "--cityscapes_submission"]
    predict([*flags, str(archive), *images])
    assert prepare(["check-submission", str(archive), "--dataset_root", str(sample_root), "--split", "val"]) == 0
    assert prepare(["check-submission", str(archive)]) == 1  # three images are not the test split
    assert "0 problem(s)" in capsys.readouterr().out

    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    labels = sorted(glob.glob(str(sample_root / "gtFine" / "val" / "*" / "*_gtFine_labelIds.png")))
    settings = {"predictionPath": str(tmp_path / "unpacked"), "predictionWalk": None, "evalInstLevelScore": False}
    for name, value in {**settings, "JSONOutput": False, "quiet": True}.items():
        monkeypatch.setattr(server.args, name, value)
    found = [server.getPrediction(server.args, label) for label in labels]
    theirs = server.evaluateImgLists(found, labels, server.args)

    recipe = load_recipe(SAMPLE, {"val_dataset.dataset_root": str(sample_root)})
    model.eval()
    scores = evaluate(model, dataset_of(recipe.val_dataset), recipe.test_config["full"])
    expected = [theirs["classScores"][name.replace("_", " ")] for name in CITYSCAPES.names]
    assert np.asarray(scores.class_iou) == pytest.approx(np.nan_to_num(expected), abs=1e-6)
    assert np.isfinite(expected).sum() > 8 and max(np.nan_to_num(expected)) > 0


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_every_fault_has_its_line(tmp_path):
    good = np.full((4, 8), 7, np.uint8)
    content = {
        "a/ulm_000000_000019_pred_labelIds.png": png(good),
        "b/ulm_000000_000019.png": png(good),
        "ulm_000001_000019.png": png(good[:2]),
        "ulm_000002_000019.png": png(np.dstack([good] * 3)),
        "ulm_000003_000019.png": png(good * 0 + 255),
        "ulm_000004_000019.png": png(good * 0 + 3),
        "ulm_000005_000019.png": png(good)[:-20],
        "ulm_000006_000019.png": png(good.astype(np.uint16)),
        "ulm_000007_000019.png": png(good * 0 + 40),
        "ulm_000009_000019.png": png(good),
        "road.png": png(good),
        "readme.txt": b"hello",
    }
    with zipfile.ZipFile(tmp_path / "faulty.zip", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    images = {f"ulm_{number:06d}_000019": (8, 4) for number in range(9)}
    assert sorted(check_submission(tmp_path / "faulty.zip", images)) == sorted(
        [
            "readme.txt: is not a PNG; take it out of the zip",
            "road.png: the server looks for CITY_123456_123456*.png",
            "ulm_000000_000019: 2 results; the server wants one",
            "ulm_000009_000019: no such image in the split",
            "ulm_000008_000019: has no result",
            "ulm_000001_000019.png: 8x2, but its image is 8x4",
            "ulm_000002_000019.png: 3 channel(s) of 8 bits; the server wants one channel of 8 bits",
            "ulm_000003_000019.png: 255: no labelIds of Cityscapes (255 is a training id)",
            "ulm_000004_000019.png: 3: not among the 19 evaluated labelIds; are these training ids?",
            "ulm_000005_000019.png: is not a complete PNG",
            "ulm_000006_000019.png: 1 channel(s) of 16 bits; the server wants one channel of 8 bits",
            "ulm_000007_000019.png: 40: no labelIds of Cityscapes",
        ]
    )
    as_test_split = check_submission(tmp_path / "faulty.zip")
    assert "ulm: no city of the test split" in as_test_split
    assert "ulm_000009_000019.png: 8x4, but its image is 2048x1024" in as_test_split


def test_the_whole_test_split_passes(tmp_path):
    """1525 names with one full-size picture between them."""
    result = png(np.full((1024, 2048), 7, np.uint8))
    assert sum(TEST_IMAGES.values()) == 1525
    names = [f"{city}_{number:06d}_000019" for city, count in TEST_IMAGES.items() for number in range(count)]
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        for name in names:
            archive.writestr(f"{name}_leftImg8bit.png", result)
    assert check_submission(tmp_path / "test.zip", progress=lambda files: files[::100]) == []
    with zipfile.ZipFile(tmp_path / "short.zip", "w") as archive:
        for name in names[:-1]:
            archive.writestr(f"{name}.png", result)
    faults = check_submission(tmp_path / "short.zip", progress=lambda files: files[:1])
    assert faults == ["munich: 397 images have a result; the test split has 398"]


def test_bad_input(tmp_path):
    from pathlib import Path

    with pytest.raises(UserError, match="street.png: the server wants images named as in berlin_"):
        submission_names([Path("street.png")])
    with pytest.raises(UserError, match="two images of one name"):
        submission_names([Path("a/ulm_000000_000019_leftImg8bit.png"), Path("b/ulm_000000_000019_leftImg8bit.png")])
    (tmp_path / "text.zip").write_text("hello")
    for name in ("text.zip", "none.zip"):
        with pytest.raises(UserError, match=f"{name}: not a readable zip"):
            check_submission(tmp_path / name)


def test_an_interrupted_submission_keeps_the_older_one(tmp_path):
    archive = tmp_path / "out.zip"
    write_submission(archive, [("ulm_000000_000019.png", np.zeros((4, 8), np.uint8))])
    before = archive.read_bytes()

    def interrupted():
        yield "ulm_000000_000019.png", np.ones((4, 8), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission(archive, interrupted())
    assert archive.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["out.zip"]


def test_damaged_files_are_named(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("berlin_000000_000019.png", np.random.default_rng(0).bytes(50) + b"a" * 5000)
    content = bytearray(archive.read_bytes())
    content[60:90] = bytes(byte ^ 255 for byte in content[60:90])
    archive.write_bytes(content)
    assert "cannot be unpacked" in " ".join(check_submission(archive, {}))
    image = tmp_path / "leftImg8bit/val/bonn/bonn_000000_000019_leftImg8bit.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"no image")
    with pytest.raises(UserError, match="leftImg8bit.png: not a readable image"):
        split_sizes(tmp_path, "val")
