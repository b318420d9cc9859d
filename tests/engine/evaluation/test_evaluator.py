"""Our evaluator against paddleseg's: the same areas to the last pixel under every protocol."""

import os
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from compat import UserError

import numpy as np
import paddle
import paddleseg.core
import pytest

from data import build_dataset
from data.transforms import Normalize
from engine.evaluation import evaluator
from engine.evaluation.evaluator import Scores, evaluate, evaluate_images, evaluate_protocols
from engine.evaluation.inference import predict_classes, predict_details, predict_logits
from engine.recipe import Protocol
from models import build_model
from tests.helpers.small_network import SmallNetwork

CAMVID = Path(os.environ.get("STDC_CAMVID", "../shared/camvid"))
PROTOCOLS = {
    "plain": Protocol(aug_eval=False),
    "full": Protocol(),
    "half": Protocol(scales=0.5),
    "odd scale": Protocol(scales=0.73),
    "scales": Protocol(scales=(0.5, 0.75, 1.0, 1.25)),
    "flips": Protocol(scales=(0.5, 1.0), flip_horizontal=True, flip_vertical=True),
    "vertical flip": Protocol(flip_vertical=True),
    "window": Protocol(is_slide=True, crop_size=(48, 40), stride=(32, 24)),
    "plain window": Protocol(aug_eval=False, is_slide=True, crop_size=(48, 40), stride=(32, 24)),
    "windows everywhere": Protocol(
        scales=(0.5, 1.25), flip_horizontal=True, is_slide=True, crop_size=(96, 64), stride=(32, 64)
    ),
}


@pytest.fixture(scope="module")
def val_set(sample_root):
    return build_dataset("Cityscapes", str(sample_root), "val", [{"type": "Normalize"}])


@pytest.fixture
def their_areas(monkeypatch):
    """A function that evaluates with paddleseg and returns its scores and the areas that they are computed of."""
    from paddleseg.utils import metrics as theirs

    def areas_of(model, dataset, protocol):
        kept = []
        original = theirs.kappa
        monkeypatch.setattr(theirs, "kappa", lambda *areas: kept.append(areas) or original(*areas))
        scales = [float(s) for s in protocol.scales] if isinstance(protocol.scales, tuple) else protocol.scales
        scores = paddleseg.core.evaluate(
            model, dataset, aug_eval=protocol.aug_eval, scales=scales, flip_horizontal=protocol.flip_horizontal,
            flip_vertical=protocol.flip_vertical, is_slide=protocol.is_slide, crop_size=protocol.crop_size,
            stride=protocol.stride, print_detail=False,
        )  # fmt: skip
        monkeypatch.setattr(theirs, "kappa", original)
        return scores, np.stack([area.numpy() for area in kept[0]])

    return areas_of


@pytest.mark.parametrize("name", PROTOCOLS)
def test_areas_and_scores_are_paddlesegs(name, val_set, their_areas):
    model = SmallNetwork(19)
    scores = evaluate(model, val_set, PROTOCOLS[name])
    theirs, areas = their_areas(model, val_set, PROTOCOLS[name])
    assert (scores.areas == areas).all()
    assert areas.sum() > 0 and scores.images == len(val_set)
    assert (scores.miou, scores.accuracy, scores.kappa) == (theirs[0], theirs[1], theirs[4])
    assert (scores.class_iou == theirs[2]).all() and (scores.class_precision == theirs[3]).all()


def test_areas_of_a_real_network(val_set, their_areas):
    paddle.seed(0)
    model = build_model("stdc1_seg", 19)
    protocol = Protocol(scales=0.5, flip_horizontal=True)
    assert (evaluate(model, val_set, protocol).areas == their_areas(model, val_set, protocol)[1]).all()


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid in {CAMVID}; name its folder with STDC_CAMVID")
def test_areas_on_real_frames(their_areas):
    dataset = build_dataset("CamVid", str(CAMVID), "val", [{"type": "Normalize"}])
    dataset.samples = dataset.samples[::60]
    model = SmallNetwork(11)
    for protocol in (
        Protocol(scales=0.5),
        Protocol(scales=(0.5, 1.25), flip_horizontal=True),
        Protocol(is_slide=True, crop_size=(240, 180), stride=(160, 120)),
    ):
        areas = evaluate(model, dataset, protocol).areas
        assert (areas == their_areas(model, dataset, protocol)[1]).all() and areas.sum() > 1e5


def test_align_corners_resizes_as_the_original(val_set):
    """Against bilinear interpolation whose first and last samples are the corners, written out in numpy."""
    model = SmallNetwork(19)
    image = val_set[0]["img"][None].astype("float64")

    def resized(pixels, size):
        for axis, length in zip((2, 3), size):
            last = pixels.shape[axis] - 1
            at = np.linspace(0, last, length)
            low = np.minimum(at.astype(int), last - 1)
            share = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
            pixels = pixels.take(low, axis) * (1 - share) + pixels.take(low + 1, axis) * share
        return pixels

    # a network of one pointwise step, so that rounding stays small
    model.forward = lambda x: [paddle.concat([x, x * x], axis=1)]
    small = resized(image, (48, 96))
    expected = resized(np.concatenate([small, small * small], axis=1), (64, 128))
    tensor = paddle.to_tensor(image.astype("float32"))
    results = {corners: predict_logits(model, tensor, Protocol(scales=0.75, align_corners=corners)).numpy()
               for corners in (True, False)}  # fmt: skip
    assert np.abs(results[True] - expected).max() < 1e-4 < 0.1 < np.abs(results[False] - expected).max()


def test_one_pass_over_protocols_and_parts_adds_up(val_set):
    model = SmallNetwork(19)
    model.train()
    protocols = {name: PROTOCOLS[name] for name in ("full", "half")}
    whole = evaluate_protocols(model, val_set, protocols, bootstrap=20)
    parts = {name: Scores.zero(19, bootstrap=20) for name in protocols}
    for part in ([2], [], [0, 1]):
        for results in evaluate_images(model, val_set, protocols, indices=part):
            assert not model.training
            for name, result in results.items():
                assert result.label.shape == result.prediction.shape == (64, 128)
                parts[name] = parts[name] + Scores.zero(19, bootstrap=20).with_image(result)
    assert model.training
    for name in protocols:
        assert (whole[name].confusion == parts[name].confusion).all() and parts[name].images == 3
        assert (whole[name].replicates == parts[name].replicates).all()
        alone = evaluate(model, val_set, protocols[name], bootstrap=20)
        assert (alone.confusion == parts[name].confusion).all()
    assert (whole["full"].confusion != whole["half"].confusion).any()
    twice = whole["full"].summed(lambda array: array * 2)
    assert twice.images == 6 and twice.miou == whole["full"].miou and twice.areas.sum() == 2 * whole["full"].areas.sum()


def test_images_go_to_the_device_once_as_bytes_and_labels_stay(val_set):
    protocols = {name: PROTOCOLS[name] for name in ("half", "flips")}
    loads, moves = wrapped(evaluator, "DataLoader"), wrapped(paddle, "to_tensor")
    with loads as loader, moves as to_tensor, mock.patch.object(Normalize, "on_device", autospec=True) as on_device:
        on_device.side_effect = lambda normalize, images: paddle.zeros([1, 3, *images.shape[1:3]])
        evaluate_protocols(SmallNetwork(19), val_set, protocols)
    assert [call.args[1].dtype for call in on_device.call_args_list] == [paddle.uint8] * len(val_set)
    moved = [np.asarray(call.args[0]).shape for call in to_tensor.call_args_list]
    assert moved.count((1, 64, 128, 3)) == len(val_set) and not any(shape[-2:] == (64, 128) for shape in moved)
    assert [type(place) for place in loader.call_args.kwargs["places"]] == [paddle.CPUPlace]


def wrapped(where, name):
    """A patch that calls what it stands for."""
    return mock.patch.object(where, name, wraps=getattr(where, name))


def test_the_label_file_with_a_wrong_value_is_named(val_set, monkeypatch):
    read = val_set.read

    def spoilt(index):
        image, label = read(index)
        return image, np.full_like(label, 77) if index == 1 else label

    monkeypatch.setattr(val_set, "read", spoilt)
    with pytest.raises(UserError, match=f"{val_set.samples[1].label.name}: the label value 77 is neither one of"):
        evaluate(SmallNetwork(19), val_set, Protocol(), indices=[2, 1, 0])


def test_the_image_without_a_label_is_named():
    samples = [SimpleNamespace(image="a.png", label="a_label.png"), SimpleNamespace(image="b.png", label=None)]
    with pytest.raises(UserError, match="b.png: has no label"):
        next(evaluate_images(None, SimpleNamespace(samples=samples), {}))


def test_a_narrow_image_keeps_a_pixel_at_every_scale():
    """Its side of 0 pixels was a bare AssertionError of Paddle's."""
    model, image = build_model("stdc1_seg", 3), paddle.ones([1, 3, 40, 1])
    model.eval()
    protocol = Protocol(scales=0.25)
    assert predict_classes(model, image, protocol).shape == (40, 1)
    assert predict_details(model, image, protocol).shape == (40, 1)
