"""Our network's outputs, with converted weights, against the original network's."""

from pathlib import Path
from typing import Any, Dict, Iterator, Mapping

from compat import UserError

import numpy as np
import paddle

from benchmarks.originals.reference import Result, random_image, random_state, relative_error
from engine.conversion import SOURCES, Conversion, convert
from models import build_model
from models.weights import load_weights

NETWORK_LIMIT = 1e-5
WIDEST = 80  # columns; wider outputs are stored at every 5th row and column

# How the originals call our outputs.
OUTPUTS = {
    "official-seg": {"aux16": "aux8", "aux32": "aux16"},
    "official-bisestdc": {"aux8": "aux4", "aux16": "aux8", "aux32": "aux16", "detail": "detail4"},
    "official-imagenet": {"logits": "main"},
    "official-ddrnet": {"main": "main_raw", "aux": "aux8_raw"},  # it returns logits at stride 8
    "mmseg-seg": {"aux0_raw": "aux8_raw", "aux1_raw": "aux16_raw", "aux2_raw": "detail8_raw"},
    "mmseg-ddrnet": {},
}


def compare_network(spec: Mapping[str, Any], stored: Path) -> Iterator[Result]:
    """Relative error of every output.

    Args:
        spec: content of the reference file.
        stored: its .npz.

    Raises:
        UserError: where the converter refuses the weights, or our network has no such output.
    """
    conversion = convert_to_fitting(random_state(spec))
    names = OUTPUTS[conversion.source.name]
    ours = outputs_of(conversion, random_image(spec["input"]["seed"], spec["input"]["shape"]))
    with np.load(stored) as theirs:
        for name in theirs.files:
            key = names.get(name, name)
            if key not in ours:
                raise UserError(f"{name}: {conversion.model_name} has no such output; it has {', '.join(ours)}")
            error = relative_error(as_stored(name, ours[key]), one_detail_logit(name, theirs[name]))
            yield Result(name, error, NETWORK_LIMIT)


def convert_to_fitting(state: Mapping[str, np.ndarray]) -> Conversion:
    """Convert for the network that the weights fit, among those of their source."""
    source = next((source for source in SOURCES if source.recognises(state)), None)
    candidates = source.models if source else ("stdc1_seg",)
    for name in candidates:
        try:
            return convert(state, name)
        except UserError as error:
            refusal = error
    raise refusal


def outputs_of(conversion: Conversion, image: np.ndarray) -> Dict[str, np.ndarray]:
    """Every output of the network in evaluation mode, by name.

    NAME is the training output of that name, NAME_raw the head's own output before resizing, and featS the backbone's
    features of stride S.
    """
    model = build_model(conversion.model_name, conversion.num_classes, **conversion.options)
    load_weights(model, conversion.tensors)
    model.eval()
    # The outermost layer alone decides which outputs there are; batch norms stay in evaluation mode.
    model.training = True
    found: Dict[str, paddle.Tensor] = {}

    def keep(name):
        def hook(layer, inputs, output):
            found[name] = output

        return hook

    for name, head in getattr(model, "heads", {}).items():
        head.register_forward_post_hook(keep(f"{name}_raw"))
    if hasattr(model.backbone, "stages"):
        for number, stage in enumerate(model.backbone.stages):
            stage.register_forward_post_hook(keep(f"feat{2 ** (number + 1)}"))
    with paddle.no_grad():
        outputs = model(paddle.to_tensor(image))
    found.update(zip(model.output_names, outputs))
    return {name: tensor.numpy() for name, tensor in found.items()}


def as_stored(name: str, array: np.ndarray) -> np.ndarray:
    """Our output, thinned as reference files are."""
    if name.startswith("feat"):
        array = array[:, ::4]
    if array.ndim == 4 and array.shape[3] > WIDEST:
        array = array[:, :, ::5, ::5]
    return array


def one_detail_logit(name: str, array: np.ndarray) -> np.ndarray:
    """mmsegmentation's third auxiliary head has logits of (no detail, detail); our one logit is their difference."""
    if name == "aux2_raw" and array.shape[1] == 2:
        return array[:, 1:].astype("float64") - array[:, :1]
    return array
