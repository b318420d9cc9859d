"""The link step of `make install DEVICE=gpu`, on a tree of empty files."""

import os
import re
from pathlib import Path

import compat.cuda_libraries
from compat import UserError
from compat.cuda_libraries import (
    driver_library,
    libraries_folder,
    library_versions,
    link_driver,
    link_libraries,
)

import paddle
import pytest

PACKAGES = {
    "cudnn": ["libcudnn.so.8", "libcudnn_ops_infer.so.8"],
    "cublas": ["libcublas.so.11", "libcublasLt.so.11"],
    "cuda_nvrtc": ["libnvrtc.so.11.2", "libnvrtc-builtins.so.11.8"],
}


@pytest.fixture
def tree(tmp_path):
    """(packaged libraries, Paddle's folder of libraries) of a site-packages."""
    files = [tmp_path / "nvidia" / package / "lib" / name for package, names in PACKAGES.items() for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    folder = tmp_path / "paddle" / "libs"
    folder.mkdir(parents=True)
    (folder / "libwarpctc.so").write_text("Paddle's own")
    return files, folder


def test_each_library_has_its_versioned_and_its_short_name(tree):
    files, folder = tree
    names = link_libraries(files, folder)
    expected = {
        "libcudnn.so", "libcudnn.so.8", "libcudnn_ops_infer.so", "libcudnn_ops_infer.so.8", "libcublas.so",
        "libcublas.so.11", "libcublasLt.so", "libcublasLt.so.11", "libnvrtc.so", "libnvrtc.so.11.2",
        "libnvrtc-builtins.so", "libnvrtc-builtins.so.11.8",
    }  # fmt: skip
    assert set(names) == expected
    assert (folder / "libcublasLt.so").read_text() == "libcublasLt.so.11"
    assert (folder / "libcudnn_ops_infer.so.8").read_text() == "libcudnn_ops_infer.so.8"
    assert not os.path.isabs(os.readlink(folder / "libcudnn.so"))  # the environment may be moved


def test_linking_again_changes_nothing_and_follows_another_version(tree):
    files, folder = tree
    assert link_libraries(files, folder) == link_libraries(files, folder)
    newer = files[0].with_name("libcudnn.so.9")
    files[0].rename(newer)
    link_libraries([newer], folder)
    assert (folder / "libcudnn.so").resolve() == newer.resolve()


def test_processes_that_link_at_the_same_time_all_succeed(tree, monkeypatch):
    """As the ranks of a launcher do: the second one found the first one's link where it had seen none."""
    files, folder = tree
    symlink = os.symlink

    def another_was_faster(target, link, *arguments, **options):
        if not (folder / "libcudnn.so").is_symlink():
            symlink(target, folder / "libcudnn.so")
        symlink(target, link, *arguments, **options)

    monkeypatch.setattr(os, "symlink", another_was_faster)
    assert "libcudnn.so" in link_libraries(files[:1], folder)
    assert (folder / "libcudnn.so").read_text() == "libcudnn.so.8"
    assert {path.name for path in folder.iterdir()} == {"libcudnn.so", "libcudnn.so.8", "libwarpctc.so"}


def test_what_paddle_brings_stays(tree):
    files, folder = tree
    own = files[0].with_name("libwarpctc.so.1")
    own.write_text("another")
    assert link_libraries([own], folder) == ["libwarpctc.so.1"]
    assert (folder / "libwarpctc.so").read_text() == "Paddle's own"


def test_the_driver_gets_its_short_name_only_where_it_has_none(tmp_path, tree):
    _, folder = tree
    assert link_driver(folder, driver_library("", [tmp_path])) is False  # no driver
    driver = tmp_path / "driver" / "libcuda.so.1"
    driver.parent.mkdir()
    driver.write_text("driver")
    assert driver_library(f"{tmp_path}{os.pathsep}{driver.parent}", []) == driver
    assert link_driver(folder, driver) and (folder / "libcuda.so").read_text() == "driver"
    (folder / "libcuda.so").unlink()
    driver.with_name("libcuda.so").write_text("driver")
    assert link_driver(folder, driver) and not (folder / "libcuda.so").exists()


def test_versions_are_asked_of_the_libraries_and_absent_ones_named(tmp_path, monkeypatch):
    functions = {"z": ("zlibCompileFlags", "returned"), "absent": ("absentVersion", "number")}
    monkeypatch.setattr(compat.cuda_libraries, "VERSION_FUNCTIONS", functions)
    loaded = [word for word in Path("/proc/self/maps").read_text().split() if re.search(r"/libz(-\w+)?\.so", word)]
    (tmp_path / "libz.so").symlink_to(loaded[0])
    versions = library_versions(tmp_path)
    assert int(versions["z"]) > 0 and versions["absent"].startswith("missing (libabsent.so")


class FakeLibrary:
    """The libraries of CUDA 11.8, which give their versions in four ways."""

    def __init__(self, _):
        self.cudnnGetVersion = lambda: 8600
        self.ncclGetVersion = self.cufftGetVersion = self.curandGetVersion = self.number
        self.cublasGetProperty = self.cusolverGetProperty = self.cusparseGetProperty = self.part

    @staticmethod
    def nvrtcVersion(major, minor):  # noqa: N802  its name
        major._obj.value, minor._obj.value = 11, 8

    @staticmethod
    def number(version):
        version._obj.value = 21602

    @staticmethod
    def part(kind, value):
        value._obj.value = (11, 3, 7)[kind]


def test_each_library_says_its_version_in_its_own_way(tmp_path, monkeypatch):
    monkeypatch.setattr(compat.cuda_libraries.ctypes, "CDLL", FakeLibrary)
    parts, numbers = dict.fromkeys(("cublas", "cusolver", "cusparse"), "11.3.7"), ("cufft", "curand", "nccl")
    expected = {"cudnn": "8600", "nvrtc": "11.8", **parts, **dict.fromkeys(numbers, "21602")}
    assert library_versions(tmp_path) == expected


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="a Paddle for CUDA")
def test_the_step_refuses_a_paddle_for_the_cpu():
    with pytest.raises(UserError, match="built for the CPU; run: make install DEVICE=gpu"):
        compat.cuda_libraries.main()


def test_paddles_folder_is_the_installed_one():
    assert libraries_folder() == Path(paddle.__file__).parent / "libs"
