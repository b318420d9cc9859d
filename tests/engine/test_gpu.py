"""What is said of GPUs that Paddle cannot compute on, with driver, libraries and faked GPUs."""

from compat import UserError

import paddle
import pytest

import engine.gpu
from engine.command import choose_device
from engine.gpu import has_machine_code


@pytest.fixture
def machine(monkeypatch):
    """A machine that Paddle 2.6.2 for CUDA finds; call it with what differs from one good GPU."""

    def feign(gpus=1, capability=(8, 6), cudnn=8600, driver="/usr/lib/libcuda.so.1", compiled=True):
        replaced = {
            "device.cuda.device_count": lambda: gpus,
            "device.cuda.get_device_capability": lambda number: capability,
            "device.cuda.get_device_name": lambda number: "NVIDIA X",
            "device.get_cudnn_version": lambda: cudnn,
            "is_compiled_with_cuda": lambda: compiled,
        }
        for name, value in replaced.items():
            monkeypatch.setattr(f"paddle.{name}", value)
        monkeypatch.setattr(paddle, "__version__", "2.6.2")
        monkeypatch.setattr(engine.gpu, "driver_library", lambda *_: driver)
        monkeypatch.setattr(engine.gpu, "link_driver_if_there", lambda: True)

    for name in ("CUDA_VISIBLE_DEVICES", "FLAGS_selected_gpus"):
        monkeypatch.delenv(name, raising=False)
    chosen = []
    monkeypatch.setattr(paddle, "set_device", chosen.append)
    feign.chosen = chosen
    return feign


def refusal(device="gpu"):
    with pytest.raises(UserError) as raised:
        choose_device(device)
    (line,) = str(raised.value).splitlines()
    return line


def test_a_good_gpu_is_taken_by_default_and_the_launchers_choice_followed(machine, monkeypatch):
    machine(gpus=2)
    choose_device(None)
    monkeypatch.setenv("FLAGS_selected_gpus", "1")
    choose_device("gpu")
    choose_device("cpu")
    assert machine.chosen == ["gpu:0", "gpu:1", "cpu"]


def test_no_driver(machine):
    machine(gpus=0, driver=None)
    line = refusal()
    assert "no NVIDIA driver is present" in line and "--device cpu" in line and "make install" not in line


def test_hidden_and_missing_gpus(machine, monkeypatch):
    machine(gpus=0)
    assert "nvidia-smi" in refusal()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' leaves none" in refusal()
    machine(gpus=2)
    assert refusal("gpu:2") == "--device gpu:2: no such GPU; 2 found, counted from 0"


def test_only_a_paddle_for_the_cpu_is_sent_to_the_makefile(machine):
    machine(gpus=0, compiled=False)
    assert "built for the CPU; make install DEVICE=gpu" in refusal()


def test_no_cudnn(machine):
    machine(cudnn=None)
    assert "finds no cuDNN; `python -m compat.cuda_libraries` says why" in refusal()


@pytest.mark.parametrize(
    ("capability", "instead"),
    [((9, 0), "Paddle 3 for CUDA 12 "), ((10, 0), "CUDA 12.9"), ((12, 0), "CUDA 12.9"), ((6, 0), "table of GPUs")],
)
def test_a_gpu_without_machine_code(machine, capability, instead):
    machine(capability=capability)
    line = refusal()
    assert f"compute capability {capability[0]}.{capability[1]}, and Paddle 2.6.2" in line
    assert "6.1, 7.0, 7.5, 8.0, 8.6 only" in line and instead in line and line.startswith("--device gpu:0 (NVIDIA X)")


def test_machine_code_runs_on_the_same_major_and_a_higher_minor_capability():
    runs = {
        c
        for c in ((5, 2), (6, 0), (6, 1), (7, 0), (7, 2), (7, 5), (8, 0), (8, 9), (9, 0))
        if has_machine_code(c, "2.6.2")
    }
    assert runs == {(6, 1), (7, 0), (7, 2), (7, 5), (8, 0), (8, 9)}
    assert not has_machine_code((6, 1), "2.5.1") and has_machine_code((9, 0), "3.3.1")


def test_what_no_table_knows_is_caught_by_computing(machine, monkeypatch):
    machine()

    def fail(*_):
        raise OSError("(External) CUDA error(209), no kernel image is available for execution on the device.")

    monkeypatch.setattr(paddle, "full", fail)
    assert "cannot compute on it" in refusal() and "no kernel image" in refusal()


def test_without_a_gpu_the_default_is_the_cpu_and_the_log_says_why(machine, monkeypatch):
    said = []
    monkeypatch.setattr("engine.command.logger.warning", lambda text, *values: said.append(text % values))
    machine(gpus=0, driver=None)
    choose_device(None)
    assert machine.chosen == ["cpu"] and "computing on the CPU: no NVIDIA driver" in said[0]
    machine(gpus=0, compiled=False)
    choose_device(None)
    assert len(said) == 1  # a Paddle for the CPU was chosen on purpose
