"""examples/from_labelme.sh, whole: from LabelMe files to what the C++ program writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from data.files import read_image
from engine.runtime import Segmenter, load_network
from models import build_model
from tests.helpers.cpp_program import find_cmake, read

pytest.importorskip("openvino")
pytest.importorskip("nncf")

ROOT = Path(__file__).parents[2]
DRAWN = {"road": 0, "building": 2, "sky": 10, "car": 13}  # names and training ids of the sample


def write_labelme(sample: Path, folder: Path) -> None:
    """The sample's frames with the outlines of their regions as polygons; what they hide is cut by the later ones."""
    folder.mkdir()
    for label_file in sorted(sample.rglob("*labelTrainIds.png")):
        name = label_file.name.replace("_gtFine_labelTrainIds.png", "")
        image = next(sample.rglob(f"{name}_leftImg8bit.png"))
        label = cv2.imread(str(label_file), cv2.IMREAD_UNCHANGED)
        shapes = []
        for class_name, value in DRAWN.items():
            outlines, _ = cv2.findContours(
                (label == value).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )
            polygons = [outline[:, 0].tolist() for outline in outlines if len(outline) >= 3]
            shapes += [{"label": class_name, "points": points, "shape_type": "polygon"} for points in polygons]
        shutil.copy(image, folder / f"{name}.png")
        content = {"imagePath": f"{name}.png", "imageHeight": 64, "imageWidth": 128, "shapes": shapes}
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_from_labelme_files_to_a_program_in_cpp(sample_root, tmp_path):
    cmake = Path(find_cmake())
    write_labelme(sample_root, tmp_path / "source")
    weights = tmp_path / "nineteen_classes.pdparams"
    paddle.save(build_model("stdc1_seg", 19).state_dict(), str(weights))
    out = tmp_path / "out"
    settings = {"ITERS": "2", "SIZE": "64 128", "PYTHON": sys.executable}
    path = os.pathsep.join([str(cmake.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "examples/from_labelme.sh", str(tmp_path / "source"), str(out), str(weights)],
        cwd=ROOT,
        env={**os.environ, **settings, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "19 classes there, 5 here" in done.stdout + done.stderr
    rows = json.loads((out / "benchmark" / "benchmark.json").read_text())["rows"]
    assert {("openvino", "fp32"), ("openvino", "int8")} <= {(row["engine"], row["precision"]) for row in rows}
    segmenter = Segmenter(load_network(out / "export", "openvino", "int8", threads=1))
    expected = segmenter(read_image(next(iter(sorted((out / "data" / "images").rglob("*.png"))))))
    np.testing.assert_array_equal(read(out / "segmented", "image_classes"), expected)
