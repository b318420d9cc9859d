"""What is done before and while paddle is imported: threads, MKL's kernels, freed memory, and its warnings."""

import ctypes
import math
import os
import platform
import subprocess
import sys
import warnings
from unittest import mock

from compat.allocator import keep_freed_memory
from compat.processor import cpu_quota, logical_cores, mkl_cpu_type, physical_cores
from compat.quiet_import import import_paddle_quietly

import pytest


@pytest.mark.parametrize(
    ("vendor", "flags", "kind"),
    [
        ("AuthenticAMD", "fma avx2 avx512f avx512bw avx512cd avx512dq avx512vl", "7"),
        ("AuthenticAMD", "fma avx2 avx512f", "5"),
        ("AuthenticAMD", "sse4_2", ""),
        ("GenuineIntel", "fma avx2 avx512f avx512bw avx512cd avx512dq avx512vl", ""),
    ],
)
def test_mkl_kernels_are_named_on_amd_only(vendor, flags, kind):
    assert mkl_cpu_type(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n") == kind


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_a_containers_quota_of_processors(files, quota, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "cores"), [(0.5, 1), (1.5, 2), (math.inf, 3)])
def test_cores_are_no_more_than_the_quota_rounded_up(quota, cores, monkeypatch):
    monkeypatch.setattr("compat.processor.cpu_quota", lambda: quota)
    no_siblings = {10**6, 10**6 + 1, 10**6 + 2}  # no system lists threads of these
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: no_siblings, raising=False)
    assert physical_cores() == logical_cores() == cores


def test_the_users_settings_stay():
    code = "import os, compat; print(os.environ['OMP_NUM_THREADS'], os.environ.get('MKL_DEBUG_CPU_TYPE'))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_DEBUG_CPU_TYPE": "5"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["1", "5"]
    del environment["OMP_NUM_THREADS"]
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == [str(physical_cores()), "5"]


# --- memory -----------------------------------------------------------------------------------------------------------

FAULTS = """
import ctypes, resource
import compat
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
def use():
    block = ctypes.c_void_p(c.malloc(50_000_000))
    c.memset(block, 1, 50_000_000)
    c.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
@pytest.mark.parametrize(("setting", "kept"), [({}, True), ({"MALLOC_MMAP_MAX_": "65536"}, False)])
def test_freed_memory_is_kept_unless_the_user_says_otherwise(setting, kept):
    """A second block of 50 MB costs no page faults where the first one's memory is still there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env={**environment, **setting}, capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 1000) == kept


@pytest.mark.parametrize(
    ("name", "value", "chosen"),
    [
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1", True),
        ("GLIBC_TUNABLES", "glibc.pthread.rseq=0", False),
        ("MALLOC_ARENA_MAX", "2", True),
        ("PATH", "/bin", False),
    ],
)
def test_what_counts_as_the_users_choice(name, value, chosen, monkeypatch):
    settings = []
    monkeypatch.setattr("compat.allocator.os.environ", {name: value})
    monkeypatch.setattr(ctypes, "CDLL", lambda _: mock.Mock(mallopt=lambda *setting: settings.append(setting)))
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert settings == ([] if chosen else [(-4, 0), (-1, 2**31 - 1)])


def test_of_what_importing_paddle_writes_only_the_warning_of_threads_is_left_out(tmp_path, monkeypatch, capsys):
    lines = "driver is too old\\nWARNING: OMP_NUM_THREADS set to 4, not 1\\nlast line\\n"
    (tmp_path / "paddle.py").write_text(f'import sys\nsys.stderr.write("{lines}")\n')
    monkeypatch.delitem(sys.modules, "paddle")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        import_paddle_quietly()
    assert capsys.readouterr().err == "driver is too old\nlast line\n"
