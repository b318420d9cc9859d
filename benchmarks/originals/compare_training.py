"""Our training by the recipe family `official`, step by step, against a run of the original training code."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping

import numpy as np
import paddle

from benchmarks.originals.compare_network import convert_to_fitting
from benchmarks.originals.reference import Result, random_image, random_labels, random_state, relative_error
from engine.conversion import to_official
from engine.recipe import Recipe, load_recipe
from engine.training.optimizer import build_optimizer, build_schedule
from loss import build_criterion
from models import build_model
from models.weights import load_weights

RATE_LIMIT, LOSS_LIMIT, NORM_LIMIT = 1e-6, 1e-4, 1e-5
RECIPE = Path(__file__).parents[2] / "configs" / "official" / "stdc1_seg50_cityscapes.yml"
# How the original calls the named losses.
OUTPUTS = {"main": "main", "aux16": "aux8", "aux32": "aux16"}
MIX = "fuse_kernel"


def compare_training(reference: Mapping[str, Any], folder: Path) -> Iterator[Result]:
    """Relative errors of a whole run: the largest over all steps of each loss and of the rate, and of the final norms.

    Args:
        reference: content of the reference file.
        folder: where the file of its initial weights is.
    """
    run = Run(reference, folder)
    worst: Dict[str, float] = {}
    for number, theirs in enumerate(reference["rows"]):
        for name, ours in run.step(theirs.get("it", number)).items():
            worst[name] = max(worst.get(name, 0.0), relative_error(ours, theirs[name]))
    for name, error in worst.items():
        what = f"{name}, {len(reference['rows'])} steps"
        yield Result(what, error, RATE_LIMIT if name == "lr" else LOSS_LIMIT)
    # The original's parameters: it stores the decoder's batch-norm weights less 1e-5.
    state = {name: tensor.numpy() for name, tensor in run.model.state_dict().items()}
    official = to_official(state, run.model_name)
    for name, theirs in reference["final_norms"].items():
        if name == MIX:
            ours = run.criterion.losses["detail8"].mix.numpy()
        else:
            ours = np.linalg.norm(official[name].astype("float64"))
        yield Result(f"norm of {name}" if name != MIX else name, relative_error(ours, theirs), NORM_LIMIT)


def official_recipe(reference: Mapping[str, Any], model_name: str) -> Recipe:
    """The official recipe with the reference's length, rates and OHEM."""
    ohem = {"thresh": reference["ohem_thresh"], "n_min": reference["ohem_n_min"]}
    return load_recipe(
        RECIPE,
        {
            "model.type": model_name,
            "iters": reference["max_iter"],
            "optimizer.momentum": reference["momentum"],
            "optimizer.weight_decay": reference["weight_decay"],
            "lr_scheduler.learning_rate": reference["lr0"],
            "lr_scheduler.power": reference["power"],
            "lr_scheduler.warmup_iters": reference["warmup_steps"],
            "lr_scheduler.warmup_start_lr": reference["warmup_start_lr"],
            **{f"loss.{output}.{key}": value for output in OUTPUTS.values() for key, value in ohem.items()},
        },
    )


class Run:
    """The network, criterion and optimiser of the recipe, with the reference's weights and settings."""

    def __init__(self, reference: Mapping[str, Any], folder: Path):
        spec = json.loads((folder / reference["weights_keys"]).read_text(encoding="utf-8"))
        conversion = convert_to_fitting(random_state({**spec, "abn": [], "salt": reference["weights_salt"]}))
        recipe = official_recipe(reference, conversion.model_name)
        self.reference = reference
        self.model_name = conversion.model_name
        self.model = build_model(self.model_name, conversion.num_classes, **recipe.model.options)
        load_weights(self.model, conversion.tensors)
        self.criterion = build_criterion(recipe.loss, self.model.output_names, self.model.resized)
        self.schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
        self.optimizer = build_optimizer(recipe.optimizer, self.schedule, (self.model, self.criterion))
        self.model.train()

    def step(self, iteration: int) -> Dict[str, float]:
        """One iteration of the trainer; its rate and its losses by the original's names."""
        batch, _, height, width = self.reference["batch_shape"]
        image = random_image(self.reference["image_seed_of_iter_0"] + iteration, self.reference["batch_shape"])
        label_seed = self.reference["label_seed_of_iter_0"] + iteration
        labels = paddle.to_tensor(random_labels(label_seed, batch, height, width, self.reference["label_cell"]))
        rate = self.optimizer.get_lr()
        outputs = self.model(paddle.to_tensor(image))
        total, parts = self.criterion(outputs, labels)
        detail = self.model.output_names.index("detail8")
        with paddle.no_grad():
            bce, dice = self.criterion.losses["detail8"].parts(outputs[detail], labels)
        total.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        named = {theirs: parts[ours] for theirs, ours in OUTPUTS.items()}
        losses = {"total": total, "bce": bce, "dice": dice, **named}
        return {"lr": rate, **{name: float(loss) for name, loss in losses.items()}}
