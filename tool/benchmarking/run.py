"""Making the formats of a network and measuring them: accuracy one after the other, latency in alternation."""

import dataclasses
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from compat import logger

import numpy as np

from data import SegmentationDataset
from engine.build import dataset_of
from engine.evaluation.evaluator import evaluate
from engine.export.describe import describe_graph
from engine.export.quantize import calibration_batches
from engine.protocols import deployed_scale, first_protocol
from engine.recipe import Recipe
from engine.runtime import Network, Segmenter
from tool.benchmarking.choice import reference
from tool.benchmarking.formats import (
    Format,
    Source,
    export_formats,
    file_bytes,
    open_eager,
    open_format,
    quantize_formats,
    reason_of,
    weight_bytes,
)
from tool.benchmarking.measurement import Measurement
from tool.benchmarking.peak_memory import peak_memory
from tool.speed.clock import time_alternating


class Exports(NamedTuple):
    """The exported networks. folders: {engine: folder}; reasons: {format: why it could not be exported}."""

    folders: Mapping[str, Path]
    reasons: Mapping[Format, str]


class Subject(NamedTuple):
    """A network, and the indices of the images in `dataset`, the validation split, that it is evaluated on."""

    source: Source
    recipe: Recipe
    dataset: SegmentationDataset
    indices: Sequence[int]

    @property
    def scale(self) -> float:
        return deployed_scale(*first_protocol(self.recipe.test_config))

    def miou(self, network: Network) -> float:
        """mIoU in percent under the recipe's first protocol, of the network as it is deployed."""
        protocol = first_protocol(self.recipe.test_config)[1]
        return 100 * evaluate(network, self.dataset, protocol, indices=self.indices).miou

    def first_batch(self, network: Network) -> np.ndarray:
        """The first image as the network's input, [1, h, w, 3] uint8."""
        return Segmenter(network, self.scale).batch(self.dataset.read_image(self.indices[0]))


def make_formats(
    subject: Subject, wanted: Sequence[Format], folder: Path, calibration_images: int, max_drop: Optional[float]
) -> Exports:
    """Export and quantise the network of the recipe into `folder`.

    Args:
        subject: the network and the validation images.
        wanted: formats.
        folder: of the exports.
        calibration_images: number of training images for int8.
        max_drop: see quantize_formats.

    Raises:
        UserError: for weights that cannot be loaded, and training images that cannot be read.
    """
    eager = open_eager(subject.source)
    height, width = subject.source.size
    description = describe_graph(subject.recipe, (1, 3, height, width), "uint8_rgb", "argmax")
    logger.info("exporting for images of %dx%d", width, height)
    folders, reasons = export_formats(eager.model, description, folder, wanted)
    engines = [engine for engine, precision in wanted if precision == "int8" and engine in folders]
    if engines:
        train = dataset_of(subject.recipe.train_dataset)
        calibration = calibration_batches(Segmenter(eager, subject.scale), train, calibration_images)
        logger.info("quantising for %s with %d images", " and ".join(engines), len(calibration))
        reasons.update(quantize_formats(folders, engines, calibration, subject.miou, max_drop))
    return Exports(folders, reasons)


def measure(
    subject: Subject, wanted: Sequence[Format], exports: Exports, runs: int, device: Optional[str] = None
) -> List[Measurement]:
    """A measurement of each format, in the order given; those that fail hold the reason."""
    networks: Dict[Format, Network] = {}
    rows: Dict[Format, Measurement] = {}
    for key in wanted:
        rows[key] = Measurement(*key, reason=exports.reasons.get(key, ""))
        if not rows[key].reason:
            logger.info("evaluating %s on %d images", " ".join(key), len(subject.indices))
            try:
                networks[key] = open_format(subject.source, key, exports.folders.get(key[0]))
                rows[key] = dataclasses.replace(rows[key], miou=subject.miou(networks[key]))
            except Exception as error:  # any error of an engine is reported in the table
                networks.pop(key, None)
                rows[key] = Measurement(*key, reason=reason_of(error))
    logger.info("timing")
    batches = {key: subject.first_batch(network) for key, network in networks.items()}
    calls = {key: (lambda key=key: networks[key].classes(batches[key])) for key in networks}
    for key, latency in time_alternating(calls, runs).items():
        size = weight_bytes(subject.source) if key[0] == "eager" else file_bytes(key, exports.folders[key[0]])
        memory = peak_memory(subject.source, key, exports.folders.get(key[0]), device)
        rows[key] = dataclasses.replace(rows[key], latency=latency, file_bytes=size, memory=memory)
    return with_drops(list(rows.values()))


def with_drops(rows: Sequence[Measurement]) -> List[Measurement]:
    """The rows with the mIoU that each loses against `reference`; unchanged if nothing was measured in float32."""
    float32 = reference(rows)
    if float32 is None:
        return list(rows)
    return [row if row.miou is None else dataclasses.replace(row, drop=float32.miou - row.miou) for row in rows]
