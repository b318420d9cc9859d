"""CUDA's libraries from the registry, where Paddle 2.6 looks for them: `python -m compat.cuda_libraries` links them.

The GPU wheel opens them at run time by unversioned names (`libcudnn.so`), which dlopen searches for in LD_LIBRARY_PATH,
`paddle/libs` and the system's folders, never in the `nvidia` packages. cuDNN's parts and cuBLAS open each other by
versioned names (`libcudnn_ops_infer.so.8`) in the folder of the link. So each library is linked into `paddle/libs`
under both names. If the packages are not installed, nothing is linked and the host's CUDA is used.
"""

import ctypes
import importlib.util
import os
from pathlib import Path
from typing import Dict, Iterable, List, Optional

from compat.errors import UserError

DRIVER = "libcuda.so.1"
DRIVER_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib", "/usr/local/nvidia/lib64")
# A function of each library that gives its version without a GPU, and how: as the value returned, as one number or a
# pair of numbers through pointers, or one part (0 to 2) at a time.
VERSION_FUNCTIONS = {
    "cudnn": ("cudnnGetVersion", "returned"),
    "cublas": ("cublasGetProperty", "part"),
    "cufft": ("cufftGetVersion", "number"),
    "curand": ("curandGetVersion", "number"),
    "cusolver": ("cusolverGetProperty", "part"),
    "cusparse": ("cusparseGetProperty", "part"),
    "nccl": ("ncclGetVersion", "number"),
    "nvrtc": ("nvrtcVersion", "pair"),
}


def packaged_libraries() -> List[Path]:
    """The shared libraries of the installed `nvidia` packages; empty without them."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or ()) if found else []
    return sorted(file for folder in folders for file in Path(folder).glob("*/lib/*.so*"))


def libraries_folder() -> Path:
    """`paddle/libs`, in which Paddle looks for CUDA's libraries."""
    return Path(importlib.util.find_spec("paddle").origin).parent / "libs"


def link_libraries(libraries: Iterable[Path], folder: Path) -> List[str]:
    """Link libraries into `folder` under their versioned and their unversioned names.

    An existing file that is not a link belongs to Paddle and is kept.

    Returns:
        The names that were linked, now or before, sorted.
    """
    names = []
    for library in libraries:
        for name in {library.name, library.name.partition(".so")[0] + ".so"}:
            if _link(library, folder / name):
                names.append(name)
    return sorted(names)


def driver_library(search_path: str = "", folders: Iterable[str] = DRIVER_FOLDERS) -> Optional[Path]:
    """NVIDIA's driver as programs see it, `libcuda.so.1`, in LD_LIBRARY_PATH or where systems have it."""
    candidates = [Path(folder) / DRIVER for folder in (*search_path.split(os.pathsep), *folders) if folder]
    return next((file for file in candidates if file.exists()), None)


def link_driver(folder: Path, driver: Optional[Path]) -> bool:
    """Link the driver as `libcuda.so`, the name that Paddle and cuDNN 8.6 open, where only `libcuda.so.1` is.

    Returns:
        Whether the short name can be opened in `folder` or beside the driver.
    """
    if driver is None:
        return False
    return driver.with_name("libcuda.so").exists() or _link(driver, folder / "libcuda.so")


def link_driver_if_there() -> bool:
    """`link_driver` for this environment: the driver may come after Paddle, as in a container."""
    return link_driver(libraries_folder(), driver_library(os.environ.get("LD_LIBRARY_PATH", "")))


def library_versions(folder: Path) -> Dict[str, str]:
    """{library: version, as in "11.11.3", or why it cannot be opened} of CUDA's libraries in `folder` or the system."""
    return {name: _version(name, folder) for name in VERSION_FUNCTIONS}


def _link(target: Path, link: Path) -> bool:
    if link.exists() and not link.is_symlink():
        return False
    if link.exists() and link.samefile(target):
        return True
    temporary = link.with_name(f".{link.name}.{os.getpid()}")  # the processes of several devices do this at once
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    os.replace(temporary, link)
    return True


def _version(name: str, folder: Path) -> str:
    file = folder / f"lib{name}.so"
    try:
        library = ctypes.CDLL(str(file) if file.exists() else file.name)
    except OSError as error:
        return f"missing ({error})"
    function, kind = VERSION_FUNCTIONS[name]
    query = getattr(library, function)
    numbers = (ctypes.c_int(), ctypes.c_int(), ctypes.c_int())
    if kind == "returned":
        return str(query())
    if kind == "number":
        query(ctypes.byref(numbers[0]))
        return str(numbers[0].value)
    if kind == "pair":
        query(ctypes.byref(numbers[0]), ctypes.byref(numbers[1]))
        return f"{numbers[0].value}.{numbers[1].value}"
    for part, number in enumerate(numbers):
        query(part, ctypes.byref(number))
    return ".".join(str(number.value) for number in numbers)


def main() -> None:
    """Link CUDA's libraries, open each, and report what Paddle finds.

    Raises:
        UserError: when this Paddle is built for the CPU, or finds no cuDNN.
    """
    import paddle

    if not paddle.is_compiled_with_cuda():
        raise UserError(f"Paddle {paddle.__version__} is built for the CPU; run: make install DEVICE=gpu")
    folder = libraries_folder()
    packaged = packaged_libraries()
    # Paddle 3 searches the packages itself.
    names = link_libraries(packaged, folder) if paddle.__version__.startswith("2.") else []
    driver = "found" if link_driver_if_there() else "not found"
    print(f"{len(packaged)} libraries of the nvidia packages, {len(names)} links in paddle/libs; driver {driver}")
    versions = library_versions(folder)
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    cudnn = paddle.device.get_cudnn_version()
    if cudnn is None:
        raise UserError(
            f"Paddle {paddle.__version__} finds no cuDNN (libcudnn.so: {versions['cudnn']}); install the packages of "
            "requirements-gpu.txt, or put the host's cuDNN 8 for CUDA 11 into LD_LIBRARY_PATH"
        )
    print(f"Paddle {paddle.__version__} for CUDA {paddle.version.cuda()} finds cuDNN {cudnn}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
