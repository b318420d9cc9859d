"""Quantisation to int8 after training, by NNCF: for OpenVINO, and with QuantizeLinear for ONNX Runtime."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Callable, List, NamedTuple, Sequence

from compat import UserError

import numpy as np

from data import SegmentationDataset
from engine.export import quantizable
from engine.export.folder import draft_in, install
from engine.runtime import Network, Segmenter, load_network, write_description
from engine.runtime.load import REQUIREMENTS

NAME = "model_int8"


class Quantized(NamedTuple):
    """mIoU in percent of the float32 and the int8 network, and the layers that had to stay in float."""

    fp32: float
    int8: float
    float_layers: List[str]

    @property
    def drop(self) -> float:
        """In points of mIoU."""
        return self.fp32 - self.int8


def quantize_exported(
    folder: Path, engine: str, calibration: Sequence[np.ndarray], score: Callable[[Network], float], max_drop: float
) -> Quantized:
    """Write the int8 network beside the float32 one of the same engine.

    Weights are quantised per output channel, activations per tensor, with ranges from the calibration images. If the
    network then loses more than `max_drop`, the layers that cost the most return to float one by one.

    Args:
        folder: written by export_network; its `deploy.yaml` then names the int8 file too.
        engine: `openvino` or `onnxruntime`.
        calibration: batches [N, H, W, 3] uint8 RGB of the kind that the network will see.
        score: mIoU in percent of a network.
        max_drop: points of mIoU.

    Raises:
        UserError: when NNCF or the engine is not installed, the files cannot be written, or the network loses more than
            `max_drop` all the same; the folder is then as it was before.
    """
    network = load_network(folder, engine)
    form = quantizable.FORMS[engine]
    source = form.read(folder / network.description.files[engine]["fp32"])
    quantizer = _Quantizer(form, source, [form.feed(source, network.prepare(images)) for images in calibration])
    reference = score(network)
    try:
        with draft_in(folder) as draft:
            model = quantizer.quantize()
            in_float = set(form.float_layers(model))
            result = _write_and_score(model, form, network, draft, score)
            if reference - result > max_drop:
                model = quantizer.quantize_within(
                    max_drop, lambda model: score(_Candidate(network, form.runner(model)))
                )
                result = _write_and_score(model, form, network, draft, score)
            quantized = Quantized(reference, result, sorted(set(form.float_layers(model)) - in_float))
            if quantized.drop > max_drop:
                raise UserError(
                    f"engine {engine}: int8 loses {quantized.drop:.2f} points of mIoU ({reference:.2f} -> "
                    f"{result:.2f}), --max_drop is {max_drop}; no int8 network was kept. More --calibration_images "
                    "may help"
                )
            install(draft.iterdir(), folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the int8 network cannot be written ({error.strerror or error}); the float32 one is kept"
        ) from error
    return quantized


def calibration_batches(segmenter: Segmenter, dataset: SegmentationDataset, count: int) -> List[np.ndarray]:
    """Network inputs [N, h, w, 3] uint8 for `count` images spread evenly over the dataset, at most all."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
    return [segmenter.batch(dataset.read_image(index)) for index in chosen]


class _Quantizer:
    """Quantises a network with NNCF.

    Args:
        form: of quantizable.FORMS.
        source: the float32 network in this form.
        calibration: what the network is fed, one item for each batch.

    Raises:
        UserError: when NNCF is not installed.
    """

    def __init__(self, form, source, calibration: Sequence):
        self.nncf = import_nncf()
        self.form = form
        self.source = source
        self.data = self.nncf.Dataset(calibration)
        self.options = {
            "preset": self.nncf.QuantizationPreset.MIXED,
            "target_device": self.nncf.TargetDevice.CPU,
            "subset_size": len(calibration),
            # The only matrix products are those of resizing, which would lose accuracy in int8.
            "ignored_scope": self.nncf.IgnoredScope(types=["MatMul"], validate=False),
        }

    def quantize(self):
        """The network with every layer in int8 that can be."""
        return self.form.finish(self.nncf.quantize(self.source, self.data, **self.options))

    def quantize_within(self, max_drop: float, score: Callable[..., float]):
        """The network with as many layers in float as it takes for `score`, of a model, to lose `max_drop` at most."""
        ranking = self.nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=self.options["subset_size"])
        restored = self.nncf.quantize_with_accuracy_control(
            self.source,
            self.data,
            self.data,  # required by NNCF and unused: `score` has its own validation data
            lambda model, _: score(model),
            max_drop=max_drop,
            drop_type=self.nncf.DropType.ABSOLUTE,
            advanced_accuracy_restorer_parameters=ranking,
            **self.options,
        )
        return self.form.finish(restored)


def _write_and_score(model, form, network: Network, draft: Path, score: Callable[[Network], float]) -> float:
    """Write the model into the draft folder, load it as a user would, and score it."""
    file = form.write(model, draft, NAME)
    files = {engine: dict(names) for engine, names in network.description.files.items()}
    files[network.engine]["int8"] = file
    write_description(draft, dataclasses.replace(network.description, files=files))
    return score(load_network(draft, network.engine, "int8"))


class _Candidate(Network):
    """A network that NNCF holds in memory."""

    def __init__(self, network: Network, run: Callable[[np.ndarray], np.ndarray]):
        super().__init__(network.engine, "int8", network.description)
        self._run = run

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._run(batch)


def import_nncf():
    """NNCF without its telemetry and below-error messages; raises UserError when it is not installed."""
    os.environ.setdefault("NNCF_CI", "1")  # turns its telemetry off
    try:
        import nncf
    except ImportError as error:
        raise UserError(f"int8: {error}; install it with: pip install -r {REQUIREMENTS}") from error
    nncf.set_log_level(logging.ERROR)
    return nncf
