"""Checks before anything is computed that Paddle can compute on a GPU here; one line says what is missing."""

import os
from typing import Dict, Optional, Tuple

from compat import UserError
from compat.cuda_libraries import driver_library, link_driver_if_there

import paddle

OR_CPU = "or use --device cpu"
# {version of Paddle: compute capabilities that its published wheels hold machine code for}, read from their fat
# binaries. None of them holds PTX, from which the driver could generate code for other GPUs.
MACHINE_CODE: Dict[str, Tuple[Tuple[int, int], ...]] = {
    "2.6": ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6)),
    "2.5": ((7, 0), (7, 5), (8, 0), (8, 6)),
}


def gpu_count() -> int:
    """GPUs that Paddle sees; 0 for a Paddle that is built for the CPU."""
    return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0


def why_no_gpu() -> str:
    """Why `gpu_count` is 0, and what to do."""
    if not paddle.is_compiled_with_cuda():
        return f"this Paddle is built for the CPU; make install DEVICE=gpu, {OR_CPU}"
    if driver_library(os.environ.get("LD_LIBRARY_PATH", "")) is None:
        return (
            "no NVIDIA driver is present (libcuda.so.1); install the driver, start a container with its GPUs "
            f"(docker run --gpus all), {OR_CPU}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES={visible!r} leaves none; unset it, {OR_CPU}"
    return f"the driver offers no GPU to CUDA {paddle.version.cuda()}; see what nvidia-smi lists, {OR_CPU}"


def check_gpu(number: int) -> None:
    """Check that Paddle can compute on GPU `number`.

    Raises:
        UserError: without such a GPU, without cuDNN, or for a GPU that Paddle holds no machine code for.
    """
    device = f"--device gpu:{number}"
    count = gpu_count()
    if count == 0:
        raise UserError(f"{device}: {why_no_gpu()}")
    if number >= count:
        raise UserError(f"{device}: no such GPU; {count} found, counted from 0")
    try:
        link_driver_if_there()
    except OSError as error:
        raise UserError(
            f"{device}: cannot link the driver beside Paddle ({error}); let whoever installed Paddle run: "
            "python -m compat.cuda_libraries"
        ) from error
    capability = paddle.device.cuda.get_device_capability(number)
    if not has_machine_code(capability):
        name = paddle.device.cuda.get_device_name(number)
        raise UserError(f"{device} ({name}): {other_paddle(capability)}, {OR_CPU}")
    if paddle.device.get_cudnn_version() is None:
        raise UserError(f"{device}: Paddle finds no cuDNN; `python -m compat.cuda_libraries` says why, {OR_CPU}")


def check_computing(number: int) -> None:
    """Compute one number on GPU `number`, which finds faults that no table lists, such as missing machine code.

    Raises:
        UserError: with CUDA's message, when that fails.
    """
    try:
        computed = float(paddle.full([1], 1.0) + 1)
    except (OSError, RuntimeError, SystemError) as error:
        text = " ".join(str(error).split())[-300:]
        raise UserError(f"--device gpu:{number}: Paddle cannot compute on it ({text}); see docs/gpu.md") from error
    if computed != 2:
        raise UserError(f"--device gpu:{number}: computes 1 + 1 = {computed}; see docs/gpu.md")


def has_machine_code(capability: Tuple[int, int], version: Optional[str] = None) -> bool:
    """Whether Paddle `version` (this one by default) computes on GPUs of that capability; True for an unlisted version.

    By CUDA's rule machine code runs on GPUs of the same major capability and the same or a higher minor one.
    """
    known = _known(version)
    return known is None or any(major == capability[0] and minor <= capability[1] for major, minor in known)


def other_paddle(capability: Tuple[int, int], version: Optional[str] = None) -> str:
    """One line: what this Paddle holds machine code for, and which one a GPU of that capability needs."""
    held = ", ".join(f"{major}.{minor}" for major, minor in _known(version) or ())
    if capability >= (10, 0):
        instead = "Paddle 3.1 or later for CUDA 12.9"
    elif capability >= (9, 0):
        instead = "Paddle 3 for CUDA 12"
    else:
        instead = "a Paddle whose table of GPUs lists it"
    return (
        f"compute capability {capability[0]}.{capability[1]}, and Paddle {version or paddle.__version__} holds machine "
        f"code for {held} only; install {instead} from Paddle's own index (docs/gpu.md)"
    )


def _known(version: Optional[str]) -> Optional[Tuple[Tuple[int, int], ...]]:
    return MACHINE_CODE.get(".".join((version or paddle.__version__).split(".")[:2]))


def allow_tf32(allowed: bool) -> None:
    """Allow convolutions and matrix products of float32 to round to TF32, or forbid it; does nothing on the CPU."""
    for library in ("cublas", "cudnn"):
        switch = getattr(paddle.base.core, f"set_{library}_switch", None)
        if switch:
            switch(allowed)
