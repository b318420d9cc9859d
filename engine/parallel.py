"""Several devices, on one host or several: one process for each, by `python -m paddle.distributed.launch`."""

import contextlib
import logging
import os
import sys
from typing import Any, ContextManager, List, NamedTuple

from compat import logger

import numpy as np
import paddle
from paddle import nn

from models.freezing import is_frozen_norm


class Devices(NamedTuple):
    """This process's number, and how many there are. Number 0 writes files and speaks."""

    rank: int
    count: int


def launched_devices() -> Devices:
    """This process among those that the launcher started, without meeting them."""
    return Devices(paddle.distributed.get_rank(), paddle.distributed.get_world_size())


def only_the_first_speaks(devices: Devices) -> None:
    """What further processes print is dropped; their errors are not."""
    if devices.rank > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends


def join_devices() -> Devices:
    """Meet the other processes of this run, if the launcher started any."""
    devices = launched_devices()
    if devices.count > 1:
        paddle.distributed.init_parallel_env()
    logger.setLevel(logging.ERROR if devices.rank > 0 else logging.INFO)
    return devices


def wait_for_all(devices: Devices) -> None:
    """Return when every process has come here."""
    if devices.count > 1:
        paddle.distributed.barrier()


def any_device(flag: bool, devices: Devices) -> bool:
    """Whether `flag` is set in any process; every process must come here."""
    if devices.count == 1:
        return flag
    flags = paddle.to_tensor([int(flag)], "int32")
    paddle.distributed.all_reduce(flags, op=paddle.distributed.ReduceOp.MAX)
    return bool(flags.item())


def shard(count: int, devices: Devices) -> range:
    """Which of `count` items are this process's: every one is some process's, and none is two processes'."""
    return range(devices.rank, count, devices.count)


def sum_over_devices(sums: np.ndarray, devices: Devices) -> np.ndarray:
    """The sum of an int64 array over all processes, in its shape; every process must come here."""
    if devices.count == 1 or sums.size == 0:
        return sums
    total = paddle.to_tensor(sums)
    paddle.distributed.all_reduce(total)
    return total.numpy()


def gather(part: Any, devices: Devices) -> List[Any]:
    """Every process's part, in the order of their numbers; every process must come here. Parts are pickled."""
    if devices.count == 1:
        return [part]
    parts: List[Any] = []
    paddle.distributed.all_gather_object(parts, part)
    return parts


def synchronize_batch_norm(model: nn.Layer, devices: Devices) -> nn.Layer:
    """The network with batch norm over all devices; on the CPU, where Paddle has no kernel for it, over each alone.

    Frozen ones stay as they are: Paddle's batch norm over devices always takes the batch's statistics.
    """
    if devices.count == 1 or paddle.get_device() == "cpu":
        return model
    frozen = {name: layer for name, layer in model.named_sublayers() if is_frozen_norm(layer)}
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    parents = dict(model.named_sublayers(include_self=True))
    for name, layer in frozen.items():
        parent, _, own = name.rpartition(".")
        parents[parent].add_sublayer(own, layer)
    return model


def running_statistics(model: nn.Layer) -> List[paddle.Tensor]:
    """What a forward pass changes and no optimiser: batch norm's means and variances (parameters, to Paddle).

    They are the network's own tensors; under the hook that amp.decorate sets for O2, a state dict holds copies.
    """
    return [tensor for tensor in model.state_dict(use_hook=False).values() if tensor.stop_gradient]


def share_statistics(model: nn.Layer, devices: Devices) -> None:
    """Give every process the first one's running statistics; they differ where batch norm is over each device alone."""
    if devices.count > 1:
        for statistic in running_statistics(model):
            paddle.distributed.broadcast(statistic, src=0)


def replicate(model: nn.Layer, devices: Devices) -> nn.Layer:
    """The network as it is called in training: its backward pass averages the gradients over all devices."""
    return paddle.DataParallel(model) if devices.count > 1 else model


def network_of_replica(replica: nn.Layer) -> nn.Layer:
    """The network that `replicate` was given."""
    return replica._layers if isinstance(replica, paddle.DataParallel) else replica


def without_exchange(replica: nn.Layer) -> ContextManager:
    """For backward passes whose gradients are only accumulated: the last one of an iteration exchanges them all."""
    return replica.no_sync() if isinstance(replica, paddle.DataParallel) else contextlib.nullcontext()
