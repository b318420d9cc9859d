"""The number of threads and MKL's kernels; Paddle reads both settings once, when it is imported."""

import math
import os
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def physical_cores() -> int:
    """Number of physical cores that this process may run on, no more than a container's quota allows; at least 1.

    Hyper-threads of one core share its vector units, so a second thread on them slows a convolution down.
    Where the system does not list siblings (not Linux), every logical processor counts as a core.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text().strip() if siblings.is_file() else cpu)
    return max(1, math.ceil(min(len(cores), cpu_quota())))


def logical_cores() -> int:
    """Number of logical cores that this process may run on, no more than a container's quota allows; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, cpu_quota())))


def cpu_quota(cgroups: Path = CGROUPS) -> float:
    """How many processors' time a container may use, as `docker run --cpus` sets it; infinity without such a limit.

    With more threads than that, all of them are stopped for the rest of each period.
    """
    version1 = [cgroups / "cpu" / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
    version2 = cgroups / "cpu.max"
    try:
        words = version2.read_text().split() if version2.is_file() else [file.read_text() for file in version1]
        quota, period = map(int, words)
    except (OSError, ValueError):  # no such files, or "max"
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf  # version 1 has -1 for no limit


def mkl_cpu_type(cpuinfo: str) -> str:
    """Value of MKL_DEBUG_CPU_TYPE for the processor that /proc/cpuinfo describes; empty to leave the choice to MKL.

    The MKL of 2019 inside Paddle's wheels checks the vendor before the instructions: on an AMD processor it
    takes its slowest kernels, and a training step takes twice the time. 7 names its AVX-512 kernels, 5 those of AVX2.
    """
    if "AuthenticAMD" not in cpuinfo:
        return ""
    flags = set(re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE).group(1).split())
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
        return "7"
    return "5" if {"avx2", "fma"} <= flags else ""


def configure_cpu() -> None:
    """Set the number of threads and MKL's kernels through the environment, unless the user has set them.

    Paddle's eager CPU kernels use one thread without OMP_NUM_THREADS.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(physical_cores()))
    cpuinfo = Path("/proc/cpuinfo")
    cpu_type = mkl_cpu_type(cpuinfo.read_text()) if cpuinfo.is_file() else ""
    if cpu_type:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)
