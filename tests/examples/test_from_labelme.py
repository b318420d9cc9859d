"""examples/from_labelme.sh, whole: from LabelMe files to what the C++ program writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, Tuple

import cv2
import numpy as np
import pytest

from data.files import read_image
from engine.runtime import Segmenter, load_network
from tests.helpers.cpp_program import find_cmake, read

pytest.importorskip("openvino")
pytest.importorskip("nncf")

ROOT = Path(__file__).parents[2]
CAMVID = Path(os.environ.get("STDC_CAMVID", "../shared/camvid"))
OF_CAMVID = {"road": 3, "building": 1, "sky": 0, "car": 8}
OF_SAMPLE = {"road": 0, "building": 2, "sky": 10, "car": 13}
SIZE = (64, 96)  # (h, w) of the photos
PHOTOS = 9


def labelled_frames(sample: Path) -> Iterator[Tuple[str, np.ndarray, np.ndarray, Dict[str, int]]]:
    """(name, image, label, {class: value}) of CamVid where it is, and else of the sample."""
    if CAMVID.is_dir():
        files = [(file, CAMVID / "valannot" / file.name) for file in sorted((CAMVID / "val").iterdir())[::11]]
    else:
        labels = sorted(sample.rglob("*labelTrainIds.png"))
        stems = [label.name.replace("_gtFine_labelTrainIds.png", "") for label in labels]
        files = [(next(sample.rglob(f"{stem}_leftImg8bit.png")), label) for stem, label in zip(stems, labels)]
    for image, label in files[:PHOTOS]:
        values = OF_CAMVID if CAMVID.is_dir() else OF_SAMPLE
        yield image.stem, cv2.imread(str(image)), cv2.imread(str(label), cv2.IMREAD_UNCHANGED), values


def write_labelme(sample: Path, folder: Path) -> None:
    """Photos, and the outlines of their regions as polygons; what they hide is cut by the later ones."""
    folder.mkdir()
    height, width = SIZE
    for name, image, label, values in labelled_frames(sample):
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
        shapes = []
        for class_name, value in values.items():
            mask = (label == value).astype(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            polygons = [outline[:, 0].tolist() for outline in outlines if len(outline) >= 3]
            shapes += [{"label": class_name, "points": points, "shape_type": "polygon"} for points in polygons]
        cv2.imwrite(str(folder / f"{name}.png"), cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
        content = {"imagePath": f"{name}.png", "imageHeight": height, "imageWidth": width, "shapes": shapes}
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_without_arguments_it_says_how_to_call_it():
    done = subprocess.run(["sh", "examples/from_labelme.sh"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "usage: sh examples/from_labelme.sh SOURCE SAVE_DIR [WEIGHTS]" in done.stderr


def test_from_labelme_files_to_a_program_in_cpp(sample_root, tmp_path):
    cmake = Path(find_cmake())
    write_labelme(sample_root, tmp_path / "source")
    out = tmp_path / "out"
    settings = {"ITERS": "2", "SIZE": "{} {}".format(*SIZE), "PYTHON": sys.executable}
    path = os.pathsep.join([str(cmake.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "examples/from_labelme.sh", str(tmp_path / "source"), str(out)],
        cwd=ROOT,
        env={**os.environ, **settings, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "11 classes there, 5 here" in done.stdout + done.stderr
    assert "learned from images normalised by" not in done.stdout + done.stderr
    rows = json.loads((out / "benchmark" / "benchmark.json").read_text())["rows"]
    assert {("openvino", "fp32"), ("openvino", "int8")} <= {(row["engine"], row["precision"]) for row in rows}
    segmenter = Segmenter(load_network(out / "export", "openvino", "int8", threads=1))
    expected = segmenter(read_image(next(iter(sorted((out / "data" / "images").rglob("*.png"))))))
    np.testing.assert_array_equal(read(out / "segmented", "image_classes"), expected)
