"""What the command lines share: errors as one line, devices, and common flags."""

import argparse
import io
import math
import os
import re
import sys
from typing import Callable, NoReturn, Optional, Sequence, Tuple

from compat import UserError, logger, restore_keyboard_interrupt

import paddle

from engine.gpu import check_computing, check_gpu, gpu_count, why_no_gpu
from engine.weights import is_unknown_name, recipe_of_weights, unknown_weights

LONGEST_NAME = 255  # bytes
OVERRIDES = ("opts", "typed_opts")  # flags whose values are not names of files
MAY_BE_EMPTY = (*OVERRIDES, "sheet")  # flags; an empty value of any other comes from an unset variable of a shell


def run(main: Callable[[Optional[Sequence[str]]], Optional[int]]) -> NoReturn:
    """Run a command's `main` and leave: status 0, or 1 with one line for the user's mistakes, or 130 for ctrl-C.

    Characters of class and file names that the terminal's encoding lacks are printed as escape sequences.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        restore_keyboard_interrupt()
        status = main(None) or 0
        sys.stdout.flush()  # here, where a reader that has ended or a full disk can be reported
        sys.exit(status)
    except UserError as error:
        sys.exit(f"error: {error}")  # on standard error, with status 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whatever reads our output, such as `head`, has ended
        _discard_output()
        sys.exit(0)
    except OSError as error:  # of the file system: a full disk, missing permissions
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        sys.exit(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}")


def _discard_output() -> None:
    """Let what is left in the buffer of standard output go nowhere when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(doc: str, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help ends with an example."""
    return _Parser(
        description=doc, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )


class _Parser(argparse.ArgumentParser):
    """Rejects empty values, and file names that are too long for any file system, for which even Path.exists raises.

    Attributes:
        weights: flags that select the recipe too when their value is a name of published weights; see add_recipe_flags.
    """

    weights: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):  # as in argparse
        found, rest = super().parse_known_args(args, namespace)
        found.typed_opts = None
        if self.weights and found.config is None:
            self._take_recipe_of_weights(found)
        for name, value in vars(found).items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one == "" and name not in MAY_BE_EMPTY:
                    self.error(f"argument --{name}: is empty; give a value, or leave the flag out")
                if name not in OVERRIDES and isinstance(one, (str, os.PathLike)) and _has_overlong_part(os.fspath(one)):
                    self.error(f"argument --{name}: a name of over {LONGEST_NAME} bytes: {os.fspath(one)[:40]}...")
        return found, rest

    def _take_recipe_of_weights(self, found: argparse.Namespace) -> None:
        """Fill in --config and --opts from published weights; weights without a recipe are a wrong argument.

        `typed_opts` in the namespace then holds the overrides of the command line alone.
        """
        named = next((value for flag in self.weights if (value := getattr(found, flag))), None)
        name = named[0] if isinstance(named, (list, tuple)) else named
        recipe = recipe_of_weights(name) if name else None
        if name and recipe is None and is_unknown_name(str(name)):
            self.error(str(unknown_weights(str(name))))
        if recipe is None:
            self.error("the following arguments are required: --config" + (f" for {name}" if name else ""))
        found.config, found.opts, found.typed_opts = recipe[0], [*recipe[1], *found.opts], found.opts


def _has_overlong_part(path: str) -> bool:
    return any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split(os.sep))


def whole_number(lowest: int = 0, highest: int = 10**9) -> Callable[[str], int]:
    """An argument's type: a whole number of that range; anything else is a wrong argument, with status 2."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text) else None
        if number is None or not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return number

    return parse


def real_number(lowest: float = -math.inf, highest: float = math.inf) -> Callable[[str], float]:
    """An argument's type: a finite number of that range."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and lowest <= number <= highest):
            limits = "" if math.isinf(lowest) and math.isinf(highest) else f" from {lowest:g} to {highest:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number{limits}")
        return number

    return parse


def image_size(text: str) -> Tuple[int, int]:
    """An argument's type: WIDTHxHEIGHT in pixels, such as 1024x512, as (width, height)."""
    width, _, height = text.partition("x")
    try:
        return SIDE(width), SIDE(height)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1024x512, in pixels") from None


SIDE = whole_number(1, 2**15)
WORKERS = whole_number(0, 256)
TEMPERATURE = real_number(0.01, 100)  # that logits are divided by


def add_recipe_flags(
    arguments: argparse.ArgumentParser, default_config: Optional[str] = None, weights: Sequence[str] = ()
) -> None:
    """--config, --opts (mmsegmentation's --cfg-options), --dataset_root, --device.

    Args:
        arguments: made by `parser`.
        default_config: the recipe where --config is not given; None makes --config required.
        weights: flags, such as model_path, that select the recipe too when their value, or the first of several, is a
            name of published weights; --config is not required then.
    """
    arguments.weights = weights
    required = default_config is None and not weights
    exception = "; not needed for published weights" if weights else ""
    arguments.add_argument("--config", default=default_config, required=required, help=f"recipe file{exception}")
    add_override_flags(arguments)


def add_override_flags(arguments: argparse.ArgumentParser) -> None:
    """The flags of add_recipe_flags except --config, for a command that takes several recipes."""
    arguments.add_argument(
        "--opts",
        "--cfg-options",
        nargs="+",
        default=[],
        action="extend",
        metavar="KEY=VALUE",
        help="override keys of the recipe, as in optimizer.weight_decay=1e-4 or 'a.b=[(1,2),(3,4)]'",
    )
    arguments.add_argument("--dataset_root", help="folder of the dataset, instead of the recipe's")
    arguments.add_argument("--device", help="cpu, gpu or gpu:N; by default the GPU where there is one")


def choose_device(device: Optional[str]) -> None:
    """Make Paddle use the device, by default the GPU where there is one.

    Raises:
        UserError: for a device that does not exist, or that Paddle cannot compute on.
    """
    kind, _, number = (device or ("gpu" if gpu_count() else "cpu")).partition(":")
    if kind not in ("cpu", "gpu") or (number and not number.isdecimal()):
        raise UserError(f"--device {device}: use cpu, gpu or gpu:N")
    if kind == "cpu":
        if device is None and paddle.is_compiled_with_cuda():
            logger.warning("computing on the CPU: %s", why_no_gpu())
        paddle.set_device("cpu")
        return
    # Paddle's launcher gives each process a GPU by this variable.
    chosen = int(number or os.environ.get("FLAGS_selected_gpus", "0").split(",")[0])  # noqa: SIM112
    check_gpu(chosen)
    paddle.set_device(f"gpu:{chosen}")
    check_computing(chosen)


def dataset_overrides(dataset_root: Optional[str]) -> dict:
    """Recipe overrides that put both datasets under `dataset_root`."""
    if dataset_root is None:
        return {}
    return {f"{name}.dataset_root": dataset_root for name in ("train_dataset", "val_dataset")}
