"""Flags of tool.predict that do not go together."""

import argparse
from pathlib import Path
from typing import Sequence

from compat import UserError

from tool.prediction.pseudo_labels import FOLDER
from tool.prediction.sources import Picture

UNUSED = {  # flags that have no effect on what is written instead of pictures; unknown pixels count as wrong there
    "cityscapes_submission": ("unknown_below", "temperature", "classes", "frames", "max_frames"),
    "pseudo_labels": ("unknown_below", "classes", "frames", "max_frames"),
}


def check_flags(arguments: argparse.Namespace) -> None:
    """Raise UserError for a flag that has no effect on what is written instead of pictures, or would spoil it."""
    for other, flags in UNUSED.items():
        for flag in flags:
            if getattr(arguments, other) is not None and getattr(arguments, flag):
                raise UserError(f"--{flag}: is not for --{other}; leave one of them out")


def check_apart(arguments: argparse.Namespace, pictures: Sequence[Picture]) -> None:
    """Raise UserError if results would replace an image that is predicted, or be predicted by the next run."""
    save_dir = Path(arguments.save_dir)
    source, target = Path(arguments.image_path or save_dir).resolve(), save_dir.resolve()
    if arguments.image_path and source.is_dir() and source in (target, *target.parents):
        raise UserError(
            f"--save_dir {save_dir}: lies in --image_path {arguments.image_path}, so that the next run would predict "
            "the results too; choose a folder outside it"
        )
    inputs = {picture.file.resolve() for picture in pictures}
    folders = [FOLDER] if arguments.pseudo_labels is not None else arguments.results
    results = [f"{folder}/{picture.name}.png" for folder in folders for picture in pictures]
    for result in ("legend.png", *results):
        if target / result in inputs:
            raise UserError(f"{save_dir / result}: is an image to predict and would be replaced; name a new folder")
