"""What Paddle says of the system's faults becomes one line that names the settings."""

import errno

from compat import UserError

import paddle
import pytest

from engine.resilience.faults import named_faults
from engine.training.trainer import RunOptions, Trainer
from engine.training.validation import Validation
from tests.helpers.tiny_training import tiny_network, tiny_recipe, train


class Greedy(Trainer):
    """Asks for 64 TiB in the second iteration."""

    def _train_batch(self, number, images, labels):
        if number == 3:
            paddle.empty([2**44], "float32")
        return super()._train_batch(number, images, labels)


def test_out_of_memory_names_the_settings_and_what_they_save(sample_root, tmp_path, monkeypatch):
    recipe = tiny_recipe(sample_root, batch_size=4, accumulate=1, iters=4)
    with tiny_network(), pytest.raises(UserError) as stopped:
        Greedy(recipe, RunOptions(save_dir=str(tmp_path))).fit()
    for words in (
        "out of memory (Fail to alloc memory of 70368744177664 size)",
        "a batch of 4 needs about 0.0 GiB beside the weights: --batch_size 2 --accumulate 2 saves 0.0 GiB",
        "--resume_model auto",
    ):
        assert words in str(stopped.value)
    assert "--precision" not in str(stopped.value)  # it makes no difference on the CPU
    monkeypatch.setattr(Validation, "_draw", lambda *_: paddle.empty([2**44], "float32"))
    with pytest.raises(UserError, match="out of memory .*; evaluation takes images one by one: .*test_config"):
        train(recipe, save_dir=str(tmp_path / "evaluation"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            MemoryError(
                "\n\n---\nError Message Summary:\n---\nResourceExhaustedError: \n\nOut of memory error on GPU 0. "
                "Cannot allocate 2.109375GB memory on GPU 0, 31.500000GB memory has been allocated and available "
                "memory is only 200.0MB.\n\nPlease check whether there is any other process using GPU 0."
            ),
            r"out of memory \(Cannot allocate 2.109375GB memory on GPU 0\); advice; go on",
        ),
        (RuntimeError("(External) CUDNN error(4), CUDNN_STATUS_ALLOC_FAILED."), r"out of memory \(.*\); advice; go on"),
        (
            SystemError("(Fatal) Blocking queue is killed because the data reader raises an exception."),
            "a loader process",
        ),
        *(
            (OSError(number, "the system's words"), "nothing more can be written .*; make room; go on")
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        ),
        (AssertionError("momentum_0 should in state dict"), "the checkpoint's optimiser has another type"),
    ],
)
def test_what_paddle_says_is_one_line(error, words):
    with pytest.raises(UserError, match=f"^{words}"), named_faults(1, lambda: "advice"):
        raise error


@pytest.mark.parametrize(
    "error", [AssertionError("a bug"), OSError(errno.EACCES, "denied"), ValueError("a bug"), RuntimeError("a bug")]
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as passed, named_faults():
        raise error
    assert passed.value is error


@pytest.mark.parametrize("words", ["tcp connection closed", "NCCL error", "Gloo: connection reset by peer"])
def test_one_device_alone_loses_no_other(words):
    with pytest.raises(UserError, match="the process of another device is gone"), named_faults(2):
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match=words), named_faults(1):
        raise RuntimeError(words)
