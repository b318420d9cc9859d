"""Train PaddleSeg 2.8.0's STDCSeg on CamVid with paddleseg.core.train, and score it with paddleseg.core.evaluate.

This is the counterpart of `python train.py --config configs/stdc1_seg_camvid.yml`: the same images, batch size, crop,
learning rate, schedule and number of iterations, with PaddleSeg's network, losses, transforms and trainer
(paddleseg_stdc_camvid.yml). This project contributes `compat`'s repairs, without which PaddleSeg's trainer crashes, and
labels whose void class is 255.

The same command resumes a run that was stopped from its newest checkpoint in --save_dir. PaddleSeg then starts a new
epoch, so such a run sees the images in another order than an uninterrupted one.
"""

import random
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import compat
from compat import UserError, check_writable, logger

import cv2
import numpy as np
import paddle
import paddleseg.core
from paddleseg.cvlibs import Config, SegBuilder

from benchmarks.figures.record import write_figures
from data import SegmentationDataset, build_dataset
from engine.command import choose_device, parser, run, whole_number

CONFIG = Path(__file__).with_name("paddleseg_stdc_camvid.yml")
BACKBONES = {"stdc1_seg": "STDC1", "stdc2_seg": "STDC2"}
SPLITS = ("train", "val")
WEIGHTS, OPTIMIZER = "model.pdparams", "model.pdopt"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Train, score, print and write `result.json` in the folder of the run."""
    options = _parser().parse_args(argv)
    check_writable(options.json)
    choose_device(options.device)
    compat.repair_paddleseg()
    save_dir = options.save_dir
    lists = write_lists(options.dataset_root, save_dir / "camvid")
    config = Config(str(CONFIG), iters=options.iters, batch_size=options.batch_size)
    config.dic["model"]["backbone"]["type"] = BACKBONES[options.network]
    for split in SPLITS:
        config.dic[f"{split}_dataset"][f"{split}_path"] = str(lists / f"{split}.txt")
    with paddle.utils.unique_name.guard():  # parameters are numbered from 0, so that optimiser states fit
        result = train_and_score(SegBuilder(config), options)
    print(
        f"PaddleSeg STDCSeg ({BACKBONES[options.network]}), {options.iters} iterations, seed {options.seed}: mIoU "
        f"{result['miou']:.4f}, pixel accuracy {result['accuracy']:.4f}"
    )
    write_figures(options.json or save_dir / "result.json", result)


def write_lists(dataset_root: str, folder: Path) -> Path:
    """Label files with 255 for void, and the lists that PaddleSeg's Dataset reads; returns their folder."""
    for split in SPLITS:
        dataset: SegmentationDataset = build_dataset("CamVid", dataset_root, split, cache="never")
        lines: List[str] = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index, sample in enumerate(dataset.samples):
            label = folder.absolute() / split / f"{sample.image.stem}.png"
            if not label.is_file():
                cv2.imwrite(str(label), dataset.read_label(index))
            lines.append(f"{sample.image.absolute()}\t{label}")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def train_and_score(builder: SegBuilder, options: Any) -> Dict[str, Any]:
    """Train to the last iteration, from the newest checkpoint if there is one, then score at full size."""
    config = builder.config
    done = newest_checkpoint(options.save_dir)
    start = iteration_of(done) if done else 0
    if start > config.iters:
        raise UserError(f"{done}: is past --iters {config.iters}; choose another --save_dir")
    seed_everything(options.seed)
    model, losses, optimizer = builder.model, builder.loss, builder.optimizer  # the weights are drawn here
    seed_everything(options.seed + start)  # a resumed run draws other crops than the run's first ones
    if start < config.iters:
        paddleseg.core.train(
            model,
            builder.train_dataset,
            optimizer=optimizer,
            save_dir=str(options.save_dir),
            iters=config.iters,
            batch_size=config.batch_size,
            resume_model=str(done) if done else None,
            save_interval=options.save_interval,
            log_iters=options.log_iters,
            num_workers=options.num_workers,
            losses=losses,
            keep_checkpoint_max=2,
        )
    else:
        model.set_state_dict(paddle.load(str(done / WEIGHTS)))
        logger.info("%s: is already trained and only scored", done)
    miou, accuracy, class_iou, _, kappa = paddleseg.core.evaluate(model, builder.val_dataset, **config.test_config)
    return {
        "network": options.network,
        "iterations": config.iters,
        "batch_size": config.batch_size,
        "seed": options.seed,
        "resumed_at": start,
        "miou": float(miou),
        "accuracy": float(accuracy),
        "kappa": float(kappa),
        "class_iou": [float(value) for value in class_iou],
        "fuse_kernel": [float(value) for value in losses["types"][-1].fuse_kernel.flatten()],
    }


def newest_checkpoint(save_dir: Path) -> Optional[Path]:
    """The last iter_N whose two files can be read; PaddleSeg does not write them atomically."""
    for folder in sorted(save_dir.glob("iter_*"), key=iteration_of, reverse=True):
        try:
            for name in (WEIGHTS, OPTIMIZER):
                paddle.load(str(folder / name))
        except Exception as error:  # whatever a half-written file makes paddle.load raise
            logger.warning("%s: is incomplete and is skipped (%s)", folder, type(error).__name__)
        else:
            return folder
    return None


def iteration_of(folder: Path) -> int:
    """N of iter_N."""
    number = folder.name.partition("_")[2]
    return int(number) if number.isdigit() else 0


def seed_everything(seed: int) -> None:
    """The generators that PaddleSeg draws from."""
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)


def _parser():
    example = "python -m benchmarks.peers.paddleseg_training --iters 600 --seed 0 --save_dir output/peer_600_0"
    arguments = parser(__doc__, example)
    add = arguments.add_argument
    add("--dataset_root", default="data/camvid", help="CamVid as train, trainannot, val, valannot (data/camvid)")
    add("--save_dir", type=Path, required=True, help="folder of the run; an unfinished one is resumed")
    add("--network", choices=BACKBONES, default="stdc1_seg", help="which of PaddleSeg's backbones (stdc1_seg)")
    add("--iters", type=whole_number(1), default=600, help="iterations of the whole run (600)")
    add("--batch_size", type=whole_number(1), default=8, help="images an iteration (8)")
    add("--seed", type=whole_number(), default=0, help="of weights, crops and the random mix of the detail loss (0)")
    add("--save_interval", type=whole_number(1), default=100, help="iterations between two checkpoints (100)")
    add("--log_iters", type=whole_number(1), default=10, help="iterations between two log lines (10)")
    add("--num_workers", type=whole_number(), default=0, help="processes that load images (0)")
    add("--device", help="cpu, gpu or gpu:N; by default the GPU where there is one")
    add("--json", type=Path, metavar="F", help="write the result to F instead of SAVE_DIR/result.json")
    return arguments


if __name__ == "__main__":
    run(main)
