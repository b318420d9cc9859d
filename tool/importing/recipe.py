"""The recipe of an imported dataset, with its choices explained."""

import json
import os
import shlex
from pathlib import Path
from typing import Optional

from data.classes import ClassSet
from data.transforms import Normalize
from tool.importing.dataset import Written

CONFIGS = Path(__file__).parents[2] / "configs"
RARE = 0.01  # share of the pixels below which the loss weights classes by their frequency
LARGEST_CROP = (1024, 512)
NETWORK = "stdc1_seg"  # of the base
IMAGENET = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TEMPLATE = """\
# {kind} from {source}, imported by python -m tool.prepare_data import.
#   python train.py --config {recipe}{start}
# Every value is a suggestion; change what you know better.
_base_: {base}
# {train} training images, {epochs:.0f} epochs in batches of {batch_size}. Halve batch_size if memory runs out.
batch_size: {batch_size}
iters: {iters}
save_interval: {save_interval}

train_dataset: &dataset
  type: Dataset
  dataset_root: {root}
  mode: train
  train_path: train.txt
  val_path: val.txt
  num_classes: {num_classes}
  classes:  # names and colours, in the order of their numbers in labels/
{classes}
  transforms:
    - {{type: ResizeStepScaling, min_scale_factor: 0.5, max_scale_factor: 1.5, scale_step_size: 0.125}}
    - {{type: RandomHorizontalFlip}}  # remove it where left and right differ, as for lanes or letters
    # {crop_reason}
    - {{type: RandomPaddingCrop, crop_size: [{crop[0]}, {crop[1]}]}}
    - {{type: RandomDistort, brightness_range: 0.5, contrast_range: 0.5, saturation_range: 0.5, hue_prob: 0.0}}
    # the statistics that {expected_by}
    - &normalize {{type: Normalize, mean: {mean}, std: {std}}}

val_dataset:
  <<: *dataset
  mode: val
  transforms:
    - *normalize
{loss}
lr_scheduler:
  learning_rate: {rate:g}  # 0.01 for 8 images, in proportion to the batch
  warmup_iters: {warmup}
  warmup_start_lr: 1.0e-5

# {scale_reason}
test_config:
  full: {{aug_eval: true, scales: {scale}}}
"""
WEIGHTED = """
# Below {rare:g} % of the training pixels: {names}. Each class therefore counts by its frequency.
loss:
  main: {{type: CrossEntropyLoss, class_weights: auto, _inherited_: false}}
"""


FEW_IMAGES = """
# With few images, start from Cityscapes weights: --finetune stdc1_seg_mmseg --finetune_classes by_name"""


def recipe_text(
    kind: str,
    source: Path,
    file: Path,
    written: Written,
    classes: ClassSet,
    finetune: Optional[str] = None,
    normalize: Optional[Normalize] = None,
) -> str:
    """The YAML text of a recipe.

    Args:
        kind: kind of the source, such as `LabelMe`.
        source: where the dataset was imported from.
        file: the recipe's file, relative to which its base is named.
        written: the dataset.
        classes: names and colours.
        finetune: weights that training will start from, as its flag takes them.
        normalize: how they expect images, by default as the published weights of ImageNet and Cityscapes do.
    """
    train = written.images["train"]
    batch_size = min(8, train)
    iters = int(min(max(100 * train / batch_size, 300), 80_000))
    crop = tuple(max(32, min(limit, side // 32 * 32)) for limit, side in zip(LARGEST_CROP, written.smallest))
    large = max(written.largest) > 1600
    colors = (f"    {_quoted(name)}: [{r}, {g}, {b}]" for name, (r, g, b) in zip(classes.names, classes.colors))
    return TEMPLATE.format(
        kind=kind,
        source=_quoted(source.name),
        recipe=shlex.quote(file.as_posix()),
        base=_quoted(Path(os.path.relpath(CONFIGS / "_base_" / "stdc_seg.yml", file.parent.resolve())).as_posix()),
        start=f" --finetune {shlex.quote(finetune)}" if finetune else FEW_IMAGES,
        expected_by=f"{finetune} expects" if normalize else "the published ImageNet and Cityscapes weights expect",
        mean=list((normalize or IMAGENET).mean),
        std=list((normalize or IMAGENET).std),
        train=train,
        batch_size=batch_size,
        epochs=iters * batch_size / train,
        iters=iters,
        save_interval=max(1, iters // 10),
        root=_quoted(written.folder.as_posix()),
        num_classes=len(classes.names),
        classes="\n".join(colors),
        crop=crop,
        crop_reason=f"a multiple of 32 within the smallest image, {written.smallest[0]}x{written.smallest[1]}",
        loss=_loss(written, classes),
        rate=0.01 * batch_size / 8,
        warmup=min(1000, iters // 6),
        scale=0.5 if large else 1.0,
        scale_reason="images are evaluated at half their size, as Seg50 does" if large else "evaluated at full size",
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is valid YAML


def _loss(written: Written, classes: ClassSet) -> str:
    counted = max(1, written.pixels[:-1].sum())
    rare = [name for name, count in zip(classes.names, written.pixels) if 0 < count < RARE * counted]
    return WEIGHTED.format(rare=100 * RARE, names=", ".join(rare)) if rare else ""
