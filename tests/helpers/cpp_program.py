"""examples/cpp as tests build and run it."""

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, NamedTuple, Sequence

import cv2
import numpy as np
import pytest

from engine.runtime import Description, write_description

SOURCE = Path(__file__).parents[2] / "examples" / "cpp"
# Every warning is an error; with optimisation, as compilers then see more.
FLAGS = ("-DCMAKE_CXX_FLAGS=-O1 -Werror", "-DCMAKE_BUILD_TYPE=None")


def find_cmake() -> str:
    """CMake's program; skips the test where there is none, or no compiler."""
    beside = str(Path(sys.executable).parent)  # where pip puts cmake
    cmake = shutil.which("cmake", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if cmake is None or not (shutil.which("c++") or shutil.which("g++")):
        pytest.skip("no CMake, or no C++ compiler, here (pip install cmake; apt-get install g++ make)")
    return cmake


def configure(folder: Path, *options: str) -> str:
    """Configure the build in `folder`; returns what CMake says, and skips the test where there is no compiler.

    With OpenVINO's wheel, and with ONNX Runtime where ONNXRUNTIME_ROOT names an unpacked release: its wheel has no
    headers.
    """
    cmake = find_cmake()
    utils = pytest.importorskip("openvino.utils", reason="OpenVINO is in requirements-deploy.txt")
    engines = [f"-DOpenVINO_DIR={utils.get_cmake_path()}"]
    if os.environ.get("ONNXRUNTIME_ROOT"):
        engines.append(f"-DONNXRUNTIME_ROOT={os.environ['ONNXRUNTIME_ROOT']}")
    said = _run([cmake, "-S", str(SOURCE), "-B", str(folder), *FLAGS, *engines, *options])
    (folder / "cmake").write_text(cmake)
    return said


def build(folder: Path) -> Path:
    """Build what was configured in `folder`; returns the program."""
    _run([(folder / "cmake").read_text(), "--build", str(folder), "--parallel", "2"])
    return folder / "segment"


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


class Result(NamedTuple):
    """`lines` are those of standard output, `error` is standard error."""

    status: int
    lines: List[str]
    error: str


def run(program: Path, *words: object) -> Result:
    """Run the program on one thread, as the networks that it is compared with."""
    command = [str(program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return Result(done.returncode, done.stdout.decode("utf-8").splitlines(), done.stderr.decode("utf-8"))


def read(folder: Path, name: str) -> np.ndarray:
    """A result by its name without suffix, PNG or Netpbm: [H, W] or [H, W, 3] RGB."""
    file = next(path for path in (folder / f"{name}{suffix}" for suffix in (".png", ".pgm", ".ppm")) if path.is_file())
    values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    return values if values.ndim == 2 else values[..., ::-1]


@functools.cache
def picture(height: int, width: int) -> np.ndarray:
    """[H, W, 3] uint8: noise over blobs of colour."""
    rng = np.random.default_rng(height * 1000 + width)
    blobs = cv2.resize(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(blobs + rng.integers(-20, 21, (height, width, 3)), 0, 255).astype(np.uint8)


def write(folder: Path, *sizes: Sequence[int], suffix: str = ".ppm") -> List[Path]:
    """Pictures of these (h, w) as files."""
    files = [folder / f"{height}x{width}{suffix}" for height, width in sizes]
    for file, size in zip(files, sizes):
        assert cv2.imwrite(str(file), picture(*size)[..., ::-1])
    return files


def red_channel(folder: Path) -> Path:
    """Write an export for OpenVINO whose class map is the red channel of what the network sees; returns the folder."""
    image, red = _red()
    return _save(folder, image, red, Description(256, batch=1))


def equal_scores(folder: Path) -> Path:
    """Write one that returns three scores of each pixel: red, red again, and 255 - red."""
    from openvino import opset13 as ops

    image, red = _red()
    score = ops.unsqueeze(ops.convert(red, "f32"), ops.constant(np.int64(1)))
    rest = ops.subtract(ops.constant(np.float32(255)), score)
    return _save(folder, image, ops.concat([score, score, rest], 1), Description(3, output_op="none", batch=1))


def _red():
    from openvino import opset13 as ops

    image = ops.parameter([1, -1, -1, 3], np.uint8, name="image")
    return image, ops.gather(image, ops.constant(np.int64(0)), ops.constant(np.int64(3)))


def _save(folder: Path, image, output, description: Description) -> Path:
    import openvino

    openvino.save_model(openvino.Model([output], [image]), str(folder / "model.xml"), compress_to_fp16=False)
    write_description(folder, dataclasses.replace(description, files={"openvino": {"fp32": "model.xml"}}))
    return folder
