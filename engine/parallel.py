"""Several devices: one process for each, started by `python -m paddle.distributed.launch`."""

import contextlib
import logging
from typing import ContextManager, NamedTuple

from compat import logger

import paddle
from paddle import nn


class Devices(NamedTuple):
    """This process's number, and how many there are. Number 0 writes files and speaks."""

    rank: int
    count: int


def join_devices() -> Devices:
    """Meet the other processes of this run, if the launcher started any."""
    devices = Devices(paddle.distributed.get_rank(), paddle.distributed.get_world_size())
    if devices.count > 1:
        paddle.distributed.init_parallel_env()
    logger.setLevel(logging.ERROR if devices.rank > 0 else logging.INFO)
    return devices


def wait_for_all(devices: Devices) -> None:
    """Return when every process has come here."""
    if devices.count > 1:
        paddle.distributed.barrier()


def synchronize_batch_norm(model: nn.Layer, devices: Devices) -> nn.Layer:
    """The network with batch norm over all devices; on the CPU, where Paddle has no kernel for it, over each alone."""
    if devices.count > 1 and paddle.get_device() != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def replicate(model: nn.Layer, devices: Devices) -> nn.Layer:
    """The network as it is called in training: its backward pass averages the gradients over all devices."""
    return paddle.DataParallel(model) if devices.count > 1 else model


def without_exchange(replica: nn.Layer) -> ContextManager:
    """For backward passes whose gradients are only accumulated: the last one of an iteration exchanges them all."""
    return replica.no_sync() if isinstance(replica, paddle.DataParallel) else contextlib.nullcontext()
