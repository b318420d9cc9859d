"""data.importing: whatever stands in a JSON file, the import works or says in a line what is wrong."""

import copy
import json
import random

from compat import UserError

import pytest

from data.importing import find_source
from tests.data.test_coco import coco
from tests.data.test_importing import SIZE, ids, masked
from tests.data.test_labelme import box, labelme
from tests.data.test_supervisely import BITMAP, BOX, HOLED, project

WRONG = (None, True, -1, 0, 1.5, 1e300, "", "abc", [], [[]], {}, {"a": 1}, [1, 2, 3], "../../etc")
RLE = {"category_id": 1, "segmentation": {"size": list(SIZE[::-1]), "counts": [4, SIZE[0] * SIZE[1] - 4]}}
SOURCES = {
    "a.json": lambda root: labelme(root, [box("road", 2, 3, 12, 9), box("car", 5, 5, 7, 7, "rectangle")]),
    "instances.json": lambda root: coco(root, [{"category_id": 3, "segmentation": [[4, 4, 8, 4, 8, 6]]}, RLE]),
    "street/ann/a.jpg.json": lambda root: project(root, [HOLED, BOX, BITMAP]),
}


@pytest.mark.parametrize("name", [*SOURCES, "masks"])
def test_a_palette_that_names_no_colours_is_refused(tmp_path, name):
    """It would be ignored; whoever gave it expects its names."""
    if name.startswith("instances"):
        pytest.importorskip("pycocotools")
    SOURCES.get(name, lambda root: masked(root, ids(0, 1)))(tmp_path)
    palette = tmp_path / "palette.txt"
    palette.write_text("road 0 0 0\ncar 255 0 0\n")
    message = "palette.txt: a palette names the colours of masks, and .* holds .*; leave --palette out"
    with pytest.raises(UserError, match=message):
        find_source(tmp_path, palette)
    if name.startswith("instances"):
        with pytest.raises(UserError, match="gone.txt: the palette cannot be read"):
            find_source(tmp_path / name, tmp_path / "gone.txt")
    palette.rename(tmp_path / "labelmap.txt")  # CVAT's, which is there without being asked for
    assert find_source(tmp_path).items


def places(node, path=()):
    """The paths to all values below a JSON value."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


@pytest.mark.parametrize("name", SOURCES)
def test_damaged_content(tmp_path, name):
    if name.startswith("instances"):
        pytest.importorskip("pycocotools")
    SOURCES[name](tmp_path)
    whole = json.loads((tmp_path / name).read_text())
    generator, refused = random.Random(0), 0
    for path in places(whole):
        for value in ("remove", *generator.sample(WRONG, 4)):
            damaged = copy.deepcopy(whole)
            parent = damaged
            for key in path[:-1]:
                parent = parent[key]
            if value == "remove":
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
            (tmp_path / name).write_text(json.dumps(damaged))
            try:
                for item in find_source(tmp_path).items:
                    assert item.label().shape == SIZE[::-1]
            except UserError as error:
                refused += 1
                assert len(str(error).splitlines()) <= 2
    assert refused > 20
