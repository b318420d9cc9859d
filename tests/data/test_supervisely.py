"""data.importing.supervisely: polygons with holes, rectangles and bitmaps, and what is refused."""

import base64
import io
import json
import zlib

from compat import UserError

import numpy as np
import pytest
from PIL import Image

from data.importing import find_source
from tests.data.test_importing import SIZE, photo


def bitmap(mask):
    stream = io.BytesIO()
    Image.fromarray(np.dstack([mask * 0] * 3 + [mask * 255]).astype(np.uint8)).save(stream, "PNG")
    return base64.b64encode(zlib.compress(stream.getvalue())).decode()


HOLED = {
    "classTitle": "ring",
    "geometryType": "polygon",
    "points": {
        "exterior": [[1, 1], [10, 1], [10, 10], [1, 10]],
        "interior": [[[3, 3], [8, 3], [8, 8], [3, 8]]],
    },
}
BOX = {"classTitle": "box", "geometryType": "rectangle", "points": {"exterior": [[14, 2], [12, 5]], "interior": []}}
BITMAP = {
    "classTitle": "blob",
    "geometryType": "bitmap",
    "bitmap": {"data": bitmap(np.array([[0, 1, 1], [1, 1, 0]])), "origin": [18, 4]},
}


def project(root, shapes, **changes):
    photo(root / "street" / "img" / "a.jpg")
    (root / "street" / "ann").mkdir()
    content = {"size": {"width": SIZE[0], "height": SIZE[1]}, "objects": shapes, **changes}
    (root / "street" / "ann" / "a.jpg.json").write_text(json.dumps(content))
    (root / "meta.json").write_text(json.dumps({"classes": [{"title": "box", "color": "#0A141E"}]}))
    return root


def test_shapes_holes_and_bitmaps(tmp_path):
    found = find_source(project(tmp_path, [HOLED, BOX, BITMAP]))
    assert found.classes.names == ("background", "blob", "box", "ring") and found.classes.colors[2] == (10, 20, 30)
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[1:11, 1:11], expected[4:8, 4:8] = 3, 0
    expected[2:6, 12:15] = 2
    expected[4, 19:21], expected[5, 18:20] = 1, 1
    assert [item.name for item in found.items] == ["street/a"]
    np.testing.assert_array_equal(found.items[0].label(), expected)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_bitmaps_without_transparency(tmp_path, mode):
    mask, stream = np.array([[0, 1, 1], [1, 1, 0]], np.uint8), io.BytesIO()
    Image.fromarray(mask.astype(bool) if mode == "1" else mask).save(stream, "PNG")
    data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
    found = find_source(project(tmp_path, [{**BITMAP, "bitmap": {"data": data, "origin": [18, 4]}}]))
    label = found.items[0].label()
    np.testing.assert_array_equal(label[4:6, 18:21], mask)
    assert label.sum() == mask.sum()


@pytest.mark.parametrize(
    ("objects", "changes", "message"),
    [
        ([{**BOX, "geometryType": "cuboid"}], {}, "type 'cuboid'; known: polygon"),
        ([{**BITMAP, "bitmap": {"data": "!", "origin": [0, 0]}}], {}, "not as Supervisely writes it"),
        ([{**BOX, "points": {}}], {}, "not as Supervisely writes it"),
        ([BOX], {"size": {"width": 9, "height": 9}}, "made for 9x9, but the image has 24x16"),
        ([BOX], {"objects": None}, "no annotation of Supervisely"),
        ([], {}, "hold no object"),
    ],
)
def test_wrong_files(tmp_path, objects, changes, message):
    with pytest.raises(UserError, match=message) as raised:
        find_source(project(tmp_path, objects, **changes))
    assert len(str(raised.value).splitlines()) <= 2


def test_an_image_that_is_missing(tmp_path):
    (project(tmp_path, [BOX]) / "street" / "img" / "a.jpg").unlink()
    with pytest.raises(UserError, match="its image img/a.jpg is not there"):
        find_source(tmp_path)
