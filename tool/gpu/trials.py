"""Speed and memory of training, evaluation and the input pipeline, and class maps of other engines."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, List, Mapping, Tuple, Union

import numpy as np
import paddle

from data.renderer.sample import render_sample
from engine.build import criterion_of, dataset_of, default_workers, network_of
from engine.command import choose_device
from engine.evaluation.inference import predict_classes
from engine.parallel import Devices
from engine.protocols import first_protocol
from engine.recipe import Recipe, load_recipe
from engine.training.feed import Feed
from engine.training.gradients import add_gradients
from engine.training.optimizer import build_optimizer, build_schedule
from engine.training.precision import Precision
from tool.gpu.findings import Finding, findings_of
from tool.speed.networks import VariantOptions, build_variants
from tool.speed.separate import run_separately

CLASSES = 19
GIB = 2**30
RENDERED = "configs/stdc2_seg50_cityscapes.yml"  # its dataset has the layout of rendered images
MIN_AGREEMENT = 0.98  # with random weights, many pixels have classes of nearly equal score


def training(recipe: Recipe, crop: Tuple[int, int], precision: str, steps: int) -> List[Finding]:
    """Images per second and peak memory of training on random images, at the recipe's batch size; crop is (w, h)."""
    model = network_of(recipe, CLASSES, weights=False)
    criterion = criterion_of(recipe, model)
    optimizer = build_optimizer(recipe.optimizer, build_schedule(recipe.lr_scheduler, recipe.iters), (model, criterion))
    chosen = Precision(precision)
    generator = np.random.default_rng(0)
    shape = (recipe.batch_size, crop[1], crop[0])
    images = paddle.to_tensor(generator.normal(0, 1, (shape[0], 3, *shape[1:])).astype("float32"))
    labels = paddle.to_tensor(generator.integers(0, CLASSES, shape))
    model.train()

    def step() -> None:
        add_gradients(model, criterion, images, labels, precision=chosen)
        chosen.update(optimizer)
        optimizer.clear_grad(set_to_zero=False)

    seconds = seconds_of(step, steps)
    what = f"training in {precision}, batch {recipe.batch_size} of {crop[0]}x{crop[1]}"
    return [
        Finding(f"{what}: images a second", f"{recipe.batch_size / seconds:.2f}"),
        Finding(f"{what}: peak memory", f"{peak_memory() / GIB:.2f} GiB by Paddle's counter"),
    ]


def training_alone(
    config: Union[str, Path], overrides: Mapping[str, Any], crop: Tuple[int, int], precision: str, steps: int
) -> List[Finding]:
    """The findings of `training` in a process of its own: Paddle's counter keeps the largest peak since the start.

    Raises:
        RuntimeError: if the process ends without findings.
    """
    paddle.device.cuda.empty_cache()  # what this process has reserved and does not use
    request = [str(config), dict(overrides), crop, precision, steps, paddle.device.get_device()]
    done = run_separately(__name__, request)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"training in {precision}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    return [Finding(*one) for one in json.loads(lines[-1])]


def main() -> None:
    """The program of that process: prints its findings as JSON."""
    config, overrides, crop, precision, steps, device = json.loads(sys.argv[1])
    choose_device(device)
    recipe = load_recipe(config, overrides)
    print(json.dumps(findings_of(lambda: training(recipe, crop, precision, steps))))


def evaluation(recipe: Recipe, size: Tuple[int, int], images: int) -> List[Finding]:
    """Images per second of evaluation under the recipe's first protocol, one image at a time; size is (h, w)."""
    model = network_of(recipe, CLASSES, weights=False)
    model.eval()
    name, protocol = first_protocol(recipe.test_config)
    image = paddle.to_tensor(np.random.default_rng(0).normal(0, 1, (1, 3, *size)).astype("float32"))
    seconds = seconds_of(lambda: predict_classes(model, image, protocol), images)
    return [Finding(f"evaluation ({name}) of {size[1]}x{size[0]}: images a second", f"{1 / seconds:.2f}")]


def input_pipeline(recipe: Recipe, size: Tuple[int, int], batches: int) -> List[Finding]:
    """Images per second of the recipe's transforms and of reading, on rendered images of size (w, h)."""
    with tempfile.TemporaryDirectory() as folder:
        render_sample(folder, train=max(4, recipe.batch_size), val=1, size=size, seed=0)
        overrides = {"train_dataset.dataset_root": folder, "train_dataset.cache": "never"}
        source = load_recipe(RENDERED, overrides).train_dataset
        source = source.model_copy(update={"transforms": recipe.train_dataset.transforms})
        workers = default_workers()
        feed = Feed(dataset_of(source), recipe.batch_size, 0, workers, Devices(0, 1), 0, Path(folder))
        start = time.perf_counter()
        count = sum(len(images) for _, images, _ in feed.batches(0, batches))
        rate = count / (time.perf_counter() - start)
    return [Finding(f"input of {size[0]}x{size[1]}, {workers} workers: images a second", f"{rate:.2f}")]


def engines(network: str, size: Tuple[int, int]) -> List[Finding]:
    """Agreement of class maps of Paddle Inference, and TensorRT if installed, with eager mode; size is (h, w)."""
    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        wanted = VariantOptions(size, engines=("eager", "paddle", "tensorrt"), precisions=("fp32", "fp16"))
        variants, absent = build_variants(network, CLASSES, wanted, Path(folder))
        maps = {f"{one.engine} {one.precision}": one.call(images) for one in variants}
    expected = maps.pop("eager fp32")
    shares = {name: float((found == expected).mean()) for name, found in maps.items()}
    return [
        *[
            Finding(
                f"{network} by {name}", f"{100 * share:.3f} % of the pixels as in eager mode", share > MIN_AGREEMENT
            )
            for name, share in shares.items()
        ],
        *[Finding("not possible", line) for line in absent],
    ]


def seconds_of(call: Callable[[], object], runs: int) -> float:
    """Mean seconds of `runs` calls after two to warm up, with the device synchronised."""
    for _ in range(2):
        call()
    synchronize()
    start = time.perf_counter()
    for _ in range(runs):
        call()
    synchronize()
    return (time.perf_counter() - start) / runs


def synchronize() -> None:
    """Wait until the device has finished; calls on the CPU are synchronous."""
    if paddle.device.get_device() != "cpu":
        paddle.device.synchronize()


def peak_memory() -> int:
    """Peak bytes allocated by Paddle on the current device."""
    if paddle.device.get_device() == "cpu":
        return paddle.base.core.host_memory_stat_peak_value("Allocated", 0)
    return paddle.device.cuda.max_memory_allocated()
