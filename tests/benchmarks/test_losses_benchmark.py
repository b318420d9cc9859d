"""benchmarks.losses: every loss of the classes is timed, and its memory is that of a fresh process."""

import json

from benchmarks import losses
from loss.criterion import LOSSES


def test_every_loss_of_the_classes_is_measured():
    assert set(losses.LOSSES) == set(LOSSES) - {"DetailAggregateLoss"}


def test_figures(tmp_path, capsys):
    file = tmp_path / "losses.json"
    losses.main(["--shape", "2", "4", "33", "40", "--rounds", "1", "--json", str(file)])
    figures = json.loads(file.read_text())
    assert set(figures["seconds"]) == set(figures["memory_mib"]) == set(losses.LOSSES)
    assert all(value > 0 for value in figures["seconds"].values()) and "measured" in figures
    printed = capsys.readouterr().out
    assert all(name in printed for name in losses.LOSSES) and "logits [2, 4, 33, 40]" in printed


def test_labels_are_cells_with_ignored_pixels():
    logits, labels = losses.random_batch([2, 5, 33, 40])
    assert logits.shape == [2, 5, 33, 40] and labels.shape == [2, 33, 40] and not logits.stop_gradient
    assert (labels[:, :16, :16] == 255).all() and (labels[:, 16:] < 5).all()
