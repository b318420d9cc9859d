"""What the command lines share: errors as one line, devices, and common flags."""

import argparse
import os
import sys
from typing import Callable, NoReturn, Optional, Sequence

from compat import UserError, logger

import paddle

from engine.gpu import check_computing, check_gpu, gpu_count, why_no_gpu


def run(main: Callable[[Optional[Sequence[str]]], Optional[int]]) -> NoReturn:
    """Run a command's `main` and leave: status 0, or 1 with one line for the user's mistakes, or 130 for ctrl-C."""
    try:
        sys.exit(main(None) or 0)
    except UserError as error:
        sys.exit(f"error: {error}")  # on standard error, with status 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def parser(doc: str, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help ends with an example."""
    return argparse.ArgumentParser(
        description=doc, epilog=f"example:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_recipe_flags(arguments: argparse.ArgumentParser, default_config: Optional[str] = None) -> None:
    """--config, --opts (mmsegmentation's --cfg-options), --dataset_root, --device."""
    arguments.add_argument("--config", default=default_config, required=default_config is None, help="recipe file")
    add_override_flags(arguments)


def add_override_flags(arguments: argparse.ArgumentParser) -> None:
    """What add_recipe_flags adds but --config, for a command that takes several recipes."""
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
        UserError: for a device that is not there, or that Paddle cannot compute on.
    """
    kind, _, number = (device or ("gpu" if gpu_count() else "cpu")).partition(":")
    if kind not in ("cpu", "gpu") or (number and not number.isdigit()):
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
