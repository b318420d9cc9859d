"""Two processes on one CPU, by Paddle's launcher."""

import subprocess
import sys


def test_two_processes_train_one_network(sample_root, tmp_path):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", tmp_path / "ranks"]
    flags = ["--config", "configs/stdc1_seg_sample.yml", "--dataset_root", sample_root, "--save_dir", tmp_path / "out"]
    flags += ["--iters", 2, "--batch_size", 1, "--accumulate", 2, "--log_iters", 1, "--learning_rate", "auto"]
    flags += ["--opts", "train_dataset.transforms.RandomPaddingCrop.crop_size=[64,64]"]
    command = [sys.executable, *launch, "train.py", *flags]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=180)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    log = (tmp_path / "out" / "train.log").read_text()
    assert log.count("iter: 2/2") == 1 and log.count("[EVAL] full: #Images: 3") == 1
    assert (tmp_path / "out" / "iter_2" / "model.pdopt").is_file()
    spoken = "".join(path.read_text() for path in (tmp_path / "ranks").glob("workerlog.*"))
    assert "becomes 0.01 for 4 (batch 1 on 2 device(s), accumulated 2)" in spoken
