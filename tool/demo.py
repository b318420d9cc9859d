"""Serve a web page to try networks on your own images; by default, only for browsers on this machine.

--model_path takes one or several networks: weights, or exported folders, which are offered with every installed engine
they hold files for. --config takes one recipe for all of them, or one for each.
"""

import errno
import logging
import socket
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from compat import UserError, logger

from werkzeug.serving import make_server

from engine.build import weight_file
from engine.command import (
    TEMPERATURE,
    add_override_flags,
    choose_device,
    dataset_overrides,
    parser,
    run,
    whole_number,
)
from engine.recipe import Recipe, load_recipe
from engine.runtime import EXPORTED_ENGINES, exported_folder, read_description
from engine.runtime.load import engine_class
from engine.weights import recipe_of_weights
from tool.demonstration.app import create_app, in_brackets, is_loopback
from tool.demonstration.networks import Choice, Networks
from tool.prediction.classify import open_classifier

CONFIG, MODEL = "configs/stdc1_seg_sample.yml", "output/demo/best_model"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Serve the page until ctrl-C. A network is loaded at its first image; where that fails, the page says so.

    Raises:
        UserError: for what `find_choices` refuses, and for an address that is not free, or none of this machine.
    """
    arguments = _parser().parse_args(argv)
    choose_device(arguments.device)
    networks = Networks(find_choices(arguments))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no log line for each request
    app = create_app(networks, arguments.host, arguments.max_megabytes)
    listening = _listen(arguments.host, arguments.port)
    with listening:
        port = listening.getsockname()[1]
        server = make_server(arguments.host, port, app, threaded=True, fd=listening.fileno())
        if not is_loopback(arguments.host):
            logger.warning("--host %s: anyone who can reach this machine can use the page", arguments.host)
        print(f"http://{in_brackets(arguments.host)}:{port}/  (press ctrl-C to stop)", flush=True)
        server.serve_forever()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            remedy = "try --port 0"
        else:
            remedy = "name an address of this machine with --host, as 127.0.0.1 or 0.0.0.0"
        raise UserError(f"--host {host} --port {port}: {error.strerror}; {remedy}") from error


def find_choices(arguments) -> List[Choice]:
    """The models and engines that the page offers.

    A model is named after its recipe, with its path if two would have the same name.

    Raises:
        UserError: for a model that is missing or that no installed engine runs, or if the numbers of recipes and models
            do not match.
    """
    configs, paths = arguments.config, [Path(path) for path in arguments.model_path]
    if configs and len(configs) not in (1, len(paths)):
        raise UserError(f"--config names {len(configs)} recipes for {len(paths)} models; give one, or one for each")
    choices: Dict[Tuple[str, str], Choice] = {}
    for config, path in zip(configs if len(configs) == len(paths) else (configs or [None]) * len(paths), paths):
        named = recipe_of_weights(str(path)) if config is None else None
        file, opts = named or (config or CONFIG, ())
        recipe = load_recipe(file, dataset_overrides(arguments.dataset_root), [*opts, *arguments.opts])
        found = list(_engines(str(path) if named else Path(file).stem, recipe, path, arguments.temperature))
        if any((choice.model, choice.engine) in choices for choice in found):
            found = [choice._replace(model=f"{choice.model} · {path}") for choice in found]
        choices.update({(choice.model, choice.engine): choice for choice in found})
    return list(choices.values())


def _engines(name: str, recipe: Recipe, path: Path, temperature: Optional[float]) -> Iterator[Choice]:
    """A choice for each engine that runs the weights or the exported folder at `path`; weights get the temperature."""
    classes = recipe.val_dataset.class_set
    folder = exported_folder(path)
    if folder is None:
        if not weight_file(str(path)).is_file():
            raise UserError(f"{path}: no such model; train {MODEL} with make demo, or name another with --model_path")
        load = partial(open_classifier, recipe, len(classes.names), str(path), temperature=temperature)
        yield Choice(name, "Paddle eager", classes, load, True, temperature or 1.0)
        return
    description = read_description(folder)
    files = description.files
    installed = [engine for engine in files if _is_installed(engine)]
    if not installed:
        raise UserError(f"{path}: no installed engine runs it; pip install -r requirements-deploy.txt")
    for engine in installed:
        for precision in files[engine]:
            load = partial(open_classifier, recipe, len(classes.names), str(folder), engine, precision)
            confident = description.output_op != "argmax"
            title = f"{EXPORTED_ENGINES[engine].title} {precision}"
            yield Choice(name, title, classes, load, confident, description.temperature)


def _is_installed(engine: str) -> bool:
    try:
        engine_class(engine)
    except UserError as error:
        logger.warning("%s", error)
        return False
    return True


def _parser():
    arguments = parser(
        __doc__,
        "python -m tool.demo --config configs/stdc1_seg_sample.yml --model_path output/best_model output/exported",
    )
    add = arguments.add_argument
    add(
        "--config",
        nargs="+",
        default=[],
        help=f"recipe, or one for each model; by default {CONFIG}, or that of the named weights",
    )
    add(
        "--model_path",
        nargs="+",
        default=[MODEL],
        help="weight files, names of weights, or exported folders; by default what make demo wrote",
    )
    add("--temperature", type=TEMPERATURE, metavar="T", help="of the confidence; exported networks have their own")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (127.0.0.1); any other may open the page to other machines",
    )
    add("--port", type=whole_number(0, 65535), default=8000, help="port to listen on (8000); 0 chooses a free one")
    add_override_flags(arguments)
    add("--max_megabytes", type=whole_number(1, 2000), default=20, help="largest upload (20)")
    return arguments


if __name__ == "__main__":
    run(main)
