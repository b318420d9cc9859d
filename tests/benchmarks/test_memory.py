"""benchmarks.memory: maps grow with the crop, outputs do not outlive their loss, and figures are those of the crop."""

import json

import paddle
import pytest

from benchmarks import memory
from loss import cross_entropy


@pytest.fixture
def device(monkeypatch):
    """What `step_bytes` sets for its process is undone after the test."""
    monkeypatch.setattr(paddle.base.core.Place, "is_cpu_place", lambda place: False)


def test_between_losses_and_gradients_there_are_no_logits(device):
    parts = memory.step_bytes("stdc1_seg", 2, (128, 128), False)
    assert list(parts) == [
        "forward",
        *(f"loss {n}" for n in ("main", "aux8", "aux16", "detail8")),
        "backward",
        "optimizer",
    ]
    pixel = 4 * 2 * 128 * 128
    # An OHEM keeps the losses and the choice; logits would be 19, their probabilities 19 again.
    assert parts["loss aux8"]["held"] - parts["loss main"]["held"] == pytest.approx(2 * pixel, abs=2000)
    assert parts["loss detail8"]["held"] - parts["forward"]["held"] < 10 * pixel


def test_a_blocks_inner_maps_are_not_kept_when_it_is_recomputed(device):
    kept, recomputed = (memory.step_bytes("stdc2_seg", 1, (64, 64), way)["forward"]["held"] for way in (False, True))
    assert recomputed < 0.5 * kept


def test_figures_are_the_slope_times_the_crop(monkeypatch, tmp_path, capsys):
    """7 bytes a pixel and image grow with the crop, 1000 bytes do not."""

    def bytes_at(network, batch, crop, recomputed):
        grown = 7 * batch * crop[0] * crop[1] // (2 if recomputed else 1)
        return {part: {"held": 1000, "peak": 1000 + grown} for part in ("forward", "backward")}

    monkeypatch.setattr(memory, "_in_a_process", bytes_at)
    file = tmp_path / "memory.json"
    memory.main(["--networks", "stdc2_seg", "stdc1_seg", "--json", str(file)])
    figures = json.loads(file.read_text())
    for batch in (36, 48):
        gib = 7 * batch * 1024 * 512 / 2**30
        assert figures[f"gib_at_batch_{batch}"] == pytest.approx(gib)
        assert figures[f"gib_at_batch_{batch}_recompute"] == pytest.approx(gib / 2)
    assert len(figures["cases"]) == 8 and "stdc2_seg, batch 36, recompute" in capsys.readouterr().out


def test_chunks_shrink_with_the_crop(monkeypatch, capsys, device):
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", 2**28)
    memory.main(["--bytes_at", "64", "32", "--networks", "stdc1_seg", "--batches", "2", "--recompute", "yes"])
    assert cross_entropy.CHUNK_BYTES == 2**20
    # Only its names: the bytes are those of a process of its own, not of one whose other threads have ended.
    assert "optimizer" in json.loads(capsys.readouterr().out)
