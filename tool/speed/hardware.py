"""The machine that figures are measured on."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Dict

import compat  # noqa: F401  it must come before paddle
from compat.allocator import MALLOC_SETTINGS
from compat.processor import physical_cores

import paddle

PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddleseg", "onnxruntime", "openvino", "MNN", "numpy")
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
SETTINGS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", *MALLOC_SETTINGS)


def describe_hardware(threads: int) -> Dict[str, Any]:
    """Processor, instruction sets, cores, threads, memory, system, packages, GPU, and settings that affect the speed.

    Args:
        threads: that the measurement uses.

    Returns:
        plain values by name; None for what the system does not report.
    """
    cpuinfo = _read("/proc/cpuinfo")
    flags = set(re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)[:1] or [""])
    flags = set(" ".join(flags).split())
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    return {
        "processor": processor_name(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "physical_cores": physical_cores(),
        "threads": threads,
        "memory_gb": round(int(memory.group(1)) / 1e6, 1) if memory else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "gpu": paddle.device.cuda.get_device_name() if paddle.device.get_device().startswith("gpu") else None,
        "environment": {name: os.environ.get(name) for name in SETTINGS},
    }


def processor_name() -> str:
    """The processor's name, as the system reports it."""
    found = re.search(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
