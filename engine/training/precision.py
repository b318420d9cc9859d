"""Mixed precision on a GPU: fp16 with loss scaling, or bf16, at Paddle's level O1 or O2."""

import contextlib
from typing import ContextManager, Mapping, Sequence, Tuple

from compat import UserError, logger

import paddle
from paddle import nn

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
LEVELS = ("O1", "O2")
LOWEST_CAPABILITY = {"fp16": (7, 0), "bf16": (8, 0)}  # below it Paddle warns once and computes in float32


class Precision:
    """The precision that a network is trained in; losses are always computed in float32.

    Args:
        name: fp32, fp16 or bf16.
        level: O1 casts the inputs of single operators, O2 also the weights; the optimiser then keeps float32 copies.
        optimizer: Paddle's name of the kernel that updates the weights.

    Raises:
        UserError: for an unknown name or level, or one that this GPU or this Paddle cannot compute in.
    """

    def __init__(self, name: str = "fp32", level: str = "O1", optimizer: str = "momentum"):
        if name not in DTYPES:
            raise UserError(f"precision: {name!r} is not one of {', '.join(DTYPES)}")
        if level not in LEVELS:
            raise UserError(f"amp_level: {level!r} is not one of {', '.join(LEVELS)}")
        if name != "fp32" and paddle.get_device() == "cpu":
            logger.warning("precision %s: Paddle has mixed precision on GPUs only; on the CPU this run is fp32", name)
            name = "fp32"
        if name != "fp32":
            check_capability(name, paddle.device.cuda.get_device_capability())
        if name != "fp32" and level == "O2":
            check_update_kernel(name, optimizer, paddle.base.core._get_registered_phi_kernels("all"))
        self.dtype = DTYPES[name]
        self.level = level
        self.scaler = paddle.amp.GradScaler(enable=name == "fp16")

    def prepare(self, model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
        """Cast the weights for O2; to be called after loading them. State dicts stay float32."""
        if self.dtype != "float32" and self.level == "O2":
            paddle.amp.decorate(model, optimizer, level="O2", dtype=self.dtype, save_dtype="float32")

    def autocast(self) -> ContextManager:
        """The context of training's forward passes."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(level=self.level, dtype=self.dtype)

    def evaluation(self) -> ContextManager:
        """The context of evaluation: float32, but mixed precision under O2, whose weights are not float32."""
        return self.autocast() if self.level == "O2" else contextlib.nullcontext()

    def backward(self, loss: paddle.Tensor) -> None:
        """Backward pass of a 0-d loss, scaled for fp16."""
        self.scaler.scale(loss).backward()

    def update(self, optimizer: paddle.optimizer.Optimizer) -> None:
        """The optimiser's step; fp16 leaves it out when a gradient has overflowed, and halves the scale."""
        self.scaler.step(optimizer)
        self.scaler.update()


def check_capability(name: str, capability: Tuple[int, int]) -> None:
    """Raises UserError when a GPU of that compute capability cannot compute in fp16 or bf16."""
    lowest = LOWEST_CAPABILITY[name]
    if capability < lowest:
        instead = "fp16 or fp32" if capability >= LOWEST_CAPABILITY["fp16"] else "fp32"
        raise UserError(
            f"precision: {name} needs a GPU of compute capability {lowest[0]}.{lowest[1]}, and this one has "
            f"{capability[0]}.{capability[1]}; use {instead}"
        )


def check_update_kernel(name: str, optimizer: str, kernels: Mapping[str, Sequence[str]]) -> None:
    """Raises UserError when O2 is impossible because the optimiser cannot update weights of that type on a GPU.

    Args:
        name: fp16 or bf16.
        optimizer: kernel's name, such as `momentum`.
        kernels: what Paddle has registered: {kernel: ["(GPU, Undefined(AnyLayout), float16)", ...]}.
    """
    if not any(key.startswith("(GPU,") and f" {DTYPES[name]})" in key for key in kernels.get(optimizer, ())):
        raise UserError(
            f"amp_level: O2 keeps the weights in {name}, which {optimizer} of Paddle {paddle.__version__} cannot "
            f"update on a GPU; use amp_level: O1{', or precision: fp16' if name == 'bf16' else ''}"
        )
