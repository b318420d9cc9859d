"""From a source to a dataset with a recipe."""

from pathlib import Path
from typing import Callable, List, Optional, Tuple

from compat import UserError, write_text

from data.importing import find_source
from data.importing.splits import sequence_of, split_names
from engine.resilience.checkpoint import prepare_save_dir
from tool.importing.dataset import CLASSES, write_dataset
from tool.importing.recipe import recipe_text

RECIPE = "recipe.yml"


def import_source(
    source: Path, save_dir: Path, palette: Optional[Path], val_share: float, seed: int, progress: Callable
) -> Tuple[Path, List[str]]:
    """Write a dataset and its recipe to `save_dir`; the source stays as it is.

    Args:
        val_share: of the images for validation, unless the source has splits itself.
        progress: wraps the list of images that is gone through.

    Returns:
        the recipe's file, and lines that say what was found and by which rules it was read.

    Raises:
        UserError: for whatever is ambiguous or wrong in the source; for a save_dir in it, or that holds a dataset.
    """
    if source.resolve() == save_dir.resolve():
        raise UserError(f"--save_dir {save_dir}: is the source, which stays as it is; choose another folder")
    found = find_source(source, palette)
    if len(found.classes.names) < 2:
        raise UserError(f"{source}: holds one class alone, {found.classes.names[0]}; there is nothing to tell apart")
    names = [item.name for item in found.items]
    splits = found.splits or split_names(names, val_share, seed)
    written = write_dataset(found, splits, prepare_save_dir(save_dir), progress)
    recipe = save_dir / RECIPE
    write_text(recipe, recipe_text(found.kind, source, recipe, written, found.classes))
    parts = ", ".join(f"{mode} {count}" for mode, count in written.images.items())
    how = "as the source splits them" if found.splits else f"{len(set(map(sequence_of, names)))} sequences, each whole"
    if not found.splits and len(set(map(sequence_of, names))) == 1:
        how = "one sequence, whose last images are for validation"
    lines = [
        f"{source}: {found.kind}, {len(names)} images, {len(found.classes.names)} classes",
        *found.notes,
        f"splits: {parts} ({how})",
        f"wrote {save_dir}: images, labels, train.txt, val.txt, {CLASSES}, {RECIPE}",
    ]
    return recipe, lines
