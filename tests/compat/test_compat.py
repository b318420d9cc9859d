"""The repairs against the originals they replace, and PaddleSeg as a client, called as its documentation shows."""

import importlib.util
import json
import os
import subprocess
import sys

from compat import repair_paddleseg
from compat.paddleseg_repairs import _fails, _probe_area, _probe_labels, _probe_loss, _probe_losses

import numpy as np
import paddle
import paddleseg.core
import pytest
from paddleseg.models.losses import CrossEntropyLoss, DiceLoss, OhemCrossEntropyLoss
from paddleseg.utils import metrics

from loss import build_criterion
from models import build_model


def original(name):
    """A fresh copy of a paddleseg module, as the package has it on the disk."""
    spec = importlib.util.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    registered = sys.modules.get(name)
    try:
        spec.loader.exec_module(module)
    finally:
        if registered is not None:
            sys.modules[name] = registered
    return module


def test_originals_fail_their_probes_and_the_repaired_pass():
    assert _fails(_probe_area, original("paddleseg.utils.metrics").calculate_area)
    assert _fails(_probe_losses, original("paddleseg.core.train").loss_computation)
    assert not _fails(_probe_area, metrics.calculate_area)
    assert not _fails(_probe_losses, sys.modules["paddleseg.core.train"].loss_computation)
    dice = original("paddleseg.models.losses.dice_loss").DiceLoss
    assert _fails(_probe_labels(dice), dice.forward) and not _fails(_probe_labels(DiceLoss), DiceLoss.forward)
    for loss_class, options in ((CrossEntropyLoss, {}), (OhemCrossEntropyLoss, {"min_kept": 1})):
        assert not _fails(_probe_loss(loss_class, **options), None)
    assert repair_paddleseg() == []


def test_only_what_is_broken_is_replaced():
    """In a fresh process: on Paddle 2.6.2 the losses work and stay, on 3.x they are replaced."""
    code = """if True:
        import json, compat, paddle
        print(json.dumps(compat.repair_paddleseg()))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    replaced = json.loads(done.stdout.splitlines()[-1])
    assert "paddleseg.utils.metrics.calculate_area" in replaced
    assert "paddleseg.core.train.loss_computation" in replaced
    mixes_types = paddle.__version__.startswith("2.")
    assert ("OhemCrossEntropyLoss.forward" in replaced) != mixes_types


@pytest.mark.parametrize("ignored", [255, 0])
def test_areas_equal_a_count_by_hand(ignored):
    g = np.random.default_rng(0)
    label = g.integers(0, 5, (1, 1, 9, 13))
    label[0, 0, :2] = 255
    pred = g.integers(0, 5, (1, 1, 9, 13)).astype("int32")
    counted = label != ignored
    areas = metrics.calculate_area(paddle.to_tensor(pred), paddle.to_tensor(label), 5, ignored)
    expected = (
        [((pred == k) & (label == k) & counted).sum() for k in range(5)],
        [((pred == k) & counted).sum() for k in range(5)],
        [(label == k).sum() for k in range(5)],
    )
    assert [area.numpy().tolist() for area in areas] == [list(map(int, area)) for area in expected]


# --- paddleseg.core with our networks, losses and datasets ------------------------------------------------------------


@pytest.fixture
def parts(small_recipe):
    from engine.build import dataset_of

    recipe = small_recipe()
    paddle.seed(0)
    model = build_model("stdc1_seg", 19)
    return recipe, model, dataset_of(recipe.train_dataset), dataset_of(recipe.val_dataset)


def test_the_original_ports_evaluation_call(parts):
    from paddleseg.core import evaluate

    _, model, _, val_dataset = parts
    miou, accuracy, class_iou, class_precision, kappa = evaluate(
        model,
        val_dataset,
        aug_eval=True,
        scales=0.5,
        flip_horizontal=False,
        flip_vertical=False,
        is_slide=False,
        stride=None,
        crop_size=None,
        num_workers=0,
        print_detail=True,
    )
    assert 0 <= miou <= 1 and 0 <= accuracy <= 1 and len(class_iou) == len(class_precision) == 19 and -1 <= kappa <= 1


def test_paddleseg_train(parts, tmp_path):
    recipe, model, train_dataset, val_dataset = parts
    optimizer = paddle.optimizer.Momentum(0.01, parameters=model.parameters())
    before = model.heads["main"].classifier.weight.numpy().copy()
    paddleseg.core.train(
        model,
        train_dataset,
        val_dataset=val_dataset,
        optimizer=optimizer,
        save_dir=str(tmp_path),
        iters=2,
        batch_size=2,
        save_interval=2,
        log_iters=1,
        losses=build_criterion(recipe.loss, model.output_names).for_paddleseg(),
    )
    assert (tmp_path / "iter_2" / "model.pdparams").is_file() and (tmp_path / "best_model" / "model.pdparams").is_file()
    assert np.abs(model.heads["main"].classifier.weight.numpy() - before).max() > 0


def test_paddleseg_predict(parts, tmp_path):
    from paddleseg.transforms import Compose, Normalize

    _, model, _, val_dataset = parts
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    image = val_dataset.file_list[0][0]
    paddleseg.core.predict(
        model,
        model_path=str(tmp_path / "model.pdparams"),
        transforms=Compose([Normalize()]),
        image_list=[image],
        save_dir=str(tmp_path / "results"),
    )
    name = os.path.basename(image)
    assert (tmp_path / "results" / "pseudo_color_prediction" / name).is_file()
    assert (tmp_path / "results" / "added_prediction" / name).is_file()


BROKEN = """
import sys, time
from compat import UserError
import numpy as np
import paddle
from paddle.io.dataloader.dataloader_iter import _DataLoaderIterBase as Reader

class Broken(paddle.io.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise UserError("image 2: broken")
        return np.zeros(1)

num_workers, seconds = map(float, sys.argv[1:])
close = Reader._exit_thread_unexpectedly
Reader._exit_thread_unexpectedly = lambda self: (close(self), time.sleep(seconds))
try:
    list(paddle.io.DataLoader(Broken(), batch_size=1, num_workers=int(num_workers)))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("seconds", [0, 0.2])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_hands_the_datasets_error_on(num_workers, seconds):
    """Also when the consumer hears that the queue is closed before the reader has raised."""
    # In a process of its own: workers are forked, and a lock that a thread of ours holds then stays locked in them.
    arguments = [sys.executable, "-c", BROKEN, str(num_workers), str(seconds)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "image 2: broken\n"


LEFT = """
import gc
import compat
import numpy as np
import paddle

class Numbers(paddle.io.Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        return np.zeros(1)

loop = [iter(paddle.io.DataLoader(Numbers(), batch_size=1, num_workers=2))]
next(loop[0])
loop[0]._exit_thread_unexpectedly()  # the reader thread would hold the iterator
loop[0]._thread.join()
for queue in loop[0]._indices_queues:
    queue.put = lambda _: None  # as when the collector has finished the queue first
loop.append(loop)
del loop, queue
gc.collect()
print("left")
"""


def test_a_loader_that_is_left_ends_its_workers():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("left\n", "")


def test_importing_says_nothing():
    code = "import compat, paddle; paddle.nn.BatchNorm2D(1)(paddle.ones([1, 1, 2, 2]))"
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
