"""Flags of tool.predict that do not go together."""

import argparse
from pathlib import Path
from typing import Sequence

from compat import UserError

from tool.prediction.pseudo_labels import FOLDER
from tool.prediction.sources import Picture, VideoSource

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


def check_apart(arguments: argparse.Namespace, pictures: Sequence[Picture], videos: Sequence[VideoSource]) -> None:
    """Raise UserError if results would replace a file that is predicted, or be predicted by the next run."""
    save_dir = Path(arguments.save_dir)
    source, target = Path(arguments.image_path or save_dir).resolve(), save_dir.resolve()
    if arguments.image_path and source.is_dir() and source in (target, *target.parents):
        raise UserError(
            f"--save_dir {save_dir}: lies in --image_path {arguments.image_path}, so that the next run would predict "
            "the results too; choose a folder outside it"
        )
    labels = arguments.pseudo_labels is not None  # of images alone
    inputs = {picture.file.resolve() for picture in pictures}
    inputs.update(video.source.resolve() for video in videos if isinstance(video.source, Path))
    results = [f"{picture.name}.png" for picture in pictures]
    if not (labels or arguments.frames):
        results += [f"{video.name}.mp4" for video in videos]
    folders = [FOLDER] if labels else arguments.results
    for result in ("legend.png", *(f"{folder}/{name}" for folder in folders for name in results)):
        if target / result in inputs:
            raise UserError(f"{save_dir / result}: is to be predicted and would be replaced; choose another --save_dir")
