"""Categories and instance-weighted IoU against cityscapesscripts, on a rendered sample."""

from compat import UserError

import cv2
import numpy as np
import pytest

from data import build_dataset
from data.classes import CITYSCAPES, CITYSCAPES_CATEGORIES, CITYSCAPES_INSTANCE_SIZES, CITYSCAPES_LABEL_IDS
from data.files import read_instance_ids
from data.renderer.sample import render_sample
from engine.evaluation import metrics
from engine.evaluation.instance_iou import CATEGORIES, CLASSES, InstanceScores, category_iou, instance_file


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instances")
    render_sample(str(folder), train=1, val=6, size=(256, 128), seed=2)
    return folder


def distorted(label, rng):
    """A prediction with errors of every kind: the label shifted, with blocks of other classes, none ignored."""
    prediction = np.roll(label, rng.integers(-4, 5, 2), (0, 1))
    prediction[prediction == 255] = rng.integers(0, 19)
    for _ in range(12):
        row, column = rng.integers(0, 110), rng.integers(0, 230)
        prediction[row : row + 18, column : column + 26] = rng.integers(0, 19)
    return prediction


def test_equal_to_cityscapesscripts(root, tmp_path, monkeypatch):
    scripts = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    dataset = build_dataset("Cityscapes", str(root), "val", [{"type": "Normalize"}])
    rng = np.random.default_rng(0)
    confusion, instances, files = np.zeros((19, 19), np.int64), InstanceScores.zero(), ([], [])
    parts = []
    for index, sample in enumerate(dataset.samples):
        label = dataset.read_label(index)
        prediction = distorted(label, rng)
        confusion += metrics.confusion_matrix(label, prediction, 19)
        instance_ids = read_instance_ids(instance_file(sample.label))
        instances = instances.with_image(instance_ids, prediction)
        parts.append(InstanceScores.zero().with_image(instance_ids, prediction))
        written = tmp_path / f"{index}.png"
        cv2.imwrite(str(written), np.array(CITYSCAPES_LABEL_IDS, np.uint8)[prediction])
        files[0].append(str(written))
        files[1].append(str(sample.label).replace("labelTrainIds", "labelIds"))
    monkeypatch.setattr(scripts.args, "JSONOutput", False)
    monkeypatch.setattr(scripts.args, "quiet", True)
    theirs = scripts.evaluateImgLists(*files, scripts.args)

    expected = [theirs["classScores"][name.replace("_", " ")] for name in CITYSCAPES.names]
    ours = metrics.class_iou(metrics.areas(confusion), "nan")
    assert ours.tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert metrics.mean_score(ours) == pytest.approx(theirs["averageScoreClasses"], rel=1e-12)
    expected = [theirs["categoryScores"][name] for name in CITYSCAPES_CATEGORIES]
    assert category_iou(confusion).tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert metrics.mean_score(category_iou(confusion)) == pytest.approx(theirs["averageScoreCategories"], rel=1e-12)
    for summed in (instances, sum(parts[1:], parts[0])):
        of_classes, of_categories = summed.class_iiou(confusion), summed.category_iiou(confusion)
        expected = [theirs["classInstScores"][name] for name in CLASSES]
        assert of_classes.tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert sum(0 < value < 1 for value in expected) >= 6
        expected = [theirs["categoryInstScores"][name] for name in CATEGORIES]
        assert of_categories.tolist() == pytest.approx(expected, rel=1e-12)
        assert metrics.mean_score(of_classes) == pytest.approx(theirs["averageScoreInstClasses"], rel=1e-12)
        assert metrics.mean_score(of_categories) == pytest.approx(theirs["averageScoreInstCategories"], rel=1e-12)
    assert scripts.args.avgClassSize.items() >= CITYSCAPES_INSTANCE_SIZES.items()


def test_hand_computed_weights():
    ids = np.zeros((4, 6), np.uint16)
    ids[0, :4], ids[1, :2], ids[2, :] = 24000, 24001, 23  # two persons, of 4 and 2 pixels
    ids[0, 0] = 24000
    label = np.full((4, 6), 10, np.uint8)
    label[ids >= 24000] = 11
    prediction = np.full((4, 6), 10, np.uint8)
    prediction[0, :3], prediction[1, 0], prediction[3, :5] = 11, 12, 11  # 3 of 4; 1 of 2 as rider; 5 wrong pixels
    scores = InstanceScores.zero().with_image(ids, prediction)
    confusion = metrics.confusion_matrix(label, prediction, 19)
    size = CITYSCAPES_INSTANCE_SIZES["person"]
    assert scores.class_iiou(confusion)[0] == pytest.approx((3 / 4 * size) / (2 * size + 5))
    assert scores.category_iiou(confusion)[0] == pytest.approx((3 / 4 + 1 / 2) * size / (2 * size + 5))
    assert np.isnan(scores.class_iiou(confusion)[2:]).all()  # nothing of cars and later classes
    empty = InstanceScores.zero().with_image(np.zeros((4, 6), np.uint16), prediction)
    assert empty.of_class.sum() == 0 and empty.class_iiou(confusion)[0] == 0
    assert (scores + empty).summed(lambda array: array).of_class.tolist() == scores.of_class.tolist()


def test_instance_files(root):
    label = next((root / "gtFine" / "val").rglob("*_labelTrainIds.png"))
    assert instance_file(label).name.endswith("_gtFine_instanceIds.png")
    assert instance_file(label.with_name("x.png")) is None and instance_file(None) is None
    with pytest.raises(UserError, match="instance ids are one channel of 16 bits"):
        read_instance_ids(label)
