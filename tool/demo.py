"""Serve a page to try networks on: drop an image, see its classes. It answers to this machine alone.

--config and --model_path take one or several: weights for the network of a recipe, or folders of tool.export, which
every installed engine that they hold files for can run. A single recipe counts for all models.
"""

import socket
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from compat import UserError, logger

from werkzeug.serving import make_server

from data import dataset_classes
from engine.command import add_override_flags, choose_device, dataset_overrides, parser, run
from engine.inference import DEPLOY_FILE, load_network, read_description
from engine.inference.load import engine_class
from engine.recipe import Protocol, Recipe, load_recipe
from engine.trainer import weight_file
from tool.demonstration.app import create_app, is_loopback
from tool.demonstration.networks import Choice, Networks
from tool.prediction.classify import network_classifier, recipe_classifier

CONFIG, MODEL = "configs/stdc1_seg_sample.yml", "output/demo/best_model"


def main(argv: Optional[Sequence[str]] = None) -> None:
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    networks = Networks(find_choices(arguments))
    app = create_app(networks, arguments.host, arguments.max_megabytes)
    try:
        listening = socket.create_server((arguments.host, arguments.port))
    except OSError as error:
        raise UserError(f"--host {arguments.host} --port {arguments.port}: {error.strerror}; try --port 0") from error
    with listening:
        port = listening.getsockname()[1]
        server = make_server(arguments.host, port, app, threaded=True, fd=listening.fileno())
        if not is_loopback(arguments.host):
            logger.warning("--host %s: everyone who reaches this machine can use the page", arguments.host)
        print(f"http://{arguments.host}:{port}/  (ctrl-C ends it)", flush=True)
        server.serve_forever()


def find_choices(arguments) -> List[Choice]:
    """What the page offers.

    Raises:
        UserError: for a model that is not there, as many recipes as no other number, or an export without engine.
    """
    configs, paths = arguments.config, [Path(path) for path in arguments.model_path]
    if len(configs) not in (1, len(paths)):
        raise UserError(f"--config names {len(configs)} recipes for {len(paths)} models; give one, or one for each")
    choices = []
    for config, path in zip(configs * len(paths) if len(configs) == 1 else configs, paths):
        recipe = load_recipe(config, dataset_overrides(arguments.dataset_root), arguments.opts)
        exported = path if (path / DEPLOY_FILE).is_file() else path.parent
        found = list(_exported(recipe, exported) if (exported / DEPLOY_FILE).is_file() else _weights(recipe, path))
        if not found:
            raise UserError(f"{path}: no installed engine runs it; pip install -r requirements-deploy.txt")
        choices += found
    return choices


def _weights(recipe: Recipe, path: Path) -> Iterator[Choice]:
    if not weight_file(str(path)).is_file():
        raise UserError(f"{path}: no such model; `make demo` trains {MODEL}, or name yours: --config C --model_path M")
    classes = dataset_classes(recipe.val_dataset.type, **recipe.val_dataset.options)
    yield Choice(
        f"{recipe.model.type} ({path})",
        "Paddle eager",
        classes,
        lambda: recipe_classifier(recipe, len(classes.names), str(path), Protocol()),
    )


def _exported(recipe: Recipe, folder: Path) -> Iterator[Choice]:
    """Every engine and precision that the folder holds a file for and that is installed here."""
    classes = dataset_classes(recipe.val_dataset.type, **recipe.val_dataset.options)
    for engine, files in read_description(folder).files.items():
        try:
            engine_class(engine)
        except UserError as error:
            logger.warning("%s", error)
            continue
        for precision in files:
            yield Choice(
                f"{recipe.model.type} ({folder})",
                f"{engine} {precision}",
                classes,
                lambda engine=engine, precision=precision: network_classifier(
                    load_network(folder, engine, precision), len(classes.names), folder
                ),
            )


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.demo --config configs/stdc1_seg_sample.yml --model_path output/best_model output/exported",
    )
    add = arguments.add_argument
    add("--config", nargs="+", default=[CONFIG], help="recipe, or one for each model")
    add("--model_path", nargs="+", default=[MODEL], help="weights or exported folders; by default what make demo wrote")
    add("--host", default="127.0.0.1", help="address to listen on; another than this one opens the page to others")
    add("--port", type=int, default=8000, help="0 takes a free one")
    add_override_flags(arguments)
    add("--max_megabytes", type=int, default=20, help="of an uploaded image")
    return arguments


if __name__ == "__main__":
    run(main)
