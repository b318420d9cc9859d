"""Segment images: colour maps, overlays and side-by-side pictures for a file, a folder or a list of images.

Without --image_path the validation split of the recipe is predicted, and its labels stand in the pictures too.
"""

from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from compat import UserError

import numpy as np
import paddle
from tqdm import tqdm

from data import ValTransform, dataset_classes
from data.files import read_image
from data.transforms import build_transform
from engine.checkpoint import prepare_save_dir
from engine.command import add_recipe_flags, choose_device, dataset_overrides, parser, run
from engine.inference import predict_classes
from engine.pictures import colorize, overlay, sheet, write_picture
from engine.recipe import load_recipe
from engine.trainer import dataset_of, network_of, weight_file
from models.weights import load_weights

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class Task(NamedTuple):
    """An image to predict: its file, the name of its results (a path without suffix), its label or None."""

    image: Path
    name: str
    label: Optional[np.ndarray]


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    classes = dataset_classes(recipe.val_dataset.type, **recipe.val_dataset.options)
    tasks = find_images(arguments.image_path) if arguments.image_path else validation_images(recipe.val_dataset)
    save_dir = prepare_save_dir(arguments.save_dir)
    model = network_of(recipe, len(classes.names), weights=False)
    load_weights(model, weight_file(arguments.model_path))
    model.eval()
    transform: ValTransform = build_transform(recipe.val_dataset.transforms, "val")
    protocol = next(iter(recipe.test_config.values()))
    palette = classes.palette()
    for task in tqdm(tasks, unit="image"):
        image = read_image(task.image)
        prediction = predict_classes(model, paddle.to_tensor(transform(image)[None]), protocol)
        write_results(save_dir, task, image, prediction, palette)
    print(f"{len(tasks)} images in {save_dir}/pseudo_color_prediction, added_prediction and side_by_side")


def find_images(path: str) -> List[Task]:
    """The images of a file, a folder (with its subfolders) or a text file with an image's path in each line.

    Raises:
        UserError: where there is no image.
    """
    source = Path(path)
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in IMAGE_TYPES)
        tasks = [Task(file, str(file.relative_to(source).with_suffix("")), None) for file in files]
    elif source.suffix.lower() == ".txt" and source.is_file():
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
        # Lists lie beside their images; a path that exists as it stands counts as it stands.
        files = [Path(line) if Path(line).is_file() else source.parent / line for line in lines]
        tasks = [Task(file, f"{number:04d}_{file.stem}", None) for number, file in enumerate(files)]
    else:
        tasks = [Task(source, source.stem, None)]
    absent = [task.image for task in tasks if not task.image.is_file()]
    if absent:
        raise UserError(f"{absent[0]}: no such image; --image_path takes an image, a folder or a .txt list")
    if not tasks:
        raise UserError(f"{source}: holds no image ({', '.join(IMAGE_TYPES)})")
    return tasks


def validation_images(recipe) -> List[Task]:
    """The images and labels of a dataset recipe."""
    dataset = dataset_of(recipe)
    return [
        Task(sample.image, sample.image.stem, dataset.read_label(index)) for index, sample in enumerate(dataset.samples)
    ]


def write_results(save_dir: Path, task: Task, image: np.ndarray, prediction: np.ndarray, palette: np.ndarray) -> None:
    """Write the pictures of one prediction, under PaddleSeg's folder names."""
    colors = colorize(prediction, palette)
    laid_over = overlay(image, colors)
    file = f"{task.name}.png"
    write_picture(save_dir / "pseudo_color_prediction" / file, colors)
    write_picture(save_dir / "added_prediction" / file, laid_over)
    columns = {"image": image, "prediction": colors, "overlay": laid_over}
    if task.label is not None:
        columns = {"image": image, "label": colorize(task.label, palette), "prediction": colors}
    write_picture(save_dir / "side_by_side" / file, sheet([list(columns.values())], list(columns), cell_width=512))


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.predict --config configs/stdc1_seg_sample.yml --model_path output/best_model "
        "--image_path street.jpg --save_dir output/predictions",
    )
    add_recipe_flags(arguments)
    add = arguments.add_argument
    add("--model_path", required=True, help="weight file, or the folder of a checkpoint")
    add("--image_path", help="an image, a folder, or a .txt list; by default the recipe's validation split")
    add("--save_dir", default="output/predictions", help="where the pictures go")
    return arguments


if __name__ == "__main__":
    run(main)
