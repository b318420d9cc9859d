"""Making a network's formats and measuring them, one after the other, and their latencies in turns."""

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


class Made(NamedTuple):
    """{engine: folder of its networks}, and {format: why there is none}."""

    folders: Mapping[str, Path]
    reasons: Mapping[Format, str]


class Subject(NamedTuple):
    """A network, and the images of the validation split that it is evaluated on, by their numbers."""

    source: Source
    recipe: Recipe
    dataset: SegmentationDataset
    indices: Sequence[int]

    @property
    def scale(self) -> float:
        return deployed_scale(*first_protocol(self.recipe.test_config))

    def miou(self, network: Network) -> float:
        """In percent, under the recipe's first protocol, as the network is deployed."""
        protocol = first_protocol(self.recipe.test_config)[1]
        return 100 * evaluate(network, self.dataset, protocol, indices=self.indices).miou

    def first_batch(self, network: Network) -> np.ndarray:
        """What the network sees of the first image, [1, h, w, 3] uint8."""
        return Segmenter(network, self.scale).batch(self.dataset.read_image(self.indices[0]))


def make_formats(
    subject: Subject, wanted: Sequence[Format], folder: Path, calibration_images: int, max_drop: Optional[float]
) -> Made:
    """Export and quantise the network of the recipe into `folder`.

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
    return Made(folders, reasons)


def measure(
    subject: Subject, wanted: Sequence[Format], made: Made, runs: int, device: Optional[str] = None
) -> List[Measurement]:
    """A line for each format, in the order given."""
    networks: Dict[Format, Network] = {}
    rows: Dict[Format, Measurement] = {}
    for one in wanted:
        rows[one] = Measurement(*one, reason=made.reasons.get(one, ""))
        if not rows[one].reason:
            logger.info("evaluating %s on %d images", " ".join(one), len(subject.indices))
            try:
                networks[one] = open_format(subject.source, one, made.folders.get(one[0]))
                rows[one] = dataclasses.replace(rows[one], miou=subject.miou(networks[one]))
            except Exception as error:  # whatever an engine raises is a reason in the table
                networks.pop(one, None)
                rows[one] = Measurement(*one, reason=reason_of(error))
    logger.info("timing")
    batches = {one: subject.first_batch(network) for one, network in networks.items()}
    calls = {one: (lambda one=one: networks[one].classes(batches[one])) for one in networks}
    for one, latency in time_alternating(calls, runs).items():
        size = weight_bytes(subject.source) if one[0] == "eager" else file_bytes(one, made.folders[one[0]])
        memory = peak_memory(subject.source, one, made.folders.get(one[0]), device)
        rows[one] = dataclasses.replace(rows[one], latency=latency, file_bytes=size, memory=memory)
    return with_drops(list(rows.values()))


def with_drops(rows: Sequence[Measurement]) -> List[Measurement]:
    """The rows with what each loses against `reference`; as they are where nothing is in float32."""
    float32 = reference(rows)
    if float32 is None:
        return list(rows)
    return [row if row.miou is None else dataclasses.replace(row, drop=float32.miou - row.miou) for row in rows]


def reference(rows: Sequence[Measurement]) -> Optional[Measurement]:
    """Eager in float32, or else the first in float32 that was measured."""
    float32 = [row for row in rows if row.precision == "fp32" and row.measured]
    return min(float32, key=lambda row: row.engine != "eager", default=None)
