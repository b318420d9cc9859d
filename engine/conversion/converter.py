"""Converts a checkpoint's tensors to those of one of our networks and back, accounting for every tensor."""

import gc
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from compat import UserError

import numpy as np
from paddle import nn

from engine.conversion.ddrnet import DDRNET_SOURCES
from engine.conversion.source import Arrays, Source
from engine.conversion.stdc import STDC_SOURCES
from models import build_model
from models.registry import IMAGENET_CLASSIFIERS
from models.weights import CLASSIFIER

SOURCES: Tuple[Source, ...] = (*STDC_SOURCES, *DDRNET_SOURCES)
WRAPPERS = ("module.", "model.", "net.")  # what DataParallel and training code put before every name
SOME = 3  # names shown of a list in an error


@dataclass
class Conversion:
    """Tensors under their new names, and how they were converted.

    options: what `build_model` needs besides the name to hold them.
    dropped: {reason: number of tensors}; notes: what was changed in values.
    """

    source: Source
    model_name: str
    num_classes: int
    read: int
    tensors: Arrays
    dropped: Dict[str, int]
    notes: List[str]

    @property
    def options(self) -> Mapping[str, Any]:
        return self.source.options

    def report(self) -> str:
        """Several lines: every tensor read and every tensor written is accounted for."""
        lines = [
            f"source      {self.source.title} ({self.source.name})",
            f"network     {self.model_name} with {self.num_classes} classes",
            f"read        {self.read} tensors",
            f"mapped      {self.read - sum(self.dropped.values())}",
            f"dropped     {sum(self.dropped.values())} on purpose",
            *(f"            {count:4d}  {reason}" for reason, count in self.dropped.items()),
            *(f"changed     {note}" for note in self.notes),
            "missing     0",
            "unexpected  0",
            "misshapen   0",
        ]
        if self.source.part:
            lines.append(f"load with   --opts model.{self.source.part}pretrained=OUTPUT (the source has no more)")
        elif self.options:
            options = " ".join(f"model.{key}={str(value).lower()}" for key, value in self.options.items())
            lines.append(f"build with  --opts {options}")
        return "\n".join(lines)


class _Target(NamedTuple):
    """A network of ours: shapes by name, which of them belong to linear layers, and its fresh classifiers."""

    shapes: Dict[str, Tuple[int, ...]]
    linear: frozenset
    fresh: Arrays
    rename: Any


def convert(
    state: Mapping[str, np.ndarray],
    model_name: str,
    num_classes: Optional[int] = None,
    source_name: str = "auto",
) -> Conversion:
    """Convert a checkpoint's tensors.

    Args:
        state: {name: array} as the checkpoint has them.
        model_name: the network to fill, one of models.list_models().
        num_classes: the network's classes; a classifier of another number is replaced by a fresh one. None: 19, or
            1000 for the ImageNet classifiers, and a classifier of another number is an error.
        source_name: name of a Source, or "auto" to recognise it from the tensors' names.

    Returns:
        A Conversion whose tensors fit the network that its model_name, num_classes and options build; those of the
        backbone alone for a source that has no more. They are of the checkpoint's floating types, and mostly views of
        its file: `write_weight_file` makes them float32 one by one, so that memory holds no second network.

    Raises:
        UserError: for an unknown source, any tensor missing, unexpected or of another shape, or numbers that are not
            finite.
    """
    state = _unwrapped(state)
    source = _source(state, source_name)
    if model_name not in source.models:
        raise UserError(
            f"this is a checkpoint of {source.title}, which fits --model {' or '.join(source.models)}, not {model_name}"
        )
    classes = num_classes or (1000 if model_name in IMAGENET_CLASSIFIERS else 19)
    target = _target(source, model_name, classes)
    known = {target.rename(name): name for name in (*target.shapes, *source.extra(target.shapes))}
    arrays: Arrays = {}
    dropped: Counter = Counter()
    unexpected = []
    for name, array in state.items():
        reason = None if name in known else _reason_to_drop(name, array, state, source)
        if name in known:
            arrays[known[name]] = array.T if source.torch and known[name] in target.linear else array
        elif reason:
            dropped[reason] += 1
        else:
            unexpected.append(name)
    missing = [target.rename(name) for name in target.shapes if name not in arrays and name not in source.absent]
    _refuse(source, model_name, missing, unexpected, [])
    try:
        notes = source.adjust(arrays)
    except (IndexError, TypeError, ValueError) as error:  # tensors of shapes that no such network has
        raise UserError(f"this checkpoint of {source.title} has tensors of impossible shapes ({error})") from error
    notes += _replace_classifiers(arrays, target, model_name, num_classes)
    _refuse(source, model_name, [], [], _misshapen(arrays, target))
    tensors = {name: arrays[name] for name in target.shapes}
    _check_finite(tensors)
    return Conversion(source, model_name, classes, len(state), tensors, dict(dropped), notes)


def to_official(state: Mapping[str, np.ndarray], model_name: str) -> Arrays:
    """The tensors of one of our networks under the names, and in the form, of the original project.

    The original holds each backbone tensor of the STDC networks twice; so does the result. What the original keeps
    and never uses is not there: load it with `strict=False`.

    Args:
        state: {name: array}, as `convert` made it or our training wrote it.
        model_name: the network.

    Raises:
        UserError: for a network without an original, or tensors that do not fit it.
    """
    sources = [s for s in SOURCES if s.name.startswith("official") and model_name in s.models and not s.part]
    main = next((name for name in state if CLASSIFIER.fullmatch(name) and state[name].ndim > 1), None)
    if not sources or main is None:
        raise UserError(f"no weights of {model_name} that an original project could hold")
    source = sources[0]
    target = _target(source, model_name, state[main].shape[1 if main == "classifier.weight" else 0])
    arrays = {name: np.asarray(array, dtype="float32") for name, array in state.items()}
    _check_finite(arrays)
    missing = [name for name in target.shapes if name not in arrays]
    unexpected = [name for name in arrays if name not in target.shapes]
    _refuse(source, model_name, missing, unexpected, [] if missing else _misshapen(arrays, target))
    try:
        source.restore(arrays)
    except ValueError as error:
        raise UserError(f"{source.title} cannot hold these weights: {error}") from error
    official: Arrays = {}
    for name in target.shapes:
        array = np.ascontiguousarray(arrays[name].T if name in target.linear else arrays[name])
        theirs = target.rename(name)
        official[theirs] = array
        twin = source.make_twin(name, theirs)
        if twin:
            official[twin] = array
    return official


def _unwrapped(state: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The state without prefixes that every name has, except those of a training loss."""
    state = dict(state)
    for _ in WRAPPERS:
        for prefix in WRAPPERS:
            if all(name.startswith((prefix, "loss.")) for name in state):
                state = {name[len(prefix) :] if name.startswith(prefix) else name: a for name, a in state.items()}
    return state


def _source(state: Mapping[str, np.ndarray], name: str) -> Source:
    by_name = {source.name: source for source in SOURCES}
    if name in by_name:
        return by_name[name]
    if name != "auto":
        raise UserError(f"no source is called {name!r}; known: auto, {', '.join(by_name)}")
    found = [source for source in SOURCES if source.recognises(state)]
    if found:
        return found[0]
    if "backbone.stages.0.conv.weight" in state or "backbone.stem.0.conv.weight" in state:
        raise UserError(
            "these weights have this project's own names already; nothing to convert (see --target). To train them on "
            "another number of classes: train.py --finetune FILE"
        )
    raise UserError(
        f"the source is not recognised by its tensors ({_some(list(state))}); "
        f"known: {', '.join(source.title for source in SOURCES)}"
    )


def _target(source: Source, model_name: str, num_classes: int) -> _Target:
    model = build_model(model_name, num_classes, **source.options)
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(source.part)}
    layers = model.named_sublayers()
    target = _Target(
        shapes={name: tuple(tensor.shape) for name, tensor in state.items()},
        linear=frozenset(f"{name}.weight" for name, layer in layers if isinstance(layer, nn.Linear)),
        fresh={name: tensor.numpy() for name, tensor in state.items() if CLASSIFIER.fullmatch(name)},
        rename=source.renamer(model),
    )
    del model, state, layers
    gc.collect()  # a network's memory is what the checkpoint needs next
    return target


def _reason_to_drop(name: str, array: np.ndarray, state: Mapping[str, np.ndarray], source: Source) -> Optional[str]:
    """Why this tensor has no place in our network, or None where nothing explains it."""
    for pattern, reason in source.drops:
        if re.search(pattern, name):
            return reason
    if source.twin and re.search(source.twin[0], name):
        first = re.sub(*source.twin, name, count=1)
        if first in state and np.array_equal(state[first], array):
            return "second copy of a backbone tensor, equal to the first"
    return None


def _replace_classifiers(arrays: Arrays, target: _Target, model_name: str, num_classes: Optional[int]) -> List[str]:
    """Put fresh classifiers in place of those of another class count; returns a note on it.

    Raises:
        UserError: where the class count differs and none was asked for.
    """
    replaced = []
    for name, fresh in target.fresh.items():
        axis = -1 if name in target.linear else 0
        theirs, ours = arrays[name].shape, fresh.shape
        if theirs == ours or len(theirs) != len(ours):
            continue
        if np.delete(theirs, axis).tolist() != np.delete(ours, axis).tolist():
            continue
        if num_classes is None:
            raise UserError(
                f"the checkpoint has {theirs[axis]} classes, {model_name} by default {ours[axis]}: "
                f"--num_classes {theirs[axis]} keeps its classifiers, another number replaces them by fresh ones, as "
                "train.py --finetune does by itself"
            )
        arrays[name] = fresh
        replaced.append(name)
    return [f"{len(replaced)} classifier tensors: replaced by fresh ones for {num_classes} classes"] if replaced else []


def _misshapen(arrays: Arrays, target: _Target) -> List[str]:
    return [
        f"{target.rename(name)} {arrays[name].dtype}{list(arrays[name].shape)} here {list(shape)}"
        for name, shape in target.shapes.items()
        if arrays[name].shape != shape or arrays[name].dtype.kind != "f"
    ]


def _check_finite(arrays: Arrays) -> None:
    """Raise UserError for NaN or infinity, with which every prediction would be the same class."""
    for name, array in arrays.items():
        wrong = array.size - np.count_nonzero(np.isfinite(array))
        if wrong:
            raise UserError(
                f"{name}: {wrong} of {array.size} numbers are NaN or infinite, so its training has diverged; "
                "take an earlier checkpoint. Nothing was written"
            )


def _refuse(source: Source, model_name: str, missing: List[str], unexpected: List[str], misshapen: List[str]) -> None:
    """Raise UserError if any list has an entry."""
    if missing or unexpected or misshapen:
        found = {"missing": missing, "unexpected": unexpected, "of another shape or type": misshapen}
        listed = "; ".join(
            f"{len(names)} {what}{f' ({_some(names)})' if names else ''}" for what, names in found.items()
        )
        others = " or ".join(name for name in source.models if name != model_name)
        raise UserError(
            f"this checkpoint of {source.title} does not fit {model_name}: {listed}. Nothing was written; "
            f"is it meant for {others}?"
        )


def _some(names: List[str]) -> str:
    return ", ".join(names[:SOME]) + (", ..." if len(names) > SOME else "")
