"""Our side of the benchmarks of training."""

from typing import Tuple

import paddle

from engine.build import criterion_of, network_of
from engine.recipe import Recipe
from engine.training.optimizer import build_optimizer, build_schedule
from loss import Criterion
from models.segmentation import SegmentationNetwork

CLASSES = 19  # Cityscapes'


def build_training(recipe: Recipe) -> Tuple[SegmentationNetwork, Criterion, paddle.optimizer.Optimizer]:
    """A recipe's network with random weights, its criterion and its optimiser, in the order of the trainer."""
    model = network_of(recipe, CLASSES, weights=False)
    criterion = criterion_of(recipe, model)
    schedule = build_schedule(recipe.lr_scheduler, recipe.iters)
    return model, criterion, build_optimizer(recipe.optimizer, schedule, (model, criterion))
