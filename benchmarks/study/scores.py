"""The result of a run of an ablation: the scores of its last weights, image by image."""

import json
import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from compat import UserError
from compat.files import write_json

import numpy as np
import paddle

from benchmarks.study.plan import Run
from engine.build import dataset_of, network_of
from engine.evaluation import metrics
from engine.evaluation.evaluator import evaluate_images
from engine.resilience.checkpoint import newest_intact, save_checkpoint
from engine.resilience.records import LOG
from engine.training.state import RunState
from models.weights import load_weights

RESULT, CONFUSIONS = "result.json", "confusions.npz"
LAST_MODEL = "last_model"
TIMED_LINE = re.compile(r"\[TRAIN\].*\biter: (\d+)/.*\bbatch_cost: ([0-9.]+)")


def read_result(folder: Path) -> Optional[Dict[str, Any]]:
    """What `write_result` wrote, or None if the run is not complete."""
    path = folder / RESULT
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def read_confusions(folder: Path) -> np.ndarray:
    """[images, K, K] int64 of the last weights, rows label, columns prediction."""
    with np.load(folder / CONFUSIONS) as stored:
        return stored["confusions"]


def write_result(run: Run, folder: Path, overrides: Mapping[str, Any], about: Mapping[str, Any]) -> Dict[str, Any]:
    """Evaluate the last weights of a complete run, and write the result into its folder.

    The weights are the moving average if the run has one; they are saved as `last_model`.

    Args:
        run: what was trained.
        folder: of the run.
        overrides: of the recipe, applied before those of the run, such as the dataset's folder.
        about: further entries of the result.

    Raises:
        UserError: if the run is not complete.
    """
    checkpoint = newest_intact(folder)
    state = RunState.from_json(checkpoint.state) if checkpoint else None
    if state is None or state.iteration < run.iters:
        reached = state.iteration if state else 0
        raise UserError(f"{folder}: is at iteration {reached} of {run.iters}; run it to its end first")
    recipe = run.recipe(overrides)
    dataset = dataset_of(recipe.val_dataset)
    model = network_of(recipe, dataset.num_classes, weights=False)
    load_weights(model, checkpoint.extra.get("average") or checkpoint.weights)
    name, protocol = next(iter(recipe.test_config.items()))
    images = evaluate_images(model, dataset, {name: protocol})
    confusions = np.stack([results[name].confusion for results in images])
    areas = metrics.areas(confusions.sum(0))
    iou = metrics.class_iou(areas)
    best = state.validation.get("best", {}).get(name, {})
    result = {
        **run.settings,
        "variant": run.variant,
        "protocol": name,
        "images": len(confusions),
        "miou": float(metrics.mean_score(iou)),
        "best_miou": best.get("miou"),
        "best_iteration": best.get("iteration"),
        "accuracy": float(metrics.accuracy(areas)),
        "class_iou": dict(zip(dataset.classes.names, map(float, iou))),
        "seconds": training_seconds(folder / LOG),
        "paddle": paddle.__version__,
        **about,
    }
    save_checkpoint(folder / LAST_MODEL, model)
    np.savez_compressed(folder / CONFUSIONS, confusions=confusions)
    write_json(folder / RESULT, result)
    return result


def training_seconds(log: Path) -> float:
    """Seconds of all iterations without validation, from a training log."""
    seconds, before = 0.0, 0
    for line in log.read_text(encoding="utf-8").splitlines():
        found = TIMED_LINE.search(line)
        if found:
            iteration, cost = int(found.group(1)), float(found.group(2))
            seconds, before = seconds + (iteration - before) * cost, iteration
    return seconds
