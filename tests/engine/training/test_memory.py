"""What a training step needs, as an error about memory estimates it."""

import pytest

from engine.training.memory import advice, estimate_need
from models import build_model
from tests.helpers.tiny_training import TinyNetwork, tiny_recipe


def test_an_estimate_by_hand():
    layers = (4 + 4 + 4 + 4 + 19) * 4 * 2**19 / 2**30
    assert estimate_need(TinyNetwork(), (1024, 512)) == pytest.approx(1.45 * layers)


@pytest.mark.parametrize(("name", "measured"), [("stdc2_seg", 14.1 / 36), ("ddrnet23_slim", 0.264)])
def test_an_estimate_is_near_a_measured_peak(name, measured):
    assert estimate_need(build_model(name, 19), (1024, 512)) == pytest.approx(measured, rel=0.1)  # by Paddle's counter


BATCHES = [
    (
        {"batch_size": 36},
        "a batch of 36 needs about 36.0 GiB beside the weights: --batch_size 18 --accumulate 4 saves 18.0",
    ),
    ({"batch_size": 36}, "; --opts recompute=true saves 18.0 GiB; --precision fp16 or bf16 saves 18.0 GiB;"),
    ({"batch_size": 9}, "--batch_size 3 --accumulate 6 saves 6.0 GiB"),
    ({"batch_size": 36, "precision": "fp16"}, "a batch of 36 needs about 18.0 GiB"),
    ({"batch_size": 36, "recompute": True}, "a batch of 36 needs about 18.0 GiB"),
    ({"batch_size": 1}, "a batch of 1 needs about 1.0 GiB beside the weights: --opts recompute=true"),
]


@pytest.mark.parametrize(("options", "words"), BATCHES)
def test_advice(options, words, sample_root):
    said = advice(tiny_recipe(sample_root, **options), 1.0, on_gpu=True, can_recompute=True)
    assert words in said
    assert ("--precision" in said) == ("precision" not in options)
    assert ("recompute=true" in said) == ("recompute" not in options)
