"""data.importing: every form of source becomes the training ids that were drawn, or one line says why not."""

import json

from compat import UserError

import numpy as np
import pytest
from PIL import Image

from data import dataset_classes
from data.classes import CITYSCAPES
from data.importing import find_source

SIZE = (24, 16)  # (width, height)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def photo(path, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(path, **options)


def ids(*values):
    """[H, W] of vertical stripes of these values."""
    return np.repeat(np.array(values, np.uint8), SIZE[0] // len(values))[None].repeat(SIZE[1], 0)


def masked(root, *masks, suffix=".png"):
    """Images 0, 1, ... with these masks, arrays or Pillow's images."""
    for number, mask in enumerate(masks):
        photo(root / "images" / f"{number}.jpg")
        (root / "masks").mkdir(exist_ok=True)
        (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(root / "masks" / f"{number}{suffix}")
    return root


def colored(values, colors):
    return np.array(colors, np.uint8)[values]


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_of_0_and_255_mean_foreground(tmp_path):
    found = find_source(masked(tmp_path, ids(0, 255), ids(0, 0)))
    assert found.classes.names == ("background", "foreground") and "255 means foreground" in found.notes[0]
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1))


def test_numbers_stay_and_255_is_ignored(tmp_path):
    found = find_source(masked(tmp_path, ids(0, 3, 255), ids(1, 1, 1)))
    assert len(found.classes.names) == 4 and found.notes == ["255 means: ignored"]
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 3, 255))


def test_numbers_with_large_gaps_become_classes(tmp_path):
    found = find_source(masked(tmp_path, ids(0, 128, 200)))
    assert "0 -> 0, 128 -> 1, 200 -> 2" in found.notes[0]
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1, 2))


def test_palette_and_one_bit_images_are_numbers(tmp_path):
    palette = Image.fromarray(ids(0, 2, 1)).convert("P")
    palette.putdata(ids(0, 2, 1).ravel().tolist())
    palette.putpalette([*RED, *GREEN, *BLUE])
    np.testing.assert_array_equal(find_source(masked(tmp_path / "p", palette)).items[0].label(), ids(0, 2, 1))
    bits = Image.fromarray(ids(0, 255)).convert("1")
    np.testing.assert_array_equal(find_source(masked(tmp_path / "b", bits)).items[0].label(), ids(0, 1))


def test_colours_are_found_or_given(tmp_path):
    root = masked(tmp_path, colored(ids(0, 1, 2), [(0, 0, 0), BLUE, RED]))
    found = find_source(root)
    assert found.classes.names == ("background", "color_0000ff", "color_ff0000")
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1, 2))
    (tmp_path / "palette.txt").write_text("\ufeffcar 255 0 0\n# a comment\nroad 0 0 255\n", encoding="utf-8")
    found = find_source(root, tmp_path / "palette.txt")
    assert found.classes.names == ("car", "road") and "black is none" in found.notes[0]
    np.testing.assert_array_equal(found.items[0].label(), ids(255, 1, 0))


def test_cityscapes_colours_are_known(tmp_path):
    chosen = [(0, 0, 0), *(CITYSCAPES.colors[index] for index in (0, 13, 10, 2))]
    found = find_source(masked(tmp_path, colored(ids(0, 1, 2, 3), chosen), colored(ids(4, 4), chosen)))
    assert found.classes == CITYSCAPES
    np.testing.assert_array_equal(found.items[0].label(), ids(255, 0, 13, 10))


def test_cvats_masks(tmp_path):
    photo(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(colored(ids(0, 1), [(0, 0, 0), RED])).save(tmp_path / "SegmentationClass" / "a.png")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nship:255,0,0::\n")
    found = find_source(tmp_path)
    assert found.classes.names == ("background", "ship")
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1))


def test_masks_pair_by_name_and_ending_in_folders(tmp_path):
    photo(tmp_path / "images" / "day" / "a b.jpg")
    (tmp_path / "labels" / "day").mkdir(parents=True)
    Image.fromarray(ids(0, 1)).save(tmp_path / "labels" / "day" / "a b_mask.png")
    assert [item.name for item in find_source(tmp_path).items] == ["day/a b"]


def with_palette(text):
    def make(root):
        (root / "palette.txt").write_text(text)
        masked(root, colored(ids(0, 1), [RED, BLUE]))

    return make


def exif(root):
    turned = Image.Exif()
    turned[0x0112] = 6
    masked(root, ids(0, 1))
    photo(root / "images" / "0.jpg", exif=turned)


def cmyk(root):
    masked(root, ids(0, 1))
    Image.new("CMYK", SIZE).save(root / "images" / "0.jpg")


def lone(root):
    masked(root, ids(0, 1))
    photo(root / "images" / "9.png")


def twice(root):
    masked(root, ids(0, 1))
    photo(root / "images" / "0.png")


def truncated(root):
    masked(root, np.random.default_rng(0).integers(0, 3, SIZE[::-1], dtype=np.uint8))
    file = root / "masks" / "0.png"
    file.write_bytes(file.read_bytes()[:60])


def transparent(root):
    rgba = np.dstack([colored(ids(0, 1), [RED, BLUE]), np.full(SIZE[::-1], 200, np.uint8)])
    masked(root, rgba)


BAD_MASKS = {
    "two colours a bit apart": (lambda root: masked(root, colored(ids(0, 1), [RED, (254, 0, 0)])), "nearly the same"),
    "jpeg": (lambda root: masked(root, photo_array(), suffix=".jpg"), "different colours; a mask needs one flat"),
    "smooth": (lambda root: masked(root, photo_array()), "different colours"),
    "16 bits": (lambda root: masked(root, ids(0, 1).astype(np.uint16)), "mask of the mode I;16"),
    "transparent": (transparent, "transparent pixels"),
    "other size": (lambda root: masked(root, ids(0, 1)[:-1]), "size 24x15, but its image 0.jpg has 24x16"),
    "mixed": (lambda root: masked(root, ids(0, 1), colored(ids(0, 1), [RED, BLUE])), "one after the other"),
    "only zeros": (lambda root: masked(root, ids(0, 0)), "no number but 0"),
    "turned photo": (exif, "save it upright"),
    "CMYK photo": (cmyk, "colours are CMYK"),
    "no mask": (lone, "9.png: has no partner"),
    "two of a name": (twice, "has the same name as"),
    "truncated": (truncated, "not a complete image file"),
    "no image": (lambda root: (masked(root, ids(0, 1)), (root / "masks" / "0.png").write_text("x")), "not a readable"),
    "colour not in palette": (with_palette("car 255 0 0\nroad 0 0 254\n"), r"colour \(0, 0, 255\) \(192 pixels\)"),
    "palette of a line": (with_palette("car 255 0 0\n"), "at least two"),
    "palette out of range": (with_palette("car 256 0 0\nroad 0 0 1\n"), "line 1"),
    "palette repeats": (with_palette("car 1 0 0\nroad 1 0 0\n"), "line 2.*repeats"),
    "nothing": (lambda root: None, "neither images/ and masks/"),
}


def photo_array():
    return np.random.default_rng(1).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8)


@pytest.mark.parametrize(("make", "message"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_what_is_ambiguous_in_masks_is_refused_by_name(tmp_path, make, message):
    make(tmp_path)
    palette = tmp_path / "palette.txt"
    with pytest.raises(UserError, match=message) as raised:
        find_source(tmp_path, palette if palette.is_file() else None)
    assert len(str(raised.value).splitlines()) <= 2


# --- LabelMe ----------------------------------------------------------------------------------------------------------


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


def test_more_classes_in_all_masks_than_a_label_tells_apart(tmp_path):
    masked(tmp_path, *(np.arange(start, start + 128, dtype=np.uint8).reshape(16, 8).repeat(3, 1) for start in (0, 127)))
    with pytest.raises(UserError, match="the masks hold 255 classes; a dataset has 254 at most"):
        find_source(tmp_path)


def test_a_damaged_json_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"shapes": ')
    with pytest.raises(UserError, match="a.json: not a readable JSON"):
        find_source(tmp_path)


# --- COCO -------------------------------------------------------------------------------------------------------------


def coco(root, annotations, **changes):
    photo(root / "images" / "a.jpg")
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": 3, "name": "ship"}, {"id": 1, "name": "harbour"}],
        "annotations": [{"id": n, "image_id": 7, **one} for n, one in enumerate(annotations)],
        **changes,
    }
    (root / "instances.json").write_text(json.dumps(content))
    return root


def test_coco_polygons_and_both_kinds_of_rle(tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    inner, outer, far = (np.zeros(SIZE[::-1], np.uint8) for _ in range(3))
    inner[4:6, 4:8], outer[2:10, 2:12], far[12:, 20:] = 1, 1, 1
    runs = np.flatnonzero(np.diff(np.concatenate([[0], outer.ravel("F"), [1]])))
    counts = np.diff(np.concatenate([[0], runs])).tolist()
    packed = mask.encode(np.asfortranarray(far))
    annotations = [
        {"category_id": 3, "segmentation": [[4, 4, 8, 4, 8, 6, 4, 6]]},
        {"category_id": 1, "segmentation": {"size": list(SIZE[::-1]), "counts": counts}},
        {"category_id": 3, "segmentation": {"size": list(SIZE[::-1]), "counts": packed["counts"].decode()}},
    ]
    found = find_source(coco(tmp_path, annotations))
    assert found.classes.names == ("background", "harbour", "ship")
    expected = np.where(inner, 2, outer)
    expected[far == 1] = 2
    np.testing.assert_array_equal(found.items[0].label(), expected)  # the smaller one counts, whatever the order
    assert find_source(tmp_path / "instances.json").items[0].name == "a"


def test_compressed_rle_of_any_mask(tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    covered = np.random.default_rng(3).random(SIZE[::-1]) < np.linspace(0, 1, SIZE[0])
    shape = mask.encode(np.asfortranarray(covered.astype(np.uint8)))
    annotation = {"category_id": 1, "segmentation": {"size": shape["size"], "counts": shape["counts"].decode()}}
    np.testing.assert_array_equal(find_source(coco(tmp_path, [annotation])).items[0].label(), covered)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 7, "file_name": "b.jpg", "width": 24, "height": 16}]}, "b.jpg is in none of"),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 25, "height": 16}]}, "has 24x16, not 25x16"),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 24, "height": 16}] * 2}, "2 images have the id 7"),
        ({"images": [{"id": n, "file_name": "a.jpg"} for n in (7, 8)]}, "lists the image a.jpg 2 times"),
        ({"images": [{"id": 8, "file_name": "a.jpg", "width": 24, "height": 16}]}, "is of no listed image"),
        ({"categories": [{"id": 1, "name": "harbour"}]}, "no listed category"),
    ],
)
def test_wrong_coco_files(tmp_path, changes, message):
    pytest.importorskip("pycocotools")
    with pytest.raises(UserError, match=message):
        find_source(coco(tmp_path, [{"category_id": 3, "segmentation": [[0, 0, 1, 0, 1, 1]]}], **changes))


# --- lists ------------------------------------------------------------------------------------------------------------


def test_lists_keep_their_splits(tmp_path):
    masked(tmp_path, ids(0, 1), ids(1, 0), ids(0, 1))
    (tmp_path / "train.txt").write_text("\ufeffimages/0.jpg\tmasks/0.png\nimages/1.jpg   masks/1.png\n")
    (tmp_path / "val.txt").write_text("images/2.jpg,masks/2.png\n\n")
    found = find_source(tmp_path)
    assert found.splits == {"train": ["images/0", "images/1"], "val": ["images/2"]}
    (tmp_path / "val.txt").write_text("images/0.jpg masks/0.png\n")
    with pytest.raises(UserError, match="images/0 is in train.txt too"):
        find_source(tmp_path)


def test_an_empty_list_is_named(tmp_path):
    masked(tmp_path, ids(0, 1))
    (tmp_path / "train.txt").write_text("images/0.jpg masks/0.png\n")
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(UserError, match="val.txt: lists no image"):
        find_source(tmp_path)


def test_images_that_differ_by_their_suffix_alone_are_refused(tmp_path):
    masked(tmp_path, ids(0, 1), ids(0, 1))
    photo(tmp_path / "images" / "0.jpeg")
    (tmp_path / "train.txt").write_text("images/0.jpg masks/0.png\nimages/0.jpeg masks/1.png\n")
    (tmp_path / "val.txt").write_text("images/1.jpg masks/1.png\n")
    with pytest.raises(UserError, match="0.jpeg and .*0.jpg: two images have the same name, images/0;"):
        find_source(tmp_path)
