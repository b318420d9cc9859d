"""Dice, Lovász-softmax, focal and border cross-entropy against formulas in numpy, and scikit-learn's scores."""

from compat import UserError

import numpy as np
import paddle
import pytest
from scipy.ndimage import grey_dilation, grey_erosion

from loss import BorderCrossEntropyLoss, DiceLoss, FocalLoss, LovaszSoftmaxLoss, border_mask
from loss.class_weights import class_weights

WEIGHTS = [0.5, 1.0, 2.0, 4.0]


def case(seed, shape=(2, 3, 5), classes=4, spread=1.5, absent=()):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, shape)
    for one in absent:
        labels[labels == one] = (one + 1) % classes
    labels[rng.random(shape) < 0.15] = 255
    return rng.normal(0, spread, (shape[0], classes, *shape[1:])), labels


def softmax(logits):
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)


def counted_pixels(logits, labels):
    """Probabilities [K, V] and labels [V] of the pixels that count."""
    probability = softmax(logits).transpose(1, 0, 2, 3).reshape(logits.shape[1], -1)
    return probability[:, labels.ravel() != 255], labels[labels != 255]


def dice(logits, labels, smooth=1.0, eps=1e-5, weights=None):
    probability, own = counted_pixels(logits, labels)
    losses = []
    for one, row in enumerate(probability):
        intersection, sizes = row[own == one].sum(), row.sum() + (own == one).sum()
        losses.append(1 - (2 * intersection + smooth) / (sizes + smooth + eps))
    return np.average(losses, weights=weights)


def jaccard_loss(wrong, foreground):
    """1 - IoU when exactly the pixels `wrong` are misclassified."""
    union = (foreground | wrong).sum()
    return 1 - (foreground & ~wrong).sum() / union if union else 0.0


def lovasz(logits, labels, present=True):
    """By the definition of the extension: each error times what its pixel adds to the loss of the set before it."""
    probability, own = counted_pixels(logits, labels)
    losses = []
    for one, row in enumerate(probability):
        foreground = own == one
        if present and not foreground.any():
            continue
        errors = np.where(foreground, 1 - row, row)
        wrong, total = np.zeros(len(own), bool), 0.0
        before = 0.0
        for pixel in np.argsort(-errors):
            wrong[pixel] = True
            after = jaccard_loss(wrong, foreground)
            total += errors[pixel] * (after - before)
            before = after
        losses.append(total)
    return np.mean(losses)


def pixel_losses(logits, labels):
    probability, own = counted_pixels(logits, labels)
    right = probability[own, np.arange(len(own))]
    return -np.log(right), right, own


def focal(logits, labels, gamma=2.0, weights=(1.0,) * 4):
    losses, right, own = pixel_losses(logits, labels)
    return np.average((1 - right) ** gamma * losses, weights=np.array(weights)[own])


def borders(labels, width=1):
    """Dilation less erosion of each class's one-hot map, its image continued beyond the edge by its own border."""
    size = (1, 2 * width + 1, 2 * width + 1)
    found = np.zeros(labels.shape, bool)
    for one in set(labels[labels != 255]):
        here = (labels == one).astype(int)
        without_ignored = np.where(labels == 255, 1, here)
        found |= (grey_dilation(here, size, mode="nearest") - grey_erosion(without_ignored, size, mode="nearest")) > 0
    return found & (labels != 255)


def border_loss(logits, labels, all_weight=0.5, border_weight=0.5, width=1, weights=(1.0,) * 4):
    losses, _, own = pixel_losses(logits, labels)
    at_border = borders(labels, width)[labels != 255]
    weights = np.array(weights)[own]
    mean = np.average(losses[at_border], weights=weights[at_border]) if at_border.any() else 0.0
    return all_weight * np.average(losses, weights=weights) + border_weight * mean


LOSSES = {
    "dice": (DiceLoss(), dice),
    "dice options": (
        DiceLoss(smooth=0.1, eps=0.2, class_weights=WEIGHTS),
        lambda *case: dice(*case, smooth=0.1, eps=0.2, weights=WEIGHTS),
    ),
    "lovasz": (LovaszSoftmaxLoss(), lovasz),
    "lovasz of all": (LovaszSoftmaxLoss(classes="all"), lambda *case: lovasz(*case, present=False)),
    "focal": (FocalLoss(), focal),
    "focal options": (FocalLoss(gamma=0.5, class_weights=WEIGHTS), lambda *case: focal(*case, 0.5, WEIGHTS)),
    "border": (BorderCrossEntropyLoss(), border_loss),
    "border options": (
        BorderCrossEntropyLoss(0.25, 2.0, width=2, class_weights=WEIGHTS),
        lambda *case: border_loss(*case, 0.25, 2.0, 2, WEIGHTS),
    ),
}


def with_gradient(loss, logits, labels):
    tensor = paddle.to_tensor(logits.astype("float32"), stop_gradient=False)
    value = loss(tensor * 1, paddle.to_tensor(labels))
    assert value.shape == [] and value.dtype == paddle.float32
    (3 * value).backward()
    np.testing.assert_array_equal(tensor.numpy(), logits.astype("float32"))  # nothing is done in place to them
    return float(value), tensor.grad.numpy() / 3


@pytest.mark.parametrize("absent", [(), (1, 3)])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_by_definition(name, absent):
    loss, definition = LOSSES[name]
    logits, labels = case(3, absent=absent)
    value, gradient = with_gradient(loss, logits, labels)
    assert value == pytest.approx(definition(logits, labels), rel=2e-5, abs=2e-5)
    expected, step = np.zeros_like(logits), 1e-6
    for position in np.ndindex(*logits.shape):
        shifted = [logits.copy(), logits.copy()]
        shifted[0][position] += step
        shifted[1][position] -= step
        expected[position] = (definition(shifted[0], labels) - definition(shifted[1], labels)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, atol=3e-6)
    assert not gradient.transpose(0, 2, 3, 1)[labels == 255].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_wholly_ignored_batch_teaches_nothing(name):
    value, gradient = with_gradient(LOSSES[name][0], case(0)[0], np.full((2, 3, 5), 255))
    assert np.isfinite(value) and not gradient.any()


def test_dice_without_smoothing_is_finite_where_all_is_ignored():
    logits = paddle.randn([1, 3, 4, 5])
    logits.stop_gradient = False
    loss = DiceLoss(smooth=0.0, eps=0.0)(logits, paddle.full([1, 4, 5], 255, "int64"))
    loss.backward()
    assert float(loss) == 1 and not logits.grad.any()


def test_confident_predictions_score_as_scikit_learn_says():
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = case(5, (2, 20, 30))
    predicted = logits.argmax(1)
    confident = paddle.to_tensor(1e3 * np.eye(4, dtype="float32")[predicted].transpose(0, 3, 1, 2))
    counted = labels != 255
    truth = (labels[counted], predicted[counted])
    iou = metrics.jaccard_score(*truth, average="macro")
    f1 = metrics.f1_score(*truth, average="macro")
    assert float(LovaszSoftmaxLoss()(confident, paddle.to_tensor(labels))) == pytest.approx(1 - iou, abs=1e-5)
    plain_dice = DiceLoss(smooth=0.0, eps=0.0)
    assert float(plain_dice(confident, paddle.to_tensor(labels))) == pytest.approx(1 - f1, abs=1e-5)


def test_focal_without_gamma_is_cross_entropy():
    logits, labels = case(6, spread=3.0)
    tensor, labels = paddle.to_tensor(logits.astype("float32")), paddle.to_tensor(labels)
    plain = paddle.nn.CrossEntropyLoss(ignore_index=255, axis=1)(tensor, labels)
    assert float(FocalLoss(gamma=0)(tensor, labels)) == pytest.approx(float(plain), rel=1e-5)


def test_certain_pixels_have_finite_gradients():
    logits, labels = case(7)
    for loss, _ in LOSSES.values():
        for sign in (1, -1):
            certain = sign * 1e4 * np.eye(4)[np.where(labels == 255, 0, labels)].transpose(0, 3, 1, 2)
            value, gradient = with_gradient(loss, certain, labels)
            assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("width", [1, 2])
def test_border_mask_is_dilation_less_erosion(width):
    labels = np.kron(np.random.default_rng(1).integers(0, 4, (2, 4, 5)), np.ones((1, 6, 6), int))
    labels[:, 5:9, 7:20] = 255
    mask = border_mask(paddle.to_tensor(labels), width).numpy()
    assert 0.1 < mask.mean() < 0.9
    np.testing.assert_array_equal(mask.astype(bool), borders(labels, width))


def test_class_weights_by_hand():
    # Shares 0.64, 0.32, 0.04 and none.
    pixels = [64, 32, 4, 0]
    roots = 0.8 + 0.32**0.5 + 0.2
    assert class_weights("auto", pixels) == pytest.approx([1 / (0.8 * roots), 1 / (0.32**0.5 * roots), 5 / roots, 0])
    assert np.dot(class_weights("auto", pixels), pixels) == pytest.approx(100)  # mean over the pixels is 1
    assert class_weights("median", pixels) == pytest.approx([0.5, 1, 8, 0])
    enet = [1 / np.log(1.66), 1 / np.log(1.34), 1 / np.log(1.06), 0]
    assert class_weights("enet", pixels) == pytest.approx(enet)
    for formula in ("auto", "median", "enet"):
        with pytest.raises(UserError, match=f"class_weights: {formula}: .*all pixels are ignored"):
            class_weights(formula, [0, 0])


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (DiceLoss, {"smooth": -1}, "smooth"),
        (LovaszSoftmaxLoss, {"classes": "some"}, "classes"),
        (FocalLoss, {"gamma": -1}, "gamma"),
        (BorderCrossEntropyLoss, {"border_weight": -1}, "border_weight"),
        (BorderCrossEntropyLoss, {"width": 0.5}, "width"),
    ],
)
def test_options_out_of_range_are_refused(kind, options, named):
    with pytest.raises(ValueError, match=named):
        kind(**options)
