"""What a training step needs, as an error about memory estimates it."""

import json
from pathlib import Path

import pytest

from engine.training.memory import MEASURED, advice, estimate_need
from models import build_model
from tests.helpers.tiny_training import TinyNetwork, tiny_recipe

RESULTS = json.loads(Path("benchmarks/results/memory.json").read_text(encoding="utf-8"))
CASES = {(case["network"], case["batch"], case["recompute"]): case["gib"] for case in RESULTS["cases"]}


def test_an_estimate_by_hand():
    layers = (4 + 4 + 4 + 4 + 19) * 4 * 2**19 / 2**30
    assert estimate_need(TinyNetwork(), (1024, 512), 1.5) == pytest.approx(1.5 * layers)


@pytest.mark.parametrize("name", sorted({network for network, _, _ in CASES}))
def test_an_estimate_is_near_the_counted_peak(name):
    to_outputs, recomputed = MEASURED[name]
    whole = CASES[name, 36, False]
    assert 36 * estimate_need(build_model(name, 19), (1024, 512), to_outputs) == pytest.approx(whole, rel=0.02)
    for batch in (36, 48):
        saved = 1 - CASES[name, batch, True] / CASES[name, batch, False]
        assert recomputed == pytest.approx(saved, abs=0.02)


BATCHES = [
    (
        {"batch_size": 36},
        "a batch of 36 needs about 36.0 GiB beside the weights: --batch_size 18 --accumulate 4 saves 18.0",
    ),
    ({"batch_size": 36}, "; --opts recompute=true saves 14.4 GiB; --precision fp16 or bf16 saves 18.0 GiB;"),
    ({"batch_size": 9}, "--batch_size 3 --accumulate 6 saves 6.0 GiB"),
    ({"batch_size": 36, "precision": "fp16"}, "a batch of 36 needs about 18.0 GiB"),
    ({"batch_size": 36, "recompute": True}, "a batch of 36 needs about 21.6 GiB"),
    ({"batch_size": 1}, "a batch of 1 needs about 1.0 GiB beside the weights: --opts recompute=true"),
]


@pytest.mark.parametrize(("options", "words"), BATCHES)
def test_advice(options, words, sample_root):
    said = advice(tiny_recipe(sample_root, **options), 1.0, on_gpu=True, recomputed=0.4)
    assert words in said
    assert ("--precision" in said) == ("precision" not in options)
    assert ("recompute=true" in said) == ("recompute" not in options)
