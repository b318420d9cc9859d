"""The commands as a user types them: what they write, and one clear line with status 1 for a mistake of the user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from models import build_model

SAMPLE = "configs/stdc1_seg_sample.yml"
SMALL = ["train_dataset.transforms.RandomPaddingCrop.crop_size=[64,64]", "batch_size=2"]


def command(*arguments, status=0):
    """Run a command in a process of its own; returns its output. Errors must be short and without a traceback."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    if status:
        assert "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        return lines[0]
    return done.stdout + done.stderr


def in_process(main, *arguments):
    """Run a command's main here, which is quicker; returns its error line."""
    from compat import UserError

    with pytest.raises(UserError) as raised:
        main([str(argument) for argument in arguments])
    return str(raised.value)


def train_main():
    import train

    return train.main


@pytest.fixture(scope="module")
def trained(sample_root, tmp_path_factory):
    """A folder with what two iterations of training wrote, by the command."""
    folder = tmp_path_factory.mktemp("trained")
    output = command(
        "train.py", "--config", SAMPLE, "--dataset_root", sample_root, "--save_dir", folder, "--iters", 2,
        "--learning_rate", "auto", "--log_iters", 1, "--seed", 1, "--opts", *SMALL,
    )  # fmt: skip
    assert "becomes 0.005 for 2" in output and "iter: 2/2" in output and "[EVAL] full" in output
    return folder


def test_evaluate_command(trained, sample_root, tmp_path, capsys):
    """A checkpoint's folder and its weight file are the same network; each scale is a protocol of its own figures."""
    from tool.evaluate import main

    def scores(model_path, *flags):
        figures = tmp_path / "figures.json"
        common = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--json", str(figures)]
        main([*common, "--model_path", str(model_path), *flags])
        return json.loads(figures.read_text())["protocols"]

    (best,), (last,) = scores(trained / "best_model").values(), scores(trained / "iter_2" / "model.pdparams").values()
    assert best["confusion"] == last["confusion"] and sum(map(sum, best["confusion"])) > 0
    (scaled,) = scores(trained / "best_model", "--scales", "0.5", "1").values()
    assert scaled["confusion"] != best["confusion"] and "scales 0.5 1" in capsys.readouterr().out


def test_predict_command(trained, sample_root, tmp_path, capsys):
    from tool.predict import main

    image = next((sample_root / "leftImg8bit" / "val").rglob("*.png"))
    common = ["--config", SAMPLE, "--model_path", str(trained / "best_model")]
    (tmp_path / "list.txt").write_text(f"{image}\n")
    for name, extra in {
        "file": ["--image_path", str(image)],
        "folder": ["--image_path", str(image.parent)],
        "list": ["--image_path", str(tmp_path / "list.txt")],
        "split": ["--dataset_root", str(sample_root)],
    }.items():
        main([*common, *extra, "--save_dir", str(tmp_path / name)])
        for kind in ("pseudo_color_prediction", "added_prediction", "side_by_side"):
            written = sorted((tmp_path / name / kind).rglob("*.png"))
            assert len(written) == (1 if name in ("file", "list") else 3)
            assert cv2.imread(str(written[0])).ndim == 3
    assert "3 images in" in capsys.readouterr().out


def test_prepare_data_lists_and_check(sample_root, tmp_path, capsys):
    from tool.prepare_data import main

    main(["cityscapes", "--dataset_root", str(sample_root), "--save_dir", str(tmp_path)])
    first = (tmp_path / "train.txt").read_text().splitlines()[0].split(",")
    assert len(first) == 2 and all((sample_root / name).is_file() for name in first)
    sheet = tmp_path / "sheet.png"
    assert main(["check", "--dataset_root", str(sample_root), "--sheet", str(sheet)]) == 0
    output = capsys.readouterr().out
    assert "train: 6 images" in output and "0 problem(s)" in output and cv2.imread(str(sheet)).shape[0] > 300


def test_check_names_everything_that_is_wrong(tmp_path, capsys):
    from tool.prepare_data import main

    def write(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)

    g = np.random.default_rng(0)
    for mode, names in (("train", "abcd"), ("val", "ae")):
        for name in names:
            image = np.full((8, 8, 3), 9, np.uint8) if name == "a" else g.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            write(tmp_path / mode / f"{name}.png", image)
            write(tmp_path / f"{mode}annot" / f"{name}.png", np.zeros((8, 8), np.uint8))
    write(tmp_path / "trainannot" / "b.png", np.full((8, 8), 77, np.uint8))
    write(tmp_path / "trainannot" / "c.png", np.zeros((8, 7), np.uint8))
    (tmp_path / "train" / "d.png").write_bytes((tmp_path / "train" / "d.png").read_bytes()[:-20])
    (tmp_path / "valannot" / "e.png").unlink()
    write(tmp_path / "valannot" / "f.png", np.zeros((8, 8), np.uint8))
    assert main(["check", "--type", "CamVid", "--dataset_root", str(tmp_path), "--sheet", str(tmp_path / "s.png")]) == 1
    output = capsys.readouterr().out
    for words in (
        "b.png: the label value 77 (64 pixels) is none of the 11 classes",
        "c.png: size 7x8, but its image has 8x8",
        "d.png: not a complete image",
        "e.png: has no label",
        "f.png: has no image",
        "the same image in several splits",
        "the labels hold a single class, sky",
        "7 problem(s)",
    ):
        assert words in output, output


# --- bad input --------------------------------------------------------------------------------------------------------


def test_without_the_default_dataset_train_says_what_to_do(tmp_path):
    project = Path.cwd()
    done = subprocess.run(
        [sys.executable, project / "train.py", "--save_dir", tmp_path / "out"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "data/cityscapes: no such dataset folder" in done.stderr and "make demo" in done.stderr


def test_wrong_arguments_have_status_2():
    done = subprocess.run([sys.executable, "train.py", "--itres", "3"], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--opts", "batchsize=3"], "the key 'batchsize' is not known; did you mean batch_size"),
        (["--batch_size", "7"], "a batch of 7 is larger than the dataset of 6 images"),
        (["--device", "gpu:64"], "--device gpu:64: "),
        (["--device", "tpu"], "use cpu, gpu or gpu:N"),
        (["--config", "configs/none.yml"], "configs/none.yml: no such recipe"),
        (["--load_from", "none.pdparams"], "none.pdparams: no such weight file"),
        (["--opts", "model.type=stdc3_seg"], "model: type 'stdc3_seg' is not known; did you mean stdc"),
        (["--opts", "model.detail_strides=[3]"], "detail_strides: 3"),
        (["--opts", "model.backbone.pretrained=none.pdparams"], "none.pdparams: no such weight file"),
        (["--opts", "val_dataset.type=CamVid"], "19 classes"),
    ],
)
def test_train_refuses(arguments, message, sample_root, tmp_path):
    common = ["--config", SAMPLE, "--dataset_root", sample_root, "--save_dir", tmp_path / "out"]
    if "val_dataset.type=CamVid" in arguments:
        for folder in ("val", "valannot"):
            (tmp_path / folder).mkdir()
            cv2.imwrite(str(tmp_path / folder / "a.png"), np.zeros((4, 4), np.uint8))
        arguments = [*arguments, f"val_dataset.dataset_root={tmp_path}"]
    assert message in in_process(train_main(), *common, *arguments)


def test_unwritable_save_dir(sample_root, tmp_path):
    (tmp_path / "file").write_text("")
    save_dir = tmp_path / "file" / "out"
    error = command(
        "train.py",
        "--config",
        SAMPLE,
        "--dataset_root",
        sample_root,
        "--save_dir",
        save_dir,
        "--opts",
        *SMALL,
        status=1,
    )
    assert f"{save_dir}: cannot write there" in error and "--save_dir" in error


def test_a_truncated_image_while_training(sample_root, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(sample_root, root)
    for image in (root / "leftImg8bit" / "train").rglob("*.png"):
        image.write_bytes(image.read_bytes()[:-40])
    flags = ["--config", SAMPLE, "--dataset_root", root, "--iters", 1, "--save_dir", tmp_path / "out"]
    for workers in (0, 1):
        error = command("train.py", *flags, "--num_workers", workers, "--opts", *SMALL, status=1)
        assert "_leftImg8bit.png: not a complete image file" in error


def test_a_wrong_number_of_classes_in_a_checkpoint(sample_root, tmp_path):
    from tool.evaluate import main

    paddle.save(build_model("stdc1_seg", 5).state_dict(), str(tmp_path / "five.pdparams"))
    flags = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--model_path", str(tmp_path / "five.pdparams")]
    error = in_process(main, *flags)
    assert "has 5 classes, the recipe's dataset 19." in error and "train.py --finetune" in error


def test_files_that_are_no_weights(sample_root, tmp_path):
    from tool.evaluate import main

    for name, content in (
        ("text.pdparams", b"hello"),
        ("empty.pdparams", b""),
        ("zip.pdparams", b"PK\x03\x04" + b"0" * 60),
    ):
        (tmp_path / name).write_bytes(content)
        flags = ["--config", SAMPLE, "--dataset_root", str(sample_root), "--model_path", str(tmp_path / name)]
        assert name in in_process(main, *flags)


def test_predict_refuses(trained, tmp_path):
    from tool.predict import main

    common = ["--config", SAMPLE, "--model_path", trained / "best_model", "--save_dir", tmp_path / "out"]
    assert "nothing.jpg: no such image" in in_process(main, *common, "--image_path", tmp_path / "nothing.jpg")
    (tmp_path / "empty").mkdir()
    assert "empty: holds no image" in in_process(main, *common, "--image_path", tmp_path / "empty")
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png: not a complete image" in in_process(main, *common, "--image_path", tmp_path / "text.png")


# --- real frames ------------------------------------------------------------------------------------------------------

CAMVID = Path(os.environ.get("STDC_CAMVID", "../shared/camvid"))


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid in {CAMVID}; name its place in STDC_CAMVID")
def test_the_loss_falls_on_real_frames(tmp_path):
    import re

    output = command(
        "train.py", "--config", "configs/stdc1_seg_camvid.yml", "--dataset_root", CAMVID, "--save_dir", tmp_path,
        "--iters", 16, "--batch_size", 4, "--log_iters", 4, "--no_validate", "--opts", "lr_scheduler.warmup_iters=4",
    )  # fmt: skip
    losses = [float(loss) for loss in re.findall(r" loss: (\d+\.\d+)", output)]
    assert len(losses) == 4 and losses[-1] < 0.85 * losses[0]
