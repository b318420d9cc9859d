"""Classes of the known datasets: names, colours, and how values in label files map to training ids."""

from typing import NamedTuple, Tuple

import numpy as np

IGNORED = 255
"""Training id of ignored pixels, whatever value the label files use for them."""

INVALID = 254
"""What a label table maps values to that label files must not contain."""

MAX_CLASSES = INVALID
"""The training ids are 0 to 253 at most."""


class ClassSet(NamedTuple):
    """Names and RGB colours of the classes 0..K-1."""

    names: Tuple[str, ...]
    colors: Tuple[Tuple[int, int, int], ...]

    def palette(self) -> np.ndarray:
        """[256, 3] uint8 RGB colours; black for ids without a class."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.colors)] = self.colors
        return palette


CITYSCAPES = ClassSet(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic_light",
        "traffic_sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    colors=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)

CAMVID = ClassSet(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign_symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    colors=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)

# labelIds (0..33 and -1, stored as 255) of the 19 evaluated classes, in the order of their training ids.
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_MAX_LABEL_ID = 33

# Cityscapes' categories, as its scripts evaluate them.
CITYSCAPES_CATEGORIES = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic_light", "traffic_sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
# Mean size in pixels of an object of each class that has instances, from cityscapesscripts.
CITYSCAPES_INSTANCE_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
# The small or thin objects of BiSeSTDC (pole, light, sign, person, rider, bicycle), under the names of Cityscapes and
# of CamVid.
SMALL_OBJECTS = (
    "pole",
    "traffic_light",
    "traffic_sign",
    "sign_symbol",
    "person",
    "pedestrian",
    "rider",
    "bicycle",
    "bicyclist",
)


def generic_classes(num_classes: int) -> ClassSet:
    """Numbered names and well-separated colours for a dataset of `num_classes` classes."""
    # Hues a golden ratio apart never come close to each other, however many there are.
    hues = (np.arange(num_classes) * 0.618034) % 1.0
    values = 0.95 - 0.3 * (np.arange(num_classes) % 3) / 2
    sectors = (hues[:, None] * 6 + np.array([5.0, 3.0, 1.0])) % 6
    rgb = values[:, None] * (1 - 0.75 * np.clip(np.minimum(sectors, 4 - sectors), 0, 1))
    colors = tuple(tuple(int(channel) for channel in color) for color in np.round(rgb * 255))
    return ClassSet(tuple(f"class_{index}" for index in range(num_classes)), colors)


def train_id_table(num_classes: int, ignored: int = IGNORED) -> np.ndarray:
    """[256] uint8: values 0..num_classes-1 stay, `ignored` becomes 255, every other value INVALID."""
    table = np.full(256, INVALID, np.uint8)
    table[:num_classes] = np.arange(num_classes)
    table[ignored] = IGNORED
    return table


def cityscapes_label_id_table() -> np.ndarray:
    """[256] uint8 from Cityscapes labelIds to training ids; ids beyond the official ones are INVALID."""
    table = np.full(256, INVALID, np.uint8)
    table[: CITYSCAPES_MAX_LABEL_ID + 1] = IGNORED
    table[IGNORED] = IGNORED
    for train_id, label_id in enumerate(CITYSCAPES_LABEL_IDS):
        table[label_id] = train_id
    return table
