"""Names and colours of a user's classes reach every table, picture, page and export."""

import csv
import io
import json
import os
import sys

from compat import UserError, logger

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from PIL import Image

import engine.build
from engine.command import run
from engine.evaluation import lettering
from engine.evaluation.pictures import legend
from engine.runtime import Description, load_network, read_description, write_description
from tool import demo, evaluate, export, predict
from tool.demonstration.app import create_app
from tool.demonstration.networks import Networks

NAMES = ("deep_sea", 'island: "A" <b>', "yes", "道路")
COLORS = ((0, 10, 200), (230, 180, 20), (1, 2, 3), (200, 100, 50))
SIZE = (48, 64)  # (h, w)


class Brightness(nn.Layer):
    """Four classes by brightness."""

    output_names = ("main",)

    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2D(3, len(NAMES), 1)
        slope = np.arange(len(NAMES), dtype=np.float32)
        self.classify.weight.set_value(np.broadcast_to(slope[:, None, None, None], (len(NAMES), 3, 1, 1)).copy())
        self.classify.bias.set_value(np.float32([0, 1.8, 1.8, 0]))

    def forward(self, image):
        return [self.classify(image)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a dataset of two images of four vertical stripes, its recipe and weights."""
    root = tmp_path_factory.mktemp("named")
    labels = np.repeat(np.arange(4, dtype=np.uint8), SIZE[1] // 4)[None].repeat(SIZE[0], 0)
    greys = np.array([10, 90, 160, 250], np.uint8)[labels]
    for number in range(2):
        Image.fromarray(np.dstack([greys + number] * 3)).save(root / f"image{number}.png")
        Image.fromarray(labels).save(root / f"label{number}.png")
    (root / "list.txt").write_text("".join(f"image{number}.png label{number}.png\n" for number in range(2)))
    dataset = {
        "type": "Dataset",
        "dataset_root": str(root),
        "train_path": "list.txt",
        "val_path": "list.txt",
        "num_classes": len(NAMES),
        "classes": dict(zip(NAMES, map(list, COLORS))),
        "transforms": [{"type": "Normalize"}],
        "_inherited_": False,
    }
    recipe = {
        "_base_": os.path.abspath("configs/stdc1_seg_sample.yml"),
        "train_dataset": {**dataset, "mode": "train"},
        "val_dataset": {**dataset, "mode": "val"},
    }
    (root / "recipe.yml").write_text(yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False), encoding="utf-8")
    paddle.save(Brightness().state_dict(), str(root / "model.pdparams"))
    return root


@pytest.fixture(autouse=True)
def network(monkeypatch):
    monkeypatch.setattr(engine.build, "build_model", lambda *args, **options: Brightness())


@pytest.fixture
def flags(root):
    return ["--config", str(root / "recipe.yml"), "--model_path", str(root / "model.pdparams"), "--device", "cpu"]


def test_tables_files_and_report(flags, tmp_path, capsys):
    files = {kind: tmp_path / f"scores.{kind}" for kind in ("json", "csv")}
    evaluate.main(
        [*flags, "--report", str(tmp_path), "--bootstrap", "0"]
        + [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    )
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line in NAMES] == list(NAMES)
    scores = next(iter(json.loads(files["json"].read_text(encoding="utf-8"))["protocols"].values()))
    assert tuple(scores["classes"]) == NAMES
    rows = csv.DictReader(io.StringIO(files["csv"].read_text(encoding="utf-8")))
    assert {row["name"] for row in rows if row["kind"] == "class"} == set(NAMES)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for shown in ("deep sea", "island: &#34;A&#34; &lt;b&gt;", "道路"):
        assert shown in page
    assert 'A" <b>' not in page and "traffic light" not in page


def test_pictures_and_legend(flags, tmp_path):
    predict.main([*flags, "--save_dir", str(tmp_path), "--classes", "道路", "deep_sea"])
    picture = Image.open(tmp_path / "pseudo_color_prediction" / "image0.png")
    classes, colors = np.asarray(picture), np.asarray(picture.convert("RGB"))
    assert set(np.unique(classes)) == {0, 3, 255}
    assert (colors[classes == 3] == COLORS[3]).all() and (colors[classes == 0] == COLORS[0]).all()
    drawn = cv2.imread(str(tmp_path / "legend.png"))[..., ::-1]
    assert (drawn[12, 10] == COLORS[0]).all() and (drawn[36, 10] == COLORS[3]).all() and len(drawn) == 48
    with pytest.raises(UserError, match="'deepsea'.*deep_sea"):
        predict.main([*flags, "--save_dir", str(tmp_path), "--classes", "deepsea"])


def test_the_page(flags, root):
    choice = demo.find_choices(demo._parser().parse_args(flags))[0]
    upload = (io.BytesIO((root / "image0.png").read_bytes()), "a.png")
    fields = {"model": choice.model, "engine": choice.engine, "image": upload}
    found = create_app(Networks([choice])).test_client().post("/predict", data=fields).get_json()["classes"]
    assert {one["id"]: (one["name"], tuple(one["color"])) for one in found} == dict(enumerate(zip(NAMES, COLORS)))


def test_exports_and_a_recipe_with_other_names(flags, root, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logger, "propagate", True)
    folder = tmp_path / "export"
    export.main([*flags, "--save_dir", str(folder), "--engines", "paddle"])
    assert load_network(folder, "paddle").description.classes == (NAMES, COLORS)
    text = (folder / "deploy.yaml").read_text(encoding="utf-8")
    assert "道路: [200, 100, 50]" in text and "'yes': [1, 2, 3]" in text

    exported = [*flags[:2], "--model_path", str(folder), "--engine", "paddle", "--save_dir", str(tmp_path / "a")]
    predict.main(exported)
    assert "was exported as" not in caplog.text
    other = (root / "recipe.yml").read_text(encoding="utf-8").replace("deep_sea", "lake")
    (root / "other.yml").write_text(other, encoding="utf-8")
    predict.main([exported[0], str(root / "other.yml"), *exported[2:]])
    assert "class 0 was exported as 'deep_sea', the recipe calls it 'lake'" in caplog.text


def test_older_later_and_broken_descriptions(tmp_path):
    file = tmp_path / "deploy.yaml"
    write_description(tmp_path, Description(2, classes=None))
    content = yaml.safe_load(file.read_text())
    older = {key: value for key, value in content["Network"].items() if key not in ("version", "classes")}
    file.write_text(yaml.safe_dump({**content, "Network": older}))
    assert read_description(tmp_path) == Description(2)
    colors = {"sea": [1, 2, 3], "land": [4, 5, 6]}
    for wrong, said in (
        ({"version": 2}, "Network.version is 2, this program reads 1"),
        ({"classes": {"sea": [1, 2, 3]}}, "classes names 1 classes, num_classes is 2"),
        ({"classes": {**colors, "land": [4, 5, 256]}}, r"the colour of class land is \[4, 5, 256\]"),
        ({"classes": {**colors, "land": 7}}, "lacks what an engine needs to know"),
        ({"classes": [1, 2]}, "lacks what an engine needs to know"),
    ):
        file.write_text(yaml.safe_dump({**content, "Network": {**content["Network"], **wrong}}))
        with pytest.raises(UserError, match=said):
            read_description(tmp_path)


def test_letters_beyond_ascii_are_drawn_by_a_font_that_has_them_or_as_codes():
    assert lettering.font_for("road") is None and lettering.font_for("\U000f0000") is None
    coded = legend(["\U000f0000"], [(0, 0, 0)])
    np.testing.assert_array_equal(coded, legend(["\\U000f0000"], [(0, 0, 0)]))
    font = lettering.font_for("Straße")
    if font is None:
        pytest.skip(f"none of {', '.join(lettering.FONTS)} is installed")
    drawn, other = legend(["Straße"], [(0, 0, 0)]), legend(["Straze"], [(0, 0, 0)])
    assert (drawn[:, 36:] < 128).any() and (drawn.shape != other.shape or (drawn != other).any())


def test_a_terminal_without_the_letters_gets_their_codes(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    with pytest.raises(SystemExit) as leaving:
        run(lambda _: print("道路"))
    assert (leaving.value.code, written.getvalue()) == (0, b"\\u9053\\u8def\n")
