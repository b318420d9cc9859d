"""data.importing: masks and lists become the training ids that were drawn, or one line says why not."""

from compat import UserError

import numpy as np
import pytest
from PIL import Image

from data.classes import CAMVID, CITYSCAPES
from data.importing import find_source
from tests.helpers.few_bits import write_grey_png

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


@pytest.mark.parametrize(("largest", "becomes"), [(63, 63), (64, 1)])
def test_numbers_with_small_gaps_stay(tmp_path, largest, becomes):
    found = find_source(masked(tmp_path, ids(0, largest)))
    assert len(found.classes.names) == becomes + 1
    np.testing.assert_array_equal(found.items[0].label(), ids(0, becomes))


def test_palette_and_one_bit_images_are_numbers(tmp_path):
    palette = Image.fromarray(ids(0, 2, 1)).convert("P")
    palette.putdata(ids(0, 2, 1).ravel().tolist())
    palette.putpalette([*RED, *GREEN, *BLUE])
    np.testing.assert_array_equal(find_source(masked(tmp_path / "p", palette)).items[0].label(), ids(0, 2, 1))
    bits = Image.fromarray(ids(0, 255)).convert("1")
    np.testing.assert_array_equal(find_source(masked(tmp_path / "b", bits)).items[0].label(), ids(0, 1))


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_masks_of_few_bits_hold_small_numbers(tmp_path, bits):
    """Pillow stretches them: class 3 of 2 bits was 255, which is ignored."""
    root = masked(tmp_path, ids(0))
    write_grey_png(root / "masks" / "0.png", ids(0, 1, 3), bits)
    found = find_source(root)
    assert len(found.classes.names) == 4 and found.notes == []
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1, 3))


def test_colours_are_found_or_given(tmp_path):
    root = masked(tmp_path, colored(ids(0, 1, 2), [(0, 0, 0), BLUE, RED]))
    found = find_source(root)
    assert found.classes.names == ("background", "color_0000ff", "color_ff0000")
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1, 2))
    (tmp_path / "palette.txt").write_text("\ufeffsports car 255 0 0\n# a comment\n7, 0, 0, 255\n", encoding="utf-8")
    found = find_source(root, tmp_path / "palette.txt")
    assert found.classes.names == ("sports car", "7") and "black is none" in found.notes[0]
    np.testing.assert_array_equal(found.items[0].label(), ids(255, 1, 0))


def test_cityscapes_colours_are_known(tmp_path):
    chosen = [(0, 0, 0), *(CITYSCAPES.colors[index] for index in (0, 13, 10, 2))]
    found = find_source(masked(tmp_path, colored(ids(0, 1, 2, 3), chosen), colored(ids(4, 4), chosen)))
    assert found.classes == CITYSCAPES
    np.testing.assert_array_equal(found.items[0].label(), ids(255, 0, 13, 10))


def test_camvids_colours_are_known(tmp_path):
    found = find_source(masked(tmp_path, colored(ids(0, 1, 2, 3), [CAMVID.colors[index] for index in (0, 10, 8, 3)])))
    assert found.classes == CAMVID
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 10, 8, 3))


def test_colours_are_one_if_they_differ_by_no_more_than_blurring_does(tmp_path):
    assert find_source(masked(tmp_path / "far", colored(ids(0, 1), [RED, (246, 9, 0)]))).classes.names
    with pytest.raises(UserError, match="nearly the same"):
        find_source(masked(tmp_path / "near", colored(ids(0, 1), [RED, (247, 8, 0)])))


def test_masks_with_an_alpha_channel_may_be_opaque(tmp_path):
    rgba = np.dstack([colored(ids(0, 1), [BLUE, RED]), np.full(SIZE[::-1], 255, np.uint8)])
    np.testing.assert_array_equal(find_source(masked(tmp_path, rgba)).items[0].label(), ids(0, 1))


def test_cvats_masks(tmp_path):
    photo(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(colored(ids(0, 1), [(0, 0, 0), RED])).save(tmp_path / "SegmentationClass" / "a.png")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncargo ship 2:255,0,0:bow,stern:sail\n"
    )
    found = find_source(tmp_path)
    assert found.classes.names == ("background", "cargo ship 2")
    np.testing.assert_array_equal(found.items[0].label(), ids(0, 1))


def test_masks_pair_by_name_and_ending_in_folders(tmp_path):
    photo(tmp_path / "images" / "day" / "a b.jpg")
    (tmp_path / "labels" / "day").mkdir(parents=True)
    Image.fromarray(ids(0, 1)).save(tmp_path / "labels" / "day" / "a b_mask.png")
    for folder, suffix in (("images", "jpg"), ("labels", "png")):
        (tmp_path / folder / "day" / f"._a b.{suffix}").write_bytes(b"what macOS puts beside each file in an archive")
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


def two_masks(root):
    masked(root, ids(0, 1))
    Image.fromarray(ids(0, 2)).save(root / "masks" / "0_mask.png")


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
    "two masks of an image": (two_masks, "0_mask.png: is a mask of 0 as 0.png is"),
    "one colour": (lambda root: masked(root, colored(ids(0, 0), [RED])), "a single class, color_ff0000"),
    "truncated": (truncated, "not a complete image file"),
    "no image": (lambda root: (masked(root, ids(0, 1)), (root / "masks" / "0.png").write_text("x")), "not a readable"),
    "colour not in palette": (with_palette("car 255 0 0\nroad 0 0 254\n"), r"colour \(0, 0, 255\) \(192 pixels\)"),
    "palette of a line": (with_palette("car 255 0 0\n"), "at least two"),
    "palette out of range": (with_palette("car 256 0 0\nroad 0 0 1\n"), "line 1"),
    "palette of four numbers": (with_palette("car 255 0 0\nroad 0 0 255 9\n"), "line 2.*is not: name red green blue"),
    "CVAT's palette of four": (
        with_palette("car:255,0,0::\nroad:0,0,255,9::\n"),
        "line 2.*is not: name red green blue",
    ),
    "palette without a name": (with_palette("car 255 0 0\n0 0 255\n"), "line 2.*is not: name red green blue"),
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


def test_more_classes_in_all_masks_than_a_label_tells_apart(tmp_path):
    masked(tmp_path, *(np.arange(start, start + 128, dtype=np.uint8).reshape(16, 8).repeat(3, 1) for start in (0, 127)))
    with pytest.raises(UserError, match="the masks hold 255 classes; a dataset has 254 at most"):
        find_source(tmp_path)


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


def test_names_of_images_beside_the_source_stay_within_the_dataset(tmp_path):
    source = masked(tmp_path / "source", ids(0, 1))
    photo(tmp_path / "photos" / "a.png")
    Image.fromarray(ids(0, 1)).save(tmp_path / "a.png")
    (source / "train.txt").write_text("../photos/a.png ../a.png\n")
    (source / "val.txt").write_text("images/../images/0.jpg masks/0.png\n")
    found = find_source(source)
    assert found.splits == {"train": ["photos/a"], "val": ["images/0"]}
    assert [item.name for item in found.items] == ["photos/a", "images/0"]
    photo(source / "photos" / "a.png")
    (source / "val.txt").write_text("photos/a.png ../a.png\n")
    with pytest.raises(UserError, match="photos/a is in train.txt too"):
        find_source(source)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("\n", "val.txt: lists no image"),
        ("\nimages/0.jpg\n", "val.txt, line 2: 'images/0.jpg' is not: image label"),
        ("images/0.jpg masks/1.png\n", "val.txt, line 1: no such file: .*1.png"),
    ],
)
def test_a_wrong_list_is_named(tmp_path, listed, message):
    masked(tmp_path, ids(0, 1))
    (tmp_path / "train.txt").write_text("images/0.jpg masks/0.png\n")
    (tmp_path / "val.txt").write_text(listed)
    with pytest.raises(UserError, match=message):
        find_source(tmp_path)


def test_images_that_differ_by_their_suffix_alone_are_refused(tmp_path):
    masked(tmp_path, ids(0, 1), ids(0, 1))
    photo(tmp_path / "images" / "0.jpeg")
    (tmp_path / "train.txt").write_text("images/0.jpg masks/0.png\nimages/0.jpeg masks/1.png\n")
    (tmp_path / "val.txt").write_text("images/1.jpg masks/1.png\n")
    with pytest.raises(UserError, match="0.jpeg and .*0.jpg: two images have the same name, images/0;"):
        find_source(tmp_path)
