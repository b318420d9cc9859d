"""Losses against formulas written in numpy and tables computed by hand."""

import functools

from compat import UserError

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from scipy.ndimage import correlate

from loss import DetailAggregateLoss, OhemCrossEntropyLoss, build_criterion, detail_target
from loss.criterion import DETAIL_LOSSES, LOSSES
from loss.cross_entropy import pixel_cross_entropy
from loss.detail import dice_loss

LAPLACIAN = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])


def cross_entropies(logits, labels):
    """Per-pixel cross-entropy of [N, K, H, W] and [N, H, W], 0 where ignored, by its definition."""
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    picked = np.take_along_axis(log_probability, np.where(labels == 255, 0, labels)[:, None], 1)[:, 0]
    return np.where(labels == 255, 0, -picked).ravel()


def ohem_by_sorting(losses, thresh, n_min):
    """The original's rule, in its own words: sort, look at the n_min-th, choose."""
    losses = np.sort(losses)[::-1]
    threshold = -np.log(thresh)
    if n_min < len(losses) and losses[n_min] > threshold:
        return losses[losses > threshold].mean()
    return losses[:n_min].mean()


def random_case(seed, shape=(2, 9, 11), classes=5, spread=2.0):
    g = np.random.default_rng(seed)
    labels = g.integers(0, classes, shape)
    labels[g.random(shape) < 0.1] = 255
    return (g.normal(0, spread, (shape[0], classes, *shape[1:]))).astype("float32"), labels


@pytest.mark.parametrize("n_min", [1, 17, 100, 197, 198, 5000])
@pytest.mark.parametrize("thresh", [0.3, 0.7, 0.99])
def test_ohem_equals_sorting(n_min, thresh):
    logits, labels = random_case(n_min)
    expected = ohem_by_sorting(cross_entropies(logits, labels), thresh, n_min)
    result = OhemCrossEntropyLoss(thresh, n_min)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert result.shape == [] and float(result) == pytest.approx(expected, rel=2e-6)


def test_ohem_fraction_counts_the_batchs_pixels():
    logits, labels = random_case(3)
    fraction = OhemCrossEntropyLoss(0.01, 0.25)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    number = OhemCrossEntropyLoss(0.01, labels.size // 4)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert (
        float(fraction)
        == float(number)
        == pytest.approx(ohem_by_sorting(cross_entropies(logits, labels), 0.01, labels.size // 4), rel=2e-6)
    )
    of_no_pixel = OhemCrossEntropyLoss(1e-9, 0.001)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert float(of_no_pixel) == pytest.approx(cross_entropies(logits, labels).max(), rel=2e-6)  # at least one counts


@pytest.mark.parametrize("n_min", [10, 150])
def test_ohem_gradient_reaches_the_chosen_pixels_only(n_min):
    logits, labels = random_case(5)
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    OhemCrossEntropyLoss(0.7, n_min)(tensor, paddle.to_tensor(labels)).backward()
    touched = np.abs(tensor.grad.numpy()).sum(1).ravel() > 0
    losses = cross_entropies(logits, labels)
    chosen = losses > -np.log(0.7)
    if chosen.sum() <= n_min:
        chosen = losses >= np.sort(losses)[::-1][n_min - 1]
    assert (touched == (chosen & (labels.ravel() != 255))).all()


@pytest.mark.parametrize("shape", [(2, 5, 9, 11), (1, 1, 3, 4), (3, 2, 4, 1), (1, 19, 6, 5)])
def test_pixel_cross_entropy_and_its_gradient_by_definition(shape):
    logits, labels = random_case(4, (shape[0], *shape[2:]), shape[1], spread=40.0)
    upstream = np.random.default_rng(0).normal(0, 1, labels.shape).astype("float32")
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    losses = pixel_cross_entropy(tensor * 1, paddle.to_tensor(labels))
    (losses * paddle.to_tensor(upstream)).sum().backward()
    np.testing.assert_allclose(losses.numpy().ravel(), cross_entropies(logits, labels), rtol=1e-5, atol=1e-5)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    expected -= labels[:, None] == np.arange(shape[1])[:, None, None]
    expected *= np.where(labels == 255, 0, upstream)[:, None]
    np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=2e-6)
    np.testing.assert_array_equal(tensor.numpy(), logits)  # what is done in place is done to copies


def test_ohem_of_a_wholly_ignored_batch_is_zero_with_zero_gradient():
    logits = paddle.randn([1, 4, 6, 6])
    logits.stop_gradient = False
    loss = OhemCrossEntropyLoss()(logits, paddle.full([1, 6, 6], 255, "int64"))
    loss.backward()
    assert float(loss) == 0 and float(logits.grad.abs().sum()) == 0


def test_ohem_class_weights_weigh_the_mean_and_not_the_choice():
    logits, labels = random_case(7)
    weights = [0.5, 1.0, 2.0, 3.0, 4.0]
    losses = cross_entropies(logits, labels)
    factor = np.array(weights)[np.where(labels == 255, 0, labels)].ravel()
    hard = losses > -np.log(0.7)
    result = OhemCrossEntropyLoss(0.7, 5, class_weights=weights)(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert float(result) == pytest.approx((losses * factor)[hard].mean(), rel=2e-6)


@pytest.mark.parametrize("options", [{"thresh": 0}, {"thresh": 1.1}, {"n_min": 0}, {"n_min": 1.5}])
def test_ohem_refuses_what_makes_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        OhemCrossEntropyLoss(**options)


def target_of(labels, **options):
    return detail_target(paddle.to_tensor(np.asarray(labels)[None]), **options).numpy()[0, 0].astype(int).tolist()


def test_detail_target_by_hand():
    # One pixel of class 2 in class 0: its Laplacian is 16, the neighbours' -2. It lies on no even row, so the map of
    # stride 2 is empty.
    labels = np.zeros((5, 5), "int64")
    labels[1, 3] = 2
    expected = np.zeros((5, 5), int)
    expected[1, 3] = 1
    assert target_of(labels) == expected.tolist()
    # On an even row and column, the stride-2 map holds it too, and nearest interpolation spreads it over 2 x 2.
    labels = np.zeros((5, 5), "int64")
    labels[2, 2] = 2
    expected = np.zeros((5, 5), int)
    expected[2:4, 2:4] = 1
    assert target_of(labels) == expected.tolist()


def test_detail_target_ignored_pixels_are_no_edges():
    labels = np.full((8, 8), 255, "int64")
    assert not np.any(target_of(labels))
    labels = np.zeros((9, 9), "int64")
    labels[3:6, 3:6] = 255
    assert not np.any(target_of(labels))
    assert np.any(target_of(labels, ignored_as_label=True))


def test_detail_target_beside_ignored_pixels_is_that_of_the_classes_alone():
    labels = np.zeros((7, 8), "int64")
    labels[:, 4:] = 3
    with_hole = labels.copy()
    with_hole[2:5, 6:] = 255
    whole, holed = np.array(target_of(labels)), np.array(target_of(with_hole))
    assert (whole[:, :6] == holed[:, :6]).all() and whole[:, 4].all()


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (33, 65), (1, 1), (2, 3)])
@pytest.mark.parametrize("ignored_as_label", [False, True])
def test_detail_target_equals_the_definition(size, ignored_as_label):
    g = np.random.default_rng(sum(size))
    labels = g.integers(0, 4, size)
    labels[g.random(size) < 0.15] = 255
    response = correlate(labels.astype(int), LAPLACIAN, mode="constant")
    if not ignored_as_label:
        response = np.zeros(size, int)
        padded = np.pad(labels, 1)
        for y, x in np.argwhere(labels != 255):
            window = padded[y : y + 3, x : x + 3]
            response[y, x] = sum(labels[y, x] - neighbour for neighbour in window[window != 255])
    edges = response > 0
    rows, columns = np.indices(size)
    expected = edges | edges[rows // 2 * 2, columns // 2 * 2]
    assert target_of(labels, ignored_as_label=ignored_as_label) == expected.astype(int).tolist()


def test_stride_4_alone_never_counts_and_does_when_its_weight_grows():
    labels = np.zeros((1, 16, 16), "int64")
    labels[0, 8, 8] = 1
    official = detail_target(paddle.to_tensor(labels), mix=paddle.to_tensor([0.6, 0.3, 0.1]))
    assert (official.numpy() == detail_target(paddle.to_tensor(labels)).numpy()).all()
    only_4 = detail_target(paddle.to_tensor(labels), mix=paddle.to_tensor([0.0, 0.0, 0.2]))
    assert only_4.numpy()[0, 0, 8:12, 8:12].all() and only_4.numpy().sum() == 16


def test_decaying_mix_shrinks_by_weight_decay_alone():
    loss = DetailAggregateLoss(decaying_mix=True)
    optimizer = paddle.optimizer.SGD(0.1, parameters=loss.parameters(), weight_decay=0.5)
    labels = paddle.to_tensor(np.random.default_rng(0).integers(0, 3, (1, 16, 16)))
    for _ in range(3):
        loss(paddle.zeros([1, 1, 2, 2]), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    expected = np.array([0.6, 0.3, 0.1]) * (1 - 0.1 * 0.5) ** 3
    assert np.allclose(loss.mix.numpy(), expected, rtol=1e-6)
    assert not DetailAggregateLoss().parameters()


def test_dice_by_hand():
    probability = paddle.to_tensor([[[[1.0, 0.0], [0.5, 0.5]]]])
    target = paddle.to_tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    # intersection 1.5, areas 2 and 2: 1 - (3 + 1) / (4 + 1)
    assert float(dice_loss(probability, target)) == pytest.approx(0.2)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_any_label_may_be_the_ignored_one(kind, weights):
    logits, labels = random_case(8, classes=3)
    channels = 1 if kind in DETAIL_LOSSES else 3
    logits = paddle.to_tensor(logits[:, :channels])
    options = (
        {} if weights is None or kind in ("DetailAggregateLoss", "LovaszSoftmaxLoss") else {"class_weights": weights}
    )
    usual = LOSSES[kind](**options)(logits, paddle.to_tensor(labels))
    other = LOSSES[kind](ignore_index=7, **options)(logits, paddle.to_tensor(np.where(labels == 255, 7, labels)))
    assert float(other) == float(usual)


@pytest.mark.parametrize("kind", sorted(set(LOSSES) - set(DETAIL_LOSSES)))
def test_logits_at_a_stride_are_resized_as_the_network_does_it(kind):
    resize = functools.partial(F.interpolate, mode="bilinear")  # not the default, which aligns the corners
    labels = paddle.to_tensor(random_case(9, classes=3)[1])
    logits = paddle.randn([2, 3, 3, 4])
    at_stride, resized = build_criterion({"main": {"type": kind}}, ["main"], resize), LOSSES[kind]()
    assert float(at_stride([logits], labels)[0]) == float(resized(resize(logits, [9, 11]), labels))


def test_criterion_weighs_and_names():
    specs = {
        "main": {"type": "CrossEntropyLoss"},
        "aux8": {"type": "OhemCrossEntropyLoss", "weight": 0.5, "n_min": 4},
        "detail8": {"type": "DetailAggregateLoss", "weight": 2},
    }
    criterion = build_criterion(specs, ("main", "aux8", "detail8"))
    logits, labels = random_case(1, classes=3)
    outputs = [paddle.to_tensor(logits), paddle.to_tensor(logits), paddle.randn([2, 1, 2, 2])]
    total, parts = criterion(outputs, paddle.to_tensor(labels))
    assert list(parts) == ["main", "aux8", "detail8"]
    expected = float(parts["main"]) + 0.5 * float(parts["aux8"]) + 2 * float(parts["detail8"])
    assert float(total) == pytest.approx(expected, rel=1e-6)
    counted = labels.ravel() != 255
    assert float(parts["main"]) == pytest.approx(cross_entropies(logits, labels)[counted].mean(), rel=1e-5)


def test_several_losses_on_one_output():
    terms = [
        {"type": "CrossEntropyLoss"},
        {"type": "OhemCrossEntropyLoss", "weight": 0.5},
        {"type": "OhemCrossEntropyLoss", "n_min": 4, "weight": 3},
    ]
    criterion = build_criterion({"main": terms, "aux8": {"type": "CrossEntropyLoss"}}, ("main", "aux8"))
    logits, labels = random_case(1, classes=3)
    logits, labels = paddle.to_tensor(logits), paddle.to_tensor(labels)
    total, parts = criterion([logits, logits * 2], labels)
    assert list(parts) == ["main.cross_entropy", "main.ohem_cross_entropy", "main.ohem_cross_entropy2", "aux8"]
    for (name, part), term in zip(parts.items(), terms):
        (alone,) = build_criterion({"main": {**term, "weight": 1}}, ("main",))([logits], labels)[1].values()
        assert float(part) == float(alone), name
    factors = dict(zip(parts, (1, 0.5, 3, 1)))
    assert float(total) == pytest.approx(sum(factors[name] * float(part) for name, part in parts.items()), rel=1e-6)
    theirs = criterion.for_paddleseg()  # paddleseg has one loss and coefficient for each output
    sums = [loss(output, labels) for loss, output in zip(theirs["types"], (logits, logits * 2))]
    assert float(sum(c * s for c, s in zip(theirs["coef"], sums))) == pytest.approx(float(total), rel=1e-6)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({}, "no loss for output 'main'"),
        ({"main": {"type": "CrossEntropyLoss"}, "aux": {"type": "CrossEntropyLoss"}}, "no output 'aux'"),
        ({"main": []}, "no loss for output 'main'"),
        ({"main": {"type": "DetailAggregateLoss"}}, "loss.main: DetailAggregateLoss is for other outputs"),
        ({"main": {"type": "OhemCrossEntropy"}}, "did you mean OhemCrossEntropyLoss"),
        (
            {"main": {"type": "OhemCrossEntropyLoss", "min_kept": 3}},
            "'min_kept' is not known",
        ),
        (
            {"main": {"type": "OhemCrossEntropyLoss", "thresh": 3}},
            "loss.main.thresh: expected a number of at most 1, got 3",
        ),
    ],
)
def test_criterion_refuses(specs, message):
    with pytest.raises(UserError, match=message):
        build_criterion(specs, ("main",))
