"""docs/your_own_data.md: its commands, in their order, on LabelMe files that are made of the rendered sample."""

import json
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from data import CITYSCAPES, build_dataset
from engine.recipe import load_recipe
from engine.runtime import load_network
from models import build_model
from tests.helpers import pages

PAGE = pages.ROOT / "docs" / "your_own_data.md"
LABELLED = ("road", "vegetation", "car", "sky", "building")
SIZE = {"512": "64", "1024": "128"}
SHORTER = {
    "train.py": ["--iters", "2", "--save_interval", "2"],
    "tool.export": ["--max_drop", "100", "--calibration_images", "2", "--engines", "openvino"],
}


def write_labelme(folder: Path, sample_root: Path) -> None:
    """The sample's frames, and the outlines of some of its classes as polygons."""
    folder.mkdir()
    frames = [build_dataset("Cityscapes", str(sample_root), mode, [{"type": "Normalize"}]) for mode in ("train", "val")]
    numbered = enumerate((part, index) for part in frames for index in range(len(part)))
    for number, (part, index) in numbered:
        image, label = part.read_image(index), part.read_label(index)
        cv2.imwrite(str(folder / f"{number}.png"), image[:, :, ::-1])
        shapes = []
        for name in LABELLED:
            mask = (label == CITYSCAPES.names.index(name)).astype("uint8")
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            shapes += [
                {"label": name, "points": outline[:, 0].tolist(), "shape_type": "polygon"}
                for outline in outlines
                if len(outline) > 2
            ]
        content = {"imagePath": f"{number}.png", "imageWidth": 128, "imageHeight": 64, "shapes": shapes}
        (folder / f"{number}.json").write_text(json.dumps(content))


def test_from_labelme_to_int8(sample_root, tmp_path, monkeypatch, capsys):
    pytest.importorskip("nncf", reason="requirements-deploy.txt has it, for Python 3.10 and later")
    write_labelme(tmp_path / "my_photos", sample_root)
    network = build_model("stdc1_seg", 19, head_bias=True)
    paddle.save(network.state_dict(), str(tmp_path / "stdc1_seg_mmseg.pdparams"))  # in place of the published weights
    monkeypatch.setenv("STDC_WEIGHTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    commands = [
        words for block in pages.blocks() if block.page == PAGE and not block.language for words in block.commands()
    ]
    assert [words[2] if words[1] == "-m" else words[1] for words in commands] == [
        *["tool.prepare_data"] * 2,
        *["train.py", "tool.evaluate", "tool.export", "tool.predict"],
    ]
    (slowly,) = (block.text for block in pages.blocks() if block.page == PAGE and block.language == "yaml")
    for words in commands:
        if "train.py" in words:  # with what the page says of its recipe
            with open("data/mine/recipe.yml", "a", encoding="utf-8") as recipe:
                recipe.write(slowly)
        shorter = SHORTER.get(words[2] if words[1] == "-m" else words[1], [])
        pages.run([*(SIZE.get(word, word) for word in words), *shorter])
    output = capsys.readouterr().out
    assert "9 images, 6 classes" in output and "openvino     int8: mIoU" in output
    recipe = load_recipe("data/mine/recipe.yml")
    assert load_network("output/mine_export", "openvino", "int8").num_classes == recipe.train_dataset.class_count == 6
    predicted = cv2.imread("output/mine_predictions/pseudo_color_prediction/0.png")
    colors = np.uint8([*recipe.train_dataset.options["classes"].values()])
    shown = np.unique(predicted.reshape(-1, 3), axis=0)[:, ::-1]
    assert predicted.shape == (64, 128, 3) and {*map(tuple, shown)} <= {*map(tuple, colors)}
