"""Imports a user's images and labels: writes a dataset and a recipe."""

from pathlib import Path
from typing import Callable, List, Optional, Tuple

from compat import UserError, write_text

from data.importing import find_source
from data.importing.splits import sequence_of, split_names
from engine.resilience.checkpoint import prepare_save_dir
from engine.training.finetuning import known_normalization
from tool.importing.dataset import CLASSES, write_dataset
from tool.importing.recipe import IMAGENET, NETWORK, recipe_text

RECIPE = "recipe.yml"
NORMALIZATION_UNKNOWN = (
    f"how its images were normalised is not known; the recipe has mean {list(IMAGENET.mean)} and std "
    f"{list(IMAGENET.std)}: change them if it was otherwise"
)


def import_source(
    source: Path,
    save_dir: Path,
    palette: Optional[Path],
    val_share: float,
    seed: int,
    progress: Callable,
    finetune: Optional[str] = None,
) -> Tuple[Path, List[str]]:
    """Write a dataset and its recipe to `save_dir`; the source is not changed.

    Args:
        source: folder of images and labels, or a COCO file.
        save_dir: outside the source; must not hold a dataset yet.
        palette: file of class names and colours, for colour masks.
        val_share: share of the images used for validation, in (0, 1), unless the source defines splits itself.
        seed: of the split.
        progress: wraps the iterable of images, to show a progress bar.
        finetune: name or file of the weights that training will start from; the recipe normalises as theirs did.

    Returns:
        the recipe file, and lines that describe what was found and by which rules it was read.

    Raises:
        UserError: if the source is ambiguous or wrong, if `save_dir` lies in it or holds a dataset, or for weights
            that the recipe's network cannot start from.
    """
    normalize = None if finetune is None else known_normalization(finetune, NETWORK)
    if source.resolve() in (save_dir.resolve(), *save_dir.resolve().parents):
        raise UserError(f"--save_dir {save_dir}: lies in the source, which is not changed; choose a folder outside it")
    found = find_source(source, palette)
    names = [item.name for item in found.items]
    splits = found.splits or split_names(names, val_share, seed)
    written = write_dataset(found, splits, prepare_save_dir(save_dir), progress)
    recipe = save_dir / RECIPE
    write_text(recipe, recipe_text(found.kind, source, recipe, written, found.classes, finetune, normalize))
    parts = ", ".join(f"{mode} {count}" for mode, count in written.images.items())
    how = "as the source splits them" if found.splits else f"{len(set(map(sequence_of, names)))} sequences, each whole"
    if not found.splits and len(set(map(sequence_of, names))) == 1:
        how = "one sequence, whose last images are for validation"
    lines = [
        f"{source}: {found.kind}, {len(names)} images, {len(found.classes.names)} classes",
        *found.notes,
        f"splits: {parts} ({how})",
        *([f"{finetune}: {NORMALIZATION_UNKNOWN}"] if finetune and not normalize else []),
        f"wrote {save_dir}: images, labels, train.txt, val.txt, {CLASSES}, {RECIPE}",
    ]
    return recipe, lines
