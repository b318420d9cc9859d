"""Between log lines the host only queues work: it waits for no result, and sends nothing but images and labels."""

import paddle
import pytest

from engine.training.trainer import RunOptions, Trainer
from tests.helpers.fake_gpu import fake_gpu
from tests.helpers.kernel_calls import representative_recipes, tiny

READS = ("numpy", "item", "tolist", "cpu", "__float__", "__int__", "__index__", "__bool__", "__array__")
LOG_ITERS, ITERS = 2, 5


class Watched(Trainer):
    """Counts its steps."""

    steps = 0

    def _train_batch(self, number, images, labels):
        self.steps += 1
        return super()._train_batch(number, images, labels)


@pytest.mark.parametrize("file", representative_recipes(), ids=lambda file: file.stem)
def test_the_host_waits_at_log_lines_only(file, sample_root, tmp_path, monkeypatch):
    recipe = tiny(file, sample_root).model_copy(update={"iters": ITERS, "log_iters": LOG_ITERS, "save_interval": ITERS})
    with fake_gpu():
        trainer = Watched(recipe, RunOptions(save_dir=str(tmp_path), validate=False, num_workers=0))
        waited, sent = {}, set()
        for name in READS:
            read = getattr(paddle.Tensor, name)

            def watched(self, *arguments, name=name, read=read):
                waited.setdefault(trainer.steps, set()).add(name)
                return read(self, *arguments)

            monkeypatch.setattr(paddle.Tensor, name, watched)
        to_tensor = paddle.to_tensor

        def watched_to_tensor(*arguments, **options):
            sent.add(trainer.steps)
            return to_tensor(*arguments, **options)

        monkeypatch.setattr(paddle, "to_tensor", watched_to_tensor)
        trainer.fit()
    assert trainer.steps == ITERS
    assert set(waited) - {0} == {LOG_ITERS, 2 * LOG_ITERS, ITERS}, waited
    assert sent <= {0, 1}, sent
