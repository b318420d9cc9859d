"""What a training step needs, as an error about memory estimates it."""

import pytest

from engine.training.memory import Need, advice, estimate_need
from models import build_model
from tests.helpers.tiny_training import TinyNetwork, tiny_recipe


def test_an_estimate_by_hand():
    need = estimate_need(TinyNetwork(), (1024, 512))
    assert need.features == pytest.approx((4 + 4 + 4 + 4 + 19) * 4 * 2**19 / 2**30)
    assert need.logits == pytest.approx(2 * 19 * 4 * 2**19 / 2**30)


def test_an_estimate_agrees_with_a_measured_peak():
    need = estimate_need(build_model("stdc2_seg", 19), (1024, 512))
    assert 36 * (need.features + need.logits) == pytest.approx(18, rel=0.05)  # GiB, by Paddle's counter


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"batch_size": 36},
            "a batch of 36 needs about 54.0 GiB beside the weights: --batch_size 18 --accumulate 4 saves 27.0",
        ),
        ({"batch_size": 36}, "--precision fp16 or bf16 saves 18.0 GiB"),
        ({"batch_size": 9}, "--batch_size 3 --accumulate 6 saves 9.0 GiB"),
        ({"batch_size": 36, "precision": "fp16"}, "a batch of 36 needs about 36.0 GiB"),
        ({"batch_size": 1}, "a batch of 1 needs about 1.5 GiB beside the weights: --precision fp16"),
    ],
)
def test_advice(options, words, sample_root):
    said = advice(tiny_recipe(sample_root, **options), Need(features=1.0, logits=0.5), on_gpu=True)
    assert words in said
    assert ("--precision" in said) == ("precision" not in options)
