"""Starting weights of a run: those of the same network, or of one for other classes."""

import os
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from compat import UserError, logger, unknown_name

import paddle
from paddle import nn

from data.transforms import Normalize
from engine.build import weight_file
from engine.recipe import Recipe, load_recipe
from engine.training.options import BY_NAME, RunOptions
from engine.weights import named_entry, recipe_of_weights, unknown_weights
from models import build_model, list_models
from models.registry import IMAGENET_CLASSIFIERS
from models.weights import CLASSIFIER, load_weights, read_weights

HEAD = re.compile(r"heads\.(\w+)\.")
MAIN = "main"
HEAD_BIAS = "head_bias"  # the one option of networks that concerns classifiers only
BACKBONE_PARTS = {"backbone", "stages", "stem", "conv_last", "hidden", "classifier"}  # of a file without heads
Weights = Mapping[str, paddle.Tensor]


class _Heads(NamedTuple):
    """Names of the heads that are not loaded as a whole.

    replaced: loaded except for their classifiers, which stay freshly initialised.
    fresh: not loaded at all.
    unused: heads of the weights that the network lacks.
    """

    replaced: Tuple[str, ...]
    fresh: Tuple[str, ...]
    unused: Tuple[str, ...]

    def pattern(self) -> str:
        """Regular expression of the tensors, of network and weights, that are not loaded."""
        classifiers = [rf"^heads\.{name}\.(classifier|1\.conv)\." for name in self.replaced]
        return "|".join([*classifiers, *(rf"^heads\.{name}\." for name in (*self.fresh, *self.unused))]) or "^$"

    def report(self, theirs: int, ours: int) -> str:
        classes = f"{theirs} classes" if theirs == ours else f"{theirs} classes there, {ours} here"
        said = {
            "new classifiers": self.replaced,
            "new heads": self.fresh,
            "heads that are not used": self.unused,
        }
        return "; ".join([classes, *(f"{what}: {', '.join(names)}" for what, names in said.items() if names)])


def take_starting_weights(model: nn.Layer, recipe: Recipe, options: RunOptions) -> None:
    """Load the weights that `load_from` or `finetune` names into the network, if any; logs what was loaded.

    Raises:
        UserError: for weights that cannot be read or downloaded, or do not fit.
    """
    if options.load_from:
        taken = load_weights(model, weight_file(options.load_from))
        logger.info("took %d tensors from %s", taken, options.load_from)
    if options.finetune:
        _finetune(model, recipe, options)


def known_normalization(source: str, network: str) -> Optional[Normalize]:
    """How images were normalised for the weights that `--finetune` would take; nothing is downloaded.

    Args:
        source: name or file of weights.
        network: the type of the network that is to start from them.

    Returns:
        None for a file, which does not say it.

    Raises:
        UserError: for text that is neither a name nor a file, and names of another network or of a backbone alone.
    """
    _check_entry(source, network)
    if named_entry(source) is None and not os.path.exists(source):
        raise unknown_weights(source)
    recipe = _recipe_of_name(source)
    return recipe.train_dataset.normalize if recipe else None


def _finetune(model: nn.Layer, recipe: Recipe, options: RunOptions) -> None:
    """Load all weights except classifiers where the class count differs or classes are mapped.

    Heads other than the main one, which only training uses, are loaded where the weights have the same ones.
    """
    source = options.finetune
    _check_entry(source, recipe.model.type)
    state = read_weights(weight_file(source))
    theirs, ours = _class_count(state, source), recipe.train_dataset.class_count
    pairs = _paired_classes(recipe, options, theirs) if options.finetune_classes else {}
    heads = _sort_heads(model, state, theirs != ours or bool(pairs))
    _check_options(source, recipe, heads)
    try:
        taken = load_weights(model, state, leave_out=heads.pattern(), where=source)
    except UserError as error:
        raise _of_another_network(state, source, recipe.model.type) or error from None
    logger.info("--finetune %s: took %d tensors; %s", source, taken, heads.report(theirs, ours))
    _warn_of_normalization(recipe, options)
    if pairs:
        _copy_rows(model, state, heads.replaced, pairs)
        names = recipe.train_dataset.class_set.names
        new = [name for index, name in enumerate(names) if index not in pairs]
        known = ", ".join(names[index] for index in pairs)
        logger.info("--finetune_classes: classifiers know %s; new: %s", known, ", ".join(new) or "none")


def _check_entry(source: str, network: str) -> None:
    """Reject published weights of another network, or of a backbone alone, before they are downloaded."""
    entry = named_entry(source)
    if entry and entry.recipe is None:
        raise _backbone_alone(source)
    if entry and entry.model != network:
        raise _mismatch(source, entry.model, network)


def _check_options(source: str, recipe: Recipe, heads: _Heads) -> None:
    """Raise UserError where published weights need options of the network that the recipe does not set."""
    entry = named_entry(source)
    needed = entry.options if entry else {}
    given = recipe.model.options
    lacking = [key for key, value in needed.items() if given.get(key, False) != value]
    if MAIN in heads.replaced:
        lacking = [key for key in lacking if key != HEAD_BIAS]
    if lacking:
        opts = " ".join(f"model.{key}={str(needed[key]).lower()}" for key in lacking)
        raise UserError(f"--finetune {source}: these weights need a network with --opts {opts}")


def _warn_of_normalization(recipe: Recipe, options: RunOptions) -> None:
    """Warn where the recipe of the weights is known and normalises images differently."""
    known = _their_recipe(options)
    ours, theirs = (one.train_dataset.normalize if one else None for one in (recipe, known))
    if theirs and (ours.mean, ours.std) != (theirs.mean, theirs.std):
        logger.warning(
            "--finetune %s: learned from images normalised by mean %s and std %s; write both into Normalize of the "
            "recipe's train_dataset and val_dataset: evaluation and export read them too",
            *(options.finetune, list(theirs.mean), list(theirs.std)),
        )


def _class_count(state: Weights, source: str) -> int:
    """The number of classes of a network, by the size of its main classifier."""
    for name, tensor in state.items():
        if CLASSIFIER.fullmatch(name) and name.startswith(f"heads.{MAIN}.") and name.endswith(".weight"):
            return int(tensor.shape[0])
    if all(name.split(".")[0] in BACKBONE_PARTS for name in state):
        raise _backbone_alone(source)
    raise UserError(
        f"--finetune {source}: holds no network of this project (its tensors are {', '.join(list(state)[:3])}, ...); "
        "weights of other projects are converted by tool.convert"
    )


def _backbone_alone(source: str) -> UserError:
    return UserError(f"--finetune {source}: holds only a backbone; use --opts model.backbone.pretrained={source}")


def _mismatch(source: str, theirs: str, ours: str) -> UserError:
    return UserError(
        f"--finetune {source}: holds weights of {theirs}, and the recipe's network is {ours}; take a recipe of {theirs}"
    )


def _of_another_network(state: Weights, source: str, ours: str) -> Optional[UserError]:
    """The error that names the network of the weights, if it is another one of this project."""
    shapes = _body(state)
    for name in list_models():
        if name != ours and name not in IMAGENET_CLASSIFIERS and _body(build_model(name, 2).state_dict()) == shapes:
            return _mismatch(source, name, ours)
    return None


def _body(state: Weights) -> Dict[str, List[int]]:
    """{name: shape} of everything except heads."""
    return {name: list(tensor.shape) for name, tensor in state.items() if not HEAD.match(name)}


def _sort_heads(model: nn.Layer, state: Weights, replace: bool) -> _Heads:
    """How each head is treated; with `replace` no classifier is loaded."""
    ours, theirs = _heads_of(model.state_dict(), replace), _heads_of(state, replace)
    fresh = tuple(head for head in ours if head != MAIN and ours[head] != theirs.get(head))
    classifiers = filter(CLASSIFIER.fullmatch, model.state_dict())
    classifying = {HEAD.match(name)[1] for name in classifiers if HEAD.match(name)}
    return _Heads(
        replaced=tuple(head for head in ours if replace and head in classifying and head not in fresh),
        fresh=fresh,
        unused=tuple(head for head in theirs if head not in ours),
    )


def _heads_of(state: Weights, without_classifiers: bool) -> Dict[str, Dict[str, List[int]]]:
    """{head: {name: shape}}."""
    heads: Dict[str, Dict[str, List[int]]] = {}
    for name, tensor in state.items():
        found = HEAD.match(name)
        if found:
            shapes = heads.setdefault(found[1], {})
            if not (without_classifiers and CLASSIFIER.fullmatch(name)):
                shapes[name] = list(tensor.shape)
    return heads


def _copy_rows(model: nn.Layer, state: Weights, heads: Tuple[str, ...], pairs: Mapping[int, int]) -> None:
    """Copy classifier rows for paired classes, {our class: their class}, in these heads."""
    for name, tensor in model.state_dict().items():
        found = HEAD.match(name)
        if found and found[1] in heads and CLASSIFIER.fullmatch(name) and name in state:
            rows, known = tensor.numpy().copy(), state[name].numpy()
            for own, other in pairs.items():
                rows[own] = known[other]
            tensor.set_value(rows)
    ours = model.state_dict()
    classifiers = [name for name in state if CLASSIFIER.fullmatch(name) and HEAD.match(name)[1] in heads]
    if any(name.endswith(".bias") and name not in ours for name in classifiers):
        logger.warning(
            "--finetune_classes: biases of their classifiers are not copied: the recipe's heads have none without "
            "--opts model.head_bias=true"
        )


def _paired_classes(recipe: Recipe, options: RunOptions, count: int) -> Dict[int, int]:
    """{our class: their class} by index, as --finetune_classes says.

    Raises:
        UserError: where the names of their classes are not known, for an unknown name, or when no class is paired.
    """
    ours, theirs = recipe.train_dataset.class_set.names, _their_names(options, count)
    numbers = {_plain(name): number for number, name in enumerate(theirs)}
    pairs = {}
    if BY_NAME in options.finetune_classes:
        pairs = {own: numbers[_plain(name)] for own, name in enumerate(ours) if _plain(name) in numbers}
    for word in options.finetune_classes:
        own, equals, other = word.partition("=")
        if word == BY_NAME:
            continue
        if not equals:
            raise UserError(f"--finetune_classes {word}: expected {BY_NAME} or OURS=THEIRS, such as pavement=sidewalk")
        if own not in ours:
            raise unknown_name("--finetune_classes: our class", own, ours)
        if other not in theirs:
            raise unknown_name("--finetune_classes: their class", other, theirs)
        pairs[ours.index(own)] = theirs.index(other)
    if not pairs:
        raise UserError(
            f"--finetune_classes {BY_NAME}: no class of {', '.join(ours[:5])}, ... is one of {', '.join(theirs[:5])}, "
            "...; pair them as in pavement=sidewalk, or leave the flag out"
        )
    return dict(sorted(pairs.items()))


def _their_names(options: RunOptions, count: int) -> Tuple[str, ...]:
    """The class names of the weights, `count` of them, from their recipe."""
    recipe = _their_recipe(options)
    if recipe is None:
        raise UserError(
            f"--finetune_classes: {options.finetune} does not say what its classes are called; name the recipe that it "
            "was trained with by --finetune_config"
        )
    names = recipe.train_dataset.class_set.names
    if len(names) != count:
        raise UserError(f"--finetune_config: that recipe has {len(names)} classes, and {options.finetune} {count}")
    return names


def _their_recipe(options: RunOptions) -> Optional[Recipe]:
    """The recipe that the weights were trained with, where it is known."""
    if options.finetune_config:
        return load_recipe(options.finetune_config)
    return _recipe_of_name(options.finetune)


def _recipe_of_name(source: str) -> Optional[Recipe]:
    named = recipe_of_weights(source)
    return load_recipe(named[0], {}, named[1]) if named else None


def _plain(name: str) -> str:
    """A class name without case and separators, for comparison."""
    return re.sub(r"[\s_-]+", "", name).casefold()
