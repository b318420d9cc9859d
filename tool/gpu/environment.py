"""The driver, the GPU, CUDA's libraries, and the packages."""

import os
import subprocess
from pathlib import Path
from typing import List

from compat.cuda_libraries import driver_library, libraries_folder, library_versions

import paddle

from engine.gpu import gpu_count, has_machine_code, other_paddle, why_no_gpu
from tool.gpu.findings import Finding
from tool.speed.hardware import describe_hardware

QUERY = ("driver_version", "name", "memory.total", "compute_cap", "power.limit", "clocks.max.sm")


def environment() -> List[Finding]:
    """Findings on the system, the packages, the driver, the GPUs and the libraries."""
    hardware = describe_hardware(int(os.environ.get("OMP_NUM_THREADS", "1")))
    packages = ", ".join(f"{name} {version}" for name, version in hardware["packages"].items())
    processor = f"{hardware['processor']}, {hardware['physical_cores']} cores, {hardware['memory_gb']} GB"
    found = [
        Finding("system", f"{hardware['system']}, Python {hardware['python']}"),
        Finding("processor", processor),
        Finding("packages", packages),
        Finding("device", paddle.device.get_device()),
    ]
    if not paddle.is_compiled_with_cuda():
        return [*found, Finding("GPU", why_no_gpu())]
    driver = driver_library(os.environ.get("LD_LIBRARY_PATH", ""))
    found += [
        Finding("driver", str(driver), driver is not None),
        Finding("nvidia-smi", nvidia_smi()),
        Finding("CUDA that Paddle is built for", str(paddle.version.cuda())),
        Finding("cuDNN that Paddle finds", str(paddle.device.get_cudnn_version())),
    ]
    found += [
        Finding(f"library {name}", version, not version.startswith("missing"))
        for name, version in library_versions(libraries_folder()).items()
    ]
    found += [Finding("GPU", why_no_gpu(), False)] if gpu_count() == 0 else []
    return found + [gpu(number) for number in range(gpu_count())] + loaded_libraries()


def gpu(number: int) -> Finding:
    """Name, capability and memory of a GPU, and whether Paddle holds machine code for it."""
    properties = paddle.device.cuda.get_device_properties(number)
    capability = (properties.major, properties.minor)
    text = f"{properties.name}, capability {capability[0]}.{capability[1]}, {properties.total_memory / 2**30:.1f} GiB"
    if has_machine_code(capability):
        return Finding(f"GPU {number}", text, True)
    return Finding(f"GPU {number}", f"{text}; {other_paddle(capability)}", False)


def nvidia_smi() -> str:
    """The output of nvidia-smi for all GPUs, or why there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be run ({error})"
    return "; ".join(done.stdout.strip().splitlines() or [done.stderr.strip()])


def loaded_libraries() -> List[Finding]:
    """The files of cuDNN and cuBLAS that this process has loaded, because several versions may be installed."""
    maps = Path("/proc/self/maps")
    words = maps.read_text(encoding="utf-8").split() if maps.is_file() else []
    files = sorted({word for word in words if Path(word).name.startswith(("libcudnn.so", "libcublas.so"))})
    return [Finding("opened", file) for file in files]
