"""data.importing.labelme: shapes become the training ids that they cover, or one line says why not."""

import json
import tracemalloc

from compat import UserError

import numpy as np
import pytest

from data import dataset_classes
from data.importing import find_source
from tests.data.test_importing import SIZE, ids, photo


def labelme(root, shapes, name="a", **content):
    photo(root / f"{name}.jpg")
    content = {"imagePath": f"{name}.jpg", "imageWidth": SIZE[0], "imageHeight": SIZE[1], "shapes": shapes, **content}
    (root / f"{name}.json").write_text(json.dumps(content))
    return root


def box(label, x0, y0, x1, y1, kind="polygon"):
    points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]] if kind == "polygon" else [[x1, y1], [x0, y0]]
    return {"label": label, "points": points, "shape_type": kind}


@pytest.mark.parametrize("kind", ["polygon", "rectangle"])
def test_labelme_shapes(tmp_path, kind):
    shapes = [box("road", 2, 3, 12, 9, kind), box("car", 5, 5, 7, 7, kind), box("__ignore__", 20, 0, 23, 15, kind)]
    found = find_source(labelme(tmp_path, shapes))
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[3:10, 2:13], expected[5:8, 5:8], expected[:, 20:] = 2, 1, 255
    assert found.classes.names == ("background", "car", "road") and found.classes.colors[0] == (0, 0, 0)
    np.testing.assert_array_equal(found.items[0].label(), expected)


def test_a_circle_is_its_middle_and_a_point_of_its_edge(tmp_path):
    circle = {"label": "light", "points": [[14, 8], [14, 4]], "shape_type": "circle"}
    label = find_source(labelme(tmp_path, [circle])).items[0].label()
    rows, columns = np.indices(label.shape)
    distance = np.hypot(rows - 8, columns - 14)
    assert label[distance <= 3.5].all() and not label[distance > 4.5].any()


def test_names_for_background_and_for_ignored_pixels(tmp_path):
    names = ("car", "_background_", "background", "void", "ignore", "__ignore__")
    shapes = [box(name, 4 * number, 0, 4 * number + 3, 15) for number, name in enumerate(names)]
    found = find_source(labelme(tmp_path, shapes, imagePath=".\\a.jpg"))
    assert found.classes.names == ("background", "car")
    np.testing.assert_array_equal(found.items[0].label(), ids(1, 0, 0, 255, 255, 255))


@pytest.mark.parametrize(
    ("shapes", "content", "message"),
    [
        ([box("car", 0, 0, 1, 1)], {"imagePath": "b.jpg"}, "image b.jpg is not there"),
        ([box("car", 0, 0, 1, 1)], {"imageWidth": 99}, "made for 99x16, but a.jpg has 24x16"),
        ([{"label": "car", "points": [[0, 0], [1, 1]], "shape_type": "linestrip"}], {}, "type 'linestrip'"),
        ([{"label": "car", "points": [[0, 0], [1, 1]]}], {}, "polygon of 2 points"),
        ([], {}, "hold no shape"),
    ],
)
def test_wrong_labelme_files(tmp_path, shapes, content, message):
    with pytest.raises(UserError, match=message):
        find_source(labelme(tmp_path, shapes, **content))


def test_labelme_faults_name_the_file_and_what_is_left_out(tmp_path):
    labelme(tmp_path, [box("road", 2, 3, 12, 9)])
    (tmp_path / "notes.json").write_text("null")
    assert "1 JSON files hold no shapes and are left out, such as " in find_source(tmp_path).notes[-1]
    labelme(tmp_path, [{**box("road", 2, 3, 12, 9), "label": 5}], name="b")
    with pytest.raises(UserError, match=r"b\.json: not as LabelMe writes it"):
        find_source(tmp_path)


def test_the_images_inside_the_files_are_not_kept(tmp_path):
    for number in range(20):
        labelme(tmp_path, [box("road", 2, 3, 12, 9)], name=f"{number}", imageData="A" * 500_000)
    tracemalloc.start()
    try:
        assert len(find_source(tmp_path).items) == 20
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 5 * 500_000  # a few copies of one image while its file is read; all would be 20


def test_a_json_file_nested_too_deeply_is_named(tmp_path):
    labelme(tmp_path, [box("road", 2, 3, 12, 9)])
    (tmp_path / "b.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="b.json: not a readable JSON file"):
        find_source(tmp_path)


def test_more_classes_than_a_label_tells_apart(tmp_path):
    labelme(tmp_path, [box(f"class {number:03}", 2, 3, 12, 9) for number in range(253)])
    classes = len(find_source(tmp_path).classes.names)
    assert len(dataset_classes("Dataset", num_classes=classes).names) == 254  # what is imported can be trained on
    labelme(tmp_path, [box(f"class {number:03}", 2, 3, 12, 9) for number in range(254)])
    with pytest.raises(UserError, match="254 classes and a background: a dataset has 254 at most"):
        find_source(tmp_path)


def test_a_damaged_json_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"shapes": ')
    with pytest.raises(UserError, match="a.json: not a readable JSON"):
        find_source(tmp_path)
