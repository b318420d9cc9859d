"""Networks by engine and precision: exported ones, and that of a recipe with its weights."""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Optional, Tuple, Union

from compat import UserError, logger, unknown_name
from compat.processor import physical_cores

from engine.build import network_of, weight_file
from engine.recipe import Recipe
from engine.runtime.description import DEPLOY_FILE, Description, exported_folder, read_description
from engine.runtime.eager import EagerNetwork
from engine.runtime.network import Network
from models.weights import load_weights


class ExportedEngine(NamedTuple):
    """What commands say of an engine that computes exported networks.

    title: in menus and tables.
    precisions: those it has; whether the processor and Paddle support one shows when a network is loaded.
    on_cpu: whether it always computes on the CPU, not on Paddle's device.
    """

    title: str
    precisions: Tuple[str, ...]
    on_cpu: bool = True


EXPORTED_ENGINES = {
    "paddle": ExportedEngine("Paddle Inference", ("fp32", "bf16"), on_cpu=False),
    "onnxruntime": ExportedEngine("ONNX Runtime", ("fp32", "int8")),
    "openvino": ExportedEngine("OpenVINO", ("fp32", "bf16", "fp16", "int8")),
    "mnn": ExportedEngine("MNN", ("fp32",)),
}
DEFAULT_ENGINES = ("paddle", "onnxruntime", "openvino")
"""The engines that tool.export writes for by default."""
ENGINES = ("eager", *EXPORTED_ENGINES)
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
REQUIREMENTS = "requirements-deploy.txt"


def open_network(
    recipe: Recipe,
    num_classes: int,
    path: Union[str, Path],
    engine: str,
    precision: Optional[str] = None,
    temperature: Optional[float] = None,
) -> Network:
    """The network that a command names: weights for the recipe's network, or what tool.export wrote.

    Args:
        recipe: of the network and its normalisation.
        num_classes: of the recipe's dataset.
        path: with `eager` a weight file or the folder of a checkpoint; otherwise as load_network takes it.
        engine: one of ENGINES.
        precision: of an exported network, see load_network.
        temperature: of an eager network's confidence, by default 1; an exported one has its own.

    Raises:
        UserError: as load_network and models.load_weights, for another number of classes, for eager in another
            precision than fp32 or with an exported network, and for a temperature beside an exported network.
    """
    if engine == "eager":
        if precision not in (None, "fp32"):
            raise UserError(f"engine eager: computes in fp32, not in {precision}; export the network for an engine")
        file = weight_file(str(path))
        if exported_folder(path) and (file == Path(path) or not file.is_file()):
            engines = "|".join(EXPORTED_ENGINES)
            raise UserError(f"{path}: is an exported network; choose its engine: --engine {engines}")
        model = network_of(recipe, num_classes, weights=False)
        load_weights(model, file)
        return EagerNetwork(model, num_classes, recipe.val_dataset.normalize, temperature or 1.0)
    if temperature is not None:
        raise UserError(f"--temperature {temperature}: an exported network has its own; give it to tool.export")
    network = load_network(path, engine, precision)
    if network.num_classes != num_classes:
        raise UserError(
            f"{path}: exported for {network.num_classes} classes, the recipe's dataset has {num_classes}; name the "
            "recipe that it was exported with"
        )
    _compare_names(path, network.description, recipe)
    return network


def _compare_names(path: Union[str, Path], description: Description, recipe: Recipe) -> None:
    """Warn where the class names of an export differ from the recipe's, as their order may differ too."""
    if description.classes is None:
        return
    for index, (exported, here) in enumerate(zip(description.classes.names, recipe.val_dataset.class_set.names)):
        if exported != here:
            logger.warning(
                "%s: class %d was exported as %r, the recipe calls it %r; unless they are the same, name the recipe "
                "that it was exported with",
                path,
                index,
                exported,
                here,
            )
            return


def load_network(
    path: Union[str, Path], engine: str, precision: Optional[str] = None, threads: Optional[int] = None
) -> Network:
    """Load what tool.export wrote.

    Args:
        path: the folder with `deploy.yaml`, that file, or one of the model files that it lists.
        engine: one of EXPORTED_ENGINES.
        precision: one of PRECISIONS; by default that of the file, or fp32 for a folder.
        threads: number of threads; by default the number of physical cores.

    Raises:
        UserError: for an engine that is not installed (saying how to install it), a folder that holds no network for
            this engine and precision, a file that `deploy.yaml` does not list, or a precision that the engine or the
            processor cannot compute in.
    """
    if engine == "eager":
        raise UserError(
            "engine eager: takes a recipe and weights, not an exported network; use --config C --model_path M"
        )
    if engine not in EXPORTED_ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if precision is not None and precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such exported network; export it with: python -m tool.export")
    folder = path if path.is_dir() else path.parent
    description = read_description(folder)
    precision = precision or _precision_of_file(path, description, engine)
    # bf16 and fp16 are computed from the float32 file.
    stored = "int8" if precision == "int8" else "fp32"
    file = description.files.get(engine, {}).get(stored)
    if file is None or not (folder / file).is_file():
        option = "--int8" if stored == "int8" else f"--engines {engine}"
        raise UserError(
            f"{folder}: holds no {stored} network for {engine}; export it with: python -m tool.export {option}"
        )
    network = engine_class(engine)
    return network(folder / file, precision, description, threads or physical_cores())


def engine_class(engine: str) -> type:
    """The class of an engine; raises UserError when its package is not installed, saying how to install it."""
    try:
        module = import_module(f"engine.runtime.{engine}")
    except ImportError as error:
        raise UserError(f"engine {engine}: {error}; install the engines with: pip install -r {REQUIREMENTS}") from error
    return module.EngineNetwork


def _precision_of_file(path: Path, description: Description, engine: str) -> str:
    networks = description.files.get(engine, {})
    if path.is_dir() or path.name == DEPLOY_FILE or not networks:
        return "fp32"
    for precision, file in networks.items():
        if Path(file).stem == path.stem:  # model.bin and model.pdiparams are named beside model.xml and model.json
            return precision
    raise UserError(
        f"{path}: is not in the {DEPLOY_FILE} beside it, which lists {', '.join(networks.values())} for {engine}; "
        "name one of those, or export anew"
    )
