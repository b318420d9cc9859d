"""What the command lines share: errors as one line, devices, and common flags."""

import argparse
import os
import sys
from typing import Callable, NoReturn, Optional, Sequence

from compat import UserError

import paddle


def run(main: Callable[[Optional[Sequence[str]]], Optional[int]]) -> NoReturn:
    """Run a command's `main` and leave: status 0, or 1 with one line for what the user can mend, or 130 for ctrl-C."""
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
    """Make Paddle use the device; raises UserError for one that is not there."""
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    device = device or ("gpu" if gpus else "cpu")
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "gpu") or (number and not number.isdigit()):
        raise UserError(f"--device {device}: use cpu, gpu or gpu:N")
    if kind == "gpu" and int(number or 0) >= gpus:
        reason = f"{gpus} found" if paddle.is_compiled_with_cuda() else "this Paddle is built for the CPU"
        raise UserError(f"--device {device}: no such GPU ({reason}); use --device cpu, or: make install DEVICE=gpu")
    paddle.set_device(device)


def dataset_overrides(dataset_root: Optional[str]) -> dict:
    """Recipe overrides that put both datasets under `dataset_root`."""
    if dataset_root is None:
        return {}
    return {f"{name}.dataset_root": dataset_root for name in ("train_dataset", "val_dataset")}
