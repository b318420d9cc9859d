"""Segment images: colour maps, overlays and side-by-side pictures for a file, a folder or a list of images.

Without --image_path the validation split of the recipe is predicted, and its labels stand in the pictures too.
--cityscapes_submission writes the zip that the Cityscapes server takes instead, of the test split by default.
"""

import dataclasses
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from compat import UserError

import numpy as np
import paddle
from tqdm import tqdm

from data import ValTransform, dataset_classes
from data.classes import CITYSCAPES
from data.files import read_image
from data.submission import submission_names, write_submission
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
    tasks = choose_tasks(arguments, recipe.val_dataset)
    submission = arguments.cityscapes_submission
    if submission and classes is not CITYSCAPES:
        raise UserError(f"--cityscapes_submission: the recipe has {len(classes.names)} classes, not Cityscapes' 19")
    save_dir = prepare_save_dir(Path(submission).parent if submission else arguments.save_dir)
    names = submission_names([task.image for task in tasks]) if submission else {}
    model = network_of(recipe, len(classes.names), weights=False)
    load_weights(model, weight_file(arguments.model_path))
    model.eval()
    transform: ValTransform = build_transform(recipe.val_dataset.transforms, "val")
    protocol = next(iter(recipe.test_config.values()))

    def predict(image: np.ndarray) -> np.ndarray:
        return predict_classes(model, paddle.to_tensor(transform(image)[None]), protocol)

    progress = tqdm(tasks, unit="image")
    if submission:
        write_submission(submission, ((names[task.image], predict(read_image(task.image))) for task in progress))
        print(f"{len(tasks)} images in {submission}; before sending: python -m tool.prepare_data check-submission")
        return
    palette = classes.palette()
    for task in progress:
        image = read_image(task.image)
        write_results(save_dir, task, image, predict(image), palette)
    print(f"{len(tasks)} images in {save_dir}/pseudo_color_prediction, added_prediction and side_by_side")


def choose_tasks(arguments, dataset) -> List[Task]:
    """The images of --image_path; otherwise those of the validation split, or for a submission of the test split."""
    if arguments.image_path:
        return find_images(arguments.image_path)
    if arguments.cityscapes_submission:
        test_set = dataset_of(dataclasses.replace(dataset, mode="test"))
        return [Task(sample.image, sample.image.stem, None) for sample in test_set.samples]
    return validation_images(dataset)


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
    add("--cityscapes_submission", metavar="ZIP", help="write labelIds for the Cityscapes server, and no pictures")
    return arguments


if __name__ == "__main__":
    run(main)
