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
    """Rank of this process and number of processes, one for each device. Rank 0 writes files and logs."""

    rank: int
    count: int


def launched_devices() -> Devices:
    """This process among those that the launcher started, without connecting to them."""
    return Devices(paddle.distributed.get_rank(), paddle.distributed.get_world_size())


def silence_other_ranks(devices: Devices) -> None:
    """Drop what processes other than rank 0 print, except errors."""
    if devices.rank > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends


def join_devices() -> Devices:
    """Connect to the other processes of this run, if the launcher started any; only rank 0 logs from then on."""
    devices = launched_devices()
    if devices.count > 1:
        paddle.distributed.init_parallel_env()
    logger.setLevel(logging.ERROR if devices.rank > 0 else logging.INFO)
    return devices


def wait_for_all(devices: Devices) -> None:
    """Return when every process has called this."""
    if devices.count > 1:
        paddle.distributed.barrier()


def any_device(flag: bool, devices: Devices) -> bool:
    """Whether `flag` is set in any process; collective: every process must call it."""
    if devices.count == 1:
        return flag
    flags = paddle.to_tensor([int(flag)], "int32")
    paddle.distributed.all_reduce(flags, op=paddle.distributed.ReduceOp.MAX)
    return bool(flags.item())


def shard(count: int, devices: Devices) -> range:
    """The indices, of `count` items, that this process takes: each item goes to exactly one process."""
    return range(devices.rank, count, devices.count)


def sum_over_devices(sums: np.ndarray, devices: Devices) -> np.ndarray:
    """The sum of an array over all processes, in its shape and type; collective: every process must call it."""
    if devices.count == 1 or sums.size == 0:
        return sums
    total = paddle.to_tensor(sums)
    paddle.distributed.all_reduce(total)
    return total.numpy()


def gather(part: Any, devices: Devices) -> List[Any]:
    """The `part` of every process, by rank; it must be picklable. Collective: every process must call it."""
    if devices.count == 1:
        return [part]
    parts: List[Any] = []
    paddle.distributed.all_gather_object(parts, part)
    return parts


def synchronize_batch_norm(model: nn.Layer, devices: Devices) -> nn.Layer:
    """The network with batch norm over all devices; on the CPU, where Paddle has no kernel for it, over each alone.

    Frozen batch norms are left out: Paddle's SyncBatchNorm always takes the batch's statistics.
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
    """Batch norm's running means and variances, which the forward pass changes (to Paddle they are parameters).

    They are the network's own tensors; under the hook that amp.decorate sets for O2, a state dict holds copies.
    """
    return [tensor for tensor in model.state_dict(use_hook=False).values() if tensor.stop_gradient]


def share_statistics(model: nn.Layer, devices: Devices) -> None:
    """Copy rank 0's running statistics to every process; they differ where batch norm is not synchronised."""
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
    """For backward passes that only accumulate gradients; the last one of an iteration averages them over devices."""
    return replica.no_sync() if isinstance(replica, paddle.DataParallel) else contextlib.nullcontext()
