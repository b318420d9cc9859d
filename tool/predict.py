"""Segment images, videos or a camera stream: class maps, overlays and side-by-side pictures.

Without --image_path or --camera the validation split of the recipe is predicted, and the side-by-side pictures show its
labels too. Reading, inference and writing overlap; the last line gives the frames per second, end to end.
--cityscapes_submission instead writes a zip for the Cityscapes server, by default of the test split. --pseudo_labels
writes label files and their list, which a recipe adds to its training set as `extra_list`. Under Paddle's launcher the
processes share the images and videos, as with tool.evaluate.
"""

import argparse
import contextlib
import functools
import itertools
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from compat import UserError
from compat.files import write_text

import cv2
import numpy as np
from tqdm import tqdm

from data import ClassSet
from data.classes import CITYSCAPES
from data.submission import submission_names, write_submission
from engine.build import dataset_of
from engine.command import (
    TEMPERATURE,
    add_recipe_flags,
    choose_device,
    dataset_overrides,
    parser,
    real_number,
    run,
    whole_number,
)
from engine.evaluation.pictures import write_picture
from engine.parallel import Devices, gather, join_devices, launched_devices, shard, silence_other_ranks
from engine.recipe import Recipe, load_recipe
from engine.resilience.checkpoint import prepare_save_dir
from engine.runtime import ENGINES, PRECISIONS, WindowSegmenter
from tool.prediction.classify import Classify, open_classifier
from tool.prediction.flags import check_apart, check_flags
from tool.prediction.pipeline import Timing, overlap
from tool.prediction.pseudo_labels import LIST, PseudoLabelWriter
from tool.prediction.results import CONFIDENCE, KINDS, Painter, PictureWriter, Predicted, VideoFileWriter
from tool.prediction.sources import (
    Frame,
    Picture,
    VideoSource,
    find_sources,
    open_video,
    read_picture,
    result_names,
)
from tool.prediction.windows import (
    add_window_flags,
    predict_large,
    requested_windows,
    split_by_size,
    warn_of_whole_images,
)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Predict, and write the results into --save_dir.

    Raises:
        UserError: for wrong flags, a network that does not fit them, or a file that cannot be read or written; results
            that are already written are kept.
    """
    arguments = _parser().parse_args(argv)
    check_flags(arguments)
    choose_device(arguments.device)
    recipe = load_recipe(arguments.config, dataset_overrides(arguments.dataset_root), arguments.opts)
    classes = recipe.val_dataset.class_set
    painter = Painter(classes, arguments.classes, arguments.opacity)
    devices = launched_devices()
    silence_other_ranks(devices)
    pictures, videos = _sources(arguments, recipe)
    if not arguments.cityscapes_submission:
        check_apart(arguments, pictures, videos)
    if arguments.cityscapes_submission:
        predict_submission(arguments, recipe, classes, pictures)
        return
    if arguments.pseudo_labels is not None:
        predict_pseudo_labels(arguments, recipe, classes, pictures)
        return
    pictures, videos = ([found[index] for index in shard(len(found), devices)] for found in (pictures, videos))
    save_dir = prepare_save_dir(arguments.save_dir)
    classify = load_classifier(arguments, recipe, len(classes.names))
    write_picture(save_dir / "legend.png", painter.legend())
    pictures, large = split_by_size(pictures, isinstance(classify, WindowSegmenter))
    if pictures:
        timing = predict_pictures(pictures, classify, PictureWriter(save_dir, painter, arguments.results))
        share = f", the share of one of {devices.count} processes" if devices.count > 1 else ""
        print(f"{len(pictures)} images in {save_dir}/{', '.join(arguments.results)}{share}: {timing}")
    for picture in large:
        predict_large(picture, classify, save_dir, painter, arguments.results)
        print(f"{picture.file} in {save_dir}/{', '.join(arguments.results)}")
    for video in videos:
        timing = predict_video(video, classify, save_dir, painter, arguments)
        print(f"{video.source}: {timing}")


def _sources(arguments, recipe: Recipe) -> Tuple[List[Picture], List[VideoSource]]:
    """The pictures and videos that the flags name; a camera counts as a video."""
    if arguments.camera is not None:
        return [], [VideoSource(arguments.camera, f"camera_{arguments.camera}")]
    if arguments.image_path:
        return find_sources(arguments.image_path)
    if arguments.cityscapes_submission:
        test_set = dataset_of(recipe.val_dataset.model_copy(update={"mode": "test"}))
        return [Picture(sample.image, sample.image.stem) for sample in test_set.samples], []
    return validation_pictures(recipe.val_dataset), []


def validation_pictures(recipe) -> List[Picture]:
    """The images of a dataset recipe, with their labels, which are read when their turn comes."""
    dataset = dataset_of(recipe)
    names = result_names([sample.image for sample in dataset.samples])
    labels = [functools.partial(dataset.read_label, index) for index in range(len(dataset))]
    return [
        Picture(sample.image, name, label) if sample.label else Picture(sample.image, name)
        for sample, name, label in zip(dataset.samples, names, labels)
    ]


def load_classifier(arguments, recipe: Recipe, num_classes: int) -> Classify:
    """The network that the flags name; see open_classifier.

    Raises:
        UserError: as open_classifier does, also for flags that need a confidence the network does not return.
    """
    needing_confidence = {
        f"--pseudo_labels {arguments.pseudo_labels}": arguments.pseudo_labels,
        f"--unknown_below {arguments.unknown_below}": arguments.unknown_below,
        f"--results {CONFIDENCE}": CONFIDENCE in arguments.results,
    }
    return open_classifier(
        recipe,
        num_classes,
        arguments.model_path,
        arguments.engine,
        arguments.precision,
        arguments.pseudo_labels or arguments.unknown_below,
        arguments.temperature,
        requested_windows(arguments),
        confidence_for=next((flag for flag, given in needing_confidence.items() if given), None),
    )


def predict_submission(arguments, recipe: Recipe, classes: ClassSet, pictures: Sequence[Picture]) -> None:
    """Write the zip for the Cityscapes server; raises UserError for other classes than those of Cityscapes."""
    file = arguments.cityscapes_submission
    if classes != CITYSCAPES:
        raise UserError(
            f"--cityscapes_submission: the recipe's {len(classes.names)} classes are not the 19 of Cityscapes"
        )
    if not pictures:
        raise UserError("--cityscapes_submission: takes images, not videos or a camera; see --image_path")
    prepare_save_dir(Path(file).parent)
    names = submission_names([picture.file for picture in pictures])
    classify = load_classifier(arguments, recipe, len(classes.names))
    devices = join_devices()
    own = [pictures[index] for index in shard(len(pictures), devices)]
    progress = tqdm(own, unit="image", disable=devices.rank > 0)
    class_maps = ((names[one.file], classify(read_picture(one).image)) for one in progress)
    if devices.count > 1:
        class_maps = _gather_class_maps(class_maps, devices)
        if devices.rank > 0:
            return
    write_submission(file, class_maps)
    print(f"{len(pictures)} images in {file}; to check it: python -m tool.prepare_data check-submission {file}")


def predict_pseudo_labels(arguments, recipe: Recipe, classes: ClassSet, pictures: Sequence[Picture]) -> None:
    """Write label files, then the list of them; raises UserError if there is no image."""
    if not pictures:
        raise UserError("--pseudo_labels: takes images, not videos or a camera; see --image_path")
    save_dir = prepare_save_dir(arguments.save_dir)
    classify = load_classifier(arguments, recipe, len(classes.names))
    devices = join_devices()
    own = [pictures[index] for index in shard(len(pictures), devices)]
    writer = PseudoLabelWriter(save_dir, own, classes.palette())
    timing = predict_pictures(own, classify, writer)
    labelled = [one for part in gather(writer.labelled(), devices) for one in part]
    if devices.rank > 0:
        return
    file = save_dir / LIST
    write_text(file, "".join(f"{one.line}\n" for one in labelled))
    known = 100 * sum(one.known for one in labelled) / len(pictures)
    print(
        f"{file}: labels of {len(labelled)} of {len(pictures)} images; on average {known:.1f} % of an image's pixels "
        f"have a class; to train on them too: --opts train_dataset.extra_list={file}\n{timing}"
    )


def _gather_class_maps(
    class_maps: Iterable[Tuple[str, np.ndarray]], devices: Devices
) -> Iterator[Tuple[str, np.ndarray]]:
    """The named class maps [H, W] uint8 of all processes, exchanged as PNGs."""
    parts = gather([(name, cv2.imencode(".png", classes)[1]) for name, classes in class_maps], devices)
    return ((name, cv2.imdecode(png, cv2.IMREAD_UNCHANGED)) for part in parts for name, png in part)


def predict_pictures(
    pictures: Sequence[Picture], classify: Classify, writer: Union[PictureWriter, PseudoLabelWriter]
) -> Timing:
    """Predict images, reading and writing several at a time."""
    with tqdm(total=len(pictures), unit="image") as bar:
        infer = _inference(classify, bar, CONFIDENCE in writer.kinds)
        return overlap(pictures, read_picture, infer, writer.write, threads=2)


def predict_video(
    source: VideoSource, classify: Classify, save_dir: Path, painter: Painter, arguments: argparse.Namespace
) -> Timing:
    """Predict a video file to its end, or a camera until ctrl-C; the files written by then are complete.

    Args:
        source: file or camera.
        classify: see Classify.
        save_dir: folder of the results.
        painter: draws them.
        arguments: `results`, `frames` and `max_frames` of the command line.
    """
    with open_video(source) as video:
        if arguments.frames:
            writer = PictureWriter(save_dir, painter, arguments.results)
        else:
            writer = VideoFileWriter(save_dir, video, painter, arguments.results)
        indices = range(arguments.max_frames) if arguments.max_frames else itertools.count()
        total = min(filter(None, (arguments.max_frames, video.stated_frames)), default=None)
        # A camera's driver keeps only its newest frames; frames that are read ahead of the network become outdated.
        depth = 1 if video.is_camera else 4
        with contextlib.closing(writer), tqdm(total=total, unit="frame") as bar:
            infer = _inference(classify, bar, CONFIDENCE in writer.kinds)
            return overlap(indices, video.read, infer, writer.write, depth=depth)


def _inference(classify: Classify, bar: tqdm, confidence: bool = False) -> Callable[[Frame], Predicted]:
    def infer(frame: Frame) -> Predicted:
        warn_of_whole_images(frame, classify)
        if confidence:
            found = classify.segment(frame.image)
            predicted = Predicted(frame, found.known(classify.unknown_below), found.confidence)
        else:
            predicted = Predicted(frame, classify(frame.image))
        bar.update()
        return predicted

    return infer


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.predict --config configs/stdc1_seg_sample.yml --model_path output/best_model "
        "--image_path street.mp4 --save_dir output/predictions --classes road car person",
    )
    add_recipe_flags(arguments, weights=("model_path",))
    add = arguments.add_argument
    add(
        "--model_path",
        required=True,
        help="weight file, name of weights, or folder of a checkpoint; with --engine, an exported network",
    )
    add("--engine", choices=ENGINES, default="eager", help="what computes the network")
    add("--precision", choices=PRECISIONS, help="of an exported network; by default that of the file")
    source = arguments.add_mutually_exclusive_group()
    source.add_argument(
        "--image_path", help="image, video, folder of both, or .txt list; by default the recipe's validation split"
    )
    source.add_argument(
        "--camera", type=whole_number(0, 99), metavar="N", help="predict camera N until ctrl-C, or --max_frames"
    )
    add_window_flags(arguments)
    add("--save_dir", default="output/predictions", help="where the results go")
    add(
        "--results",
        nargs="+",
        choices=(*KINDS, CONFIDENCE),
        default=list(KINDS),
        help=f"what to write, by default all but {CONFIDENCE}: the probability of the class as grey from 0 to 255",
    )
    add(
        "--unknown_below",
        type=real_number(0, 1),
        default=0.0,
        metavar="P",
        help="class 255 where the confidence is below P",
    )
    add(
        "--temperature",
        type=TEMPERATURE,
        metavar="T",
        help="of the confidence in eager mode; see tool.evaluate --calibrate",
    )
    add("--classes", nargs="+", default=[], metavar="CLASS", help="show only these classes, by name or number")
    add("--opacity", type=real_number(0, 1), default=0.6, help="of the colours in overlays, 0 to 1")
    add("--frames", action="store_true", help="write the frames of a video as images, class maps with exact ids")
    instead = arguments.add_mutually_exclusive_group()
    instead.add_argument(
        "--cityscapes_submission", metavar="ZIP", help="instead of pictures, write labelIds for the Cityscapes server"
    )
    instead.add_argument(
        "--pseudo_labels",
        type=real_number(0, 1),
        metavar="P",
        help="instead of pictures, write label files, 255 where the confidence is below P",
    )
    add("--max_frames", type=whole_number(1), metavar="N", help="stop a video or camera after N frames")
    return arguments


if __name__ == "__main__":
    run(main)
