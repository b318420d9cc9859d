"""What stands between the markers of README and docs, by name."""

import csv
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping

from benchmarks.figures import accuracy, files, pruning, speed
from benchmarks.figures.files import in_language, read, table


def measured(language: str) -> str:
    """Machine, versions, commit, date and command of every results file, as a Markdown table."""
    rows = []
    for name in sorted(path.stem for path in files.FOLDER.glob("*.json")):
        about = read(name).get("measured")
        if about is None:  # figures that others published
            continue
        versions = ", ".join(f"{package} {about['versions'][package]}" for package in _telling(about["versions"]))
        threads = in_language(language, "thread" if about["threads"] == 1 else "threads")
        machine = f"{about['machine']}, {about['threads']} {threads}"
        rows.append([f"`{name}`", machine, versions, about["commit"], about["date"], f"`{about['command']}`"])
    rows += [_ablation(path) for path in sorted(files.FOLDER.glob("ablation_*.csv"))]
    return table(language, ["file", "machine", "versions", "commit", "date", "command"], rows, left=6)


def _ablation(path: Path) -> List[str]:
    """The same of a CSV of benchmarks.ablation, whose runs may differ in it."""
    with path.open(encoding="utf-8", newline="") as lines:
        runs = list(csv.DictReader(lines))
    machine, paddle, commit, date = (
        ", ".join(sorted({run[key] for run in runs})) for key in ("processor", "paddle", "commit", "date")
    )
    plan = f"configs/ablation/{path.stem.removeprefix('ablation_')}.yml"
    command = f"`python -m benchmarks.ablation --config {plan}`"
    return [f"`{path.stem}`", machine, f"paddlepaddle {paddle}", commit, date, command]


def _telling(versions: Mapping[str, str]) -> List[str]:
    return [name for name in ("paddlepaddle", "paddlepaddle-gpu", "paddleseg") if name in versions]


def single(name: str, form: str, *keys: str) -> Callable[[str], str]:
    """One figure of a file, by its keys, in a format."""

    def made(_language: str) -> str:
        value: Any = read(name)
        for key in keys:
            value = value[key]
        return format(value, form)

    return made


FIGURES: Dict[str, Callable[[str], str]] = {
    "results": accuracy.results,
    "camvid": accuracy.camvid,
    "levers": accuracy.levers,
    "camvid_seconds": speed.camvid_seconds,
    "networks": speed.networks,
    "train_step": speed.train_step,
    "input_pipeline": speed.input_pipeline,
    "evaluation": speed.evaluation,
    "memory": speed.memory,
    "launches": speed.launches,
    "processor": speed.processor,
    "inference": speed.inference,
    "inference_avx2": speed.inference_avx2,
    "published_speed": speed.published_speed,
    "int8": accuracy.int8,
    "demo": accuracy.demo,
    "deployed": accuracy.deployed,
    "pruned": pruning.accuracy,
    "pruned_formats": pruning.formats,
    "fidelity": accuracy.fidelity,
    "measured": measured,
    "default_mean": accuracy.default_mean,
    "default_deviation": accuracy.default_deviation,
    "best_above_default": accuracy.best_gain(accuracy.OURS),
    "best_above_paddleseg": accuracy.best_gain(accuracy.PADDLESEG),
    "empty_target": single("random_detail_target", ".0%", "empty"),
    "batch_of_36": single("input_pipeline", ".2f", "seconds_per_batch_of_36_from_cache"),
    "decoding": single("input_pipeline", ".1f", "stages", "png", "decode"),
    "normalizing": single("input_pipeline", ".1f", "stages", "paddleseg", "Normalize"),
    "ratio_to_paddleseg": single("inference", ".1f", "ratio_to_paddleseg_eager"),
    "ratio_to_paddleseg_with_our_settings": single("inference", ".1f", "ratio_to_paddleseg_eager_with_our_settings"),
    "peak_fp32": single("inference", ".0f", "peak_gmacs_per_second", "fp32"),
    "peak_bf16": single("inference", ".0f", "peak_gmacs_per_second", "bf16"),
    "peak_int8": single("inference", ".0f", "peak_gmacs_per_second", "int8"),
}
