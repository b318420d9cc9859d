"""PaddleSeg's training on CamVid: it runs, resumes, leaves out incomplete checkpoints, and is scored."""

import json

from compat import UserError

import cv2
import numpy as np
import paddleseg.core
import pytest

from benchmarks.peers import paddleseg_training


@pytest.fixture
def camvid(tmp_path):
    """Two pairs a split of 32 x 48, with the classes 0 to 10 and void (11)."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for folder, channels in ((split, (3,)), (f"{split}annot", ())):
            (tmp_path / folder).mkdir()
            for number in range(2):
                pixels = rng.integers(0, 12 if not channels else 256, (32, 48, *channels), dtype=np.uint8)
                cv2.imwrite(str(tmp_path / folder / f"{number}.png"), pixels)
    return tmp_path


def test_it_trains_resumes_and_scores(camvid, tmp_path, capsys, monkeypatch):
    configured = []
    build = paddleseg_training.SegBuilder

    def with_small_crops(config):
        configured.append(config.dic)
        config.dic["train_dataset"]["transforms"][2]["crop_size"] = [64, 32]
        return build(config)

    monkeypatch.setattr(paddleseg_training, "SegBuilder", with_small_crops)
    save_dir = tmp_path / "run"
    arguments = [
        "--dataset_root",
        str(camvid),
        "--save_dir",
        str(save_dir),
        "--batch_size",
        "2",
        "--save_interval",
        "1",
    ]
    paddleseg_training.main([*arguments, "--iters", "1"])
    first = json.loads((save_dir / "result.json").read_text())
    (save_dir / "iter_9").mkdir()
    (save_dir / "iter_9" / "model.pdparams").write_bytes(b"half a file")
    paddleseg_training.main([*arguments, "--iters", "2"])
    assert "2 iterations, seed 0: mIoU" in capsys.readouterr().out
    second = json.loads((save_dir / "result.json").read_text())
    assert (first["resumed_at"], second["resumed_at"]) == (0, 1)
    assert first["fuse_kernel"] == second["fuse_kernel"]  # a resumed run keeps the mix that it began with
    assert second["measured"]["versions"]["paddleseg"] == "2.8.0" and len(second["class_iou"]) == 11
    assert str(tmp_path) not in json.dumps(second["measured"])
    label = cv2.imread(str(save_dir / "camvid" / "val" / "1.png"), cv2.IMREAD_UNCHANGED)
    source = cv2.imread(str(camvid / "valannot" / "1.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(label == 255, source == 11) and np.array_equal(label[label < 255], source[source < 11])
    with pytest.raises(UserError, match="past --iters 1"):
        paddleseg_training.main([*arguments, "--iters", "1"])


def test_the_score_is_paddlesegs(camvid, tmp_path, monkeypatch):
    """A finished run is scored again, by paddleseg.core.evaluate at full size without flips."""
    asked = {}

    def score(model, dataset, **options):
        asked.update(options, images=len(dataset))
        return 0.5, 0.75, np.full(11, 0.5), None, 0.25

    monkeypatch.setattr(paddleseg.core, "train", lambda *_, **__: None)
    monkeypatch.setattr(paddleseg.core, "evaluate", score)
    figures = tmp_path / "out" / "figures.json"
    arguments = ["--dataset_root", str(camvid), "--save_dir", str(tmp_path / "run"), "--json", str(figures)]
    paddleseg_training.main(arguments)
    written = json.loads(figures.read_text())
    assert (written["miou"], written["accuracy"], written["iterations"]) == (0.5, 0.75, 600)
    assert asked == {"aug_eval": True, "scales": 1.0, "images": 2}
