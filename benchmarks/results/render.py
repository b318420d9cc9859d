"""What stands between the markers of README and docs: tables and single figures, made of the files beside this one."""

import csv
import json
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from compat import markdown_table

from benchmarks.results.words import CHINESE
from tool.speed.published import PUBLISHED

FOLDER = Path(__file__).parent
CASES = {  # of benchmarks.inference, as (network, (h, w))
    "STDC1-Seg50": ("stdc1_seg", (512, 1024)),
    "STDC1-Seg75": ("stdc1_seg", (768, 1536)),
    "STDC2-Seg50": ("stdc2_seg", (512, 1024)),
    "STDC2-Seg75": ("stdc2_seg", (768, 1536)),
    "BiSeSTDC50": ("bisestdc", (512, 1024)),
    "BiSeSTDC75": ("bisestdc", (768, 1536)),
    "DDRNet-23-slim": ("ddrnet23_slim", (1024, 2048)),
}
ENGINES = {  # of benchmarks.inference: how a column is called
    "eager fp32": "eager",
    "paddle fp32": "Paddle Inference",
    "onnxruntime fp32": "ONNX Runtime",
    "onnxruntime int8": "ONNX Runtime int8",
    "openvino fp32": "OpenVINO",
    "openvino bf16": "OpenVINO bf16",
    "openvino int8": "OpenVINO int8",
    "paddleseg eager": "PaddleSeg eager",
    "paddleseg exported": "PaddleSeg exported",
}
NAMES = {
    "stdc1_seg": "STDC1-Seg",
    "stdc2_seg": "STDC2-Seg",
    "bisestdc": "BiSeSTDC",
    "bisestdc2": "BiSeSTDC2",
    "ddrnet23": "DDRNet-23",
    "ddrnet23_slim": "DDRNet-23-slim",
}


def language_of(path: Path) -> str:
    """`zh` for the Chinese pages, `en` otherwise."""
    return "zh" if path.stem.endswith("_cn") or "cn" in path.parts else "en"


def read(name: str) -> Dict[str, Any]:
    """A results file by its name without suffix."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def table(language: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, its words in the language; the first `left` columns are flush left."""
    header, *rows = ([_in(language, cell) for cell in line] for line in (header, *rows))
    return markdown_table(header, rows, left)


def _in(language: str, text: str) -> str:
    return CHINESE.get(text, text) if language == "zh" else text


def measured(*names: str) -> Callable[[str], str]:
    """Machine, versions, commit, date and command of results files, as a list of Markdown."""

    def made(language: str) -> str:
        rows = []
        for name in names:
            about = read(name)["measured"]
            versions = ", ".join(f"{package} {about['versions'][package]}" for package in _telling(about["versions"]))
            machine = f"{about['machine']}, {about['threads']} {_in(language, 'threads')}"
            rows.append([f"`{name}`", machine, versions, about["commit"], about["date"], f"`{about['command']}`"])
        return table(language, ["file", "machine", "versions", "commit", "date", "command"], rows, left=6)

    return made


def _telling(versions: Mapping[str, str]) -> List[str]:
    return [name for name in ("paddlepaddle", "paddlepaddle-gpu", "paddleseg") if name in versions]


def results(language: str) -> str:
    """README's one table: what is measured here beside what is published."""
    rows = [
        [NAMES[network], f"CamVid 480x360, {iterations} iterations, {system}", _spread(values), "yes"]
        for (system, network, iterations), values in sorted(_headlines().items(), key=lambda item: item[0][1:])
    ]
    rows += [
        [one["network"], f"Cityscapes val, {one['setting']}", f"{one['miou']} ({one['source']})", "no"]
        for one in read("published")["cityscapes_val_miou"]
    ]
    return table(language, ["network", "data and setting", "mIoU", "measured here?"], rows, left=2)


def _headlines() -> Dict[tuple, Dict[int, float]]:
    """Of `camvid_runs`, from 600 iterations on: the default recipe, PaddleSeg, and the best of the other variants."""
    runs = {key: values for key, values in camvid_runs().items() if key[2] >= 600}
    chosen = {key: values for key, values in runs.items() if key[0] in ("this project", "PaddleSeg 2.8.0")}
    for group in {key[1:] for key in runs}:
        others = [key for key in runs if key[1:] == group and key not in chosen]
        if others:
            best = max(others, key=lambda key: statistics.mean(runs[key].values()))
            chosen[best] = runs[best]
    return chosen


def camvid_runs() -> Dict[tuple, Dict[int, float]]:
    """{(system, network, iterations): {seed: mIoU in percent}} of every run on CamVid; newer files win.

    Sources: camvid_*.json, the results of benchmarks.peers.paddleseg_training as paddleseg_camvid_*.json, and the CSV
    of benchmarks.ablation as ablation_*.csv, whose variants are systems of their own.
    """
    runs: Dict[tuple, Dict[int, float]] = {}
    for path in sorted(FOLDER.glob("camvid_*.json")):
        for one in read(path.stem)["runs"]:
            key = (one["system"], one["network"], one["iterations"])
            runs.setdefault(key, {})[one["seed"]] = one["miou"]
    for path in sorted(FOLDER.glob("paddleseg_camvid_*.json")):
        one = read(path.stem)
        runs.setdefault(("PaddleSeg 2.8.0", one["network"], one["iterations"]), {})[one["seed"]] = 100 * one["miou"]
    for path in sorted(FOLDER.glob("ablation_*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            for one in csv.DictReader(lines):
                system = "this project" if one["variant"] == "default" else f"this project, {one['variant']}"
                key = (system, "stdc1_seg", int(one["iters"]))
                runs.setdefault(key, {})[int(one["seed"])] = 100 * float(one["miou"])
    return runs


def _spread(values: Mapping[int, float]) -> str:
    """The mean, and each run where there are several."""
    cells = [f"{values[seed]:.1f}" for seed in sorted(values)]
    return cells[0] if len(cells) == 1 else f"{statistics.mean(values.values()):.1f} ({', '.join(cells)})"


def camvid(language: str) -> str:
    """Every run on CamVid: mIoU by system, network, iterations, and seed."""
    rows = [
        [system, NAMES[network], str(iterations), ", ".join(str(seed) for seed in sorted(values)), _spread(values)]
        for (system, network, iterations), values in sorted(camvid_runs().items(), key=lambda item: (-item[0][2], item))
    ]
    return table(language, ["system", "network", "iterations", "seeds", "mIoU (%): mean (each)"], rows, left=2)


def camvid_seconds(language: str) -> str:
    """Seconds an iteration of each network."""
    runs = read("camvid_300")["runs"]
    return table(
        language,
        ["", *(NAMES[one["network"]] for one in runs)],
        [["seconds an iteration", *(f"{one['seconds_per_iteration']:.1f}" for one in runs)]],
    )


def networks(language: str) -> str:
    """Parameters and multiply-accumulates of the deployed networks."""
    rows = [
        [f"`{one['name']}`", f"{one['deployed_parameters']:,}", f"{one['gmac_512x1024']:.2f}"]
        for one in read("networks")["networks"]
    ]
    return table(language, ["name", "deployed parameters", "GMAC at 512x1024"], rows)


def train_step(language: str) -> str:
    """Ours over PaddleSeg's: the step, the losses, memory."""
    rows = [
        [
            f"{NAMES[case['network']]}, {'x'.join(map(str, case['shape']))}",
            *(f"{case[f'ratio_{part}']:.2f}" for part in ("step", "losses", "memory")),
        ]
        for case in read("train_step")["cases"]
    ]
    return table(language, ["network, batch", "step", "losses and their gradients", "peak memory"], rows)


def input_pipeline(language: str) -> str:
    """Milliseconds of a training sample, and ours over PaddleSeg's."""
    figures = read("input_pipeline")
    titles = {"paddleseg": "PaddleSeg 2.8.0's transforms", "png": "this project, from PNG"}
    titles["cache"] = "this project, from the cache"
    rows = [
        [
            title,
            f"{figures['milliseconds'][name]:.1f}",
            "1" if name == "paddleseg" else f"{figures[f'ratio_{name}']:.2g}",
        ]
        for name, title in titles.items()
    ]
    return table(language, ["a 2048x1024 sample, one thread", "ms", "of PaddleSeg's time"], rows)


def memory(language: str) -> str:
    """GiB of a training step on a GPU's path: the largest, and what is held before the backward pass."""
    rows = []
    for case in read("memory")["cases"]:
        name = f"{NAMES[case['network']]}, {case['batch']}" + (", recompute" if case["recompute"] else "")
        before = list(case["parts"].values())[-3]  # the last loss
        rows.append([name, f"{case['gib']:.1f}", f"{before['held']:.1f}"])
    return table(language, ["network, batch of 1024x512", "peak, GiB", "held after the losses, GiB"], rows)


def launches(language: str) -> str:
    """Kernel launches of an iteration, ours and PaddleSeg's."""
    rows = [[NAMES[case["network"]], *map(str, case["launches"].values())] for case in read("launches")["cases"]]
    return table(language, ["network", "this project", "PaddleSeg"], rows)


def evaluation(language: str) -> str:
    """Our evaluator's time over that of paddleseg.core.evaluate."""
    figures = read("evaluation")
    titles = {
        "accumulation": "counting the areas of one image",
        "without_network": "everything but the network",
        "end_to_end": "a whole evaluation, 1024x2048 at scale 0.5",
    }
    rows = [[title, f"{figures[f'ratio_{name}']:.2f}"] for name, title in titles.items()]
    return table(language, ["", "of paddleseg.core.evaluate's time"], rows)


def processor(language: str) -> str:
    """A step and a prediction under each setting, over Paddle as it comes."""
    rows = [
        [choice, *(f"{found[what]:.2f}" for what in ("step", "prediction"))]
        for choice, found in read("processor")["ratios"].items()
    ]
    return table(language, ["setting", "training step", "prediction"], rows)


def inference(language: str) -> str:
    """Milliseconds of every network in every engine, the fastest of ours in bold, and published frames a second."""
    rows = []
    for case, figures in read("inference")["networks"].items():
        times = {name: figures["milliseconds"].get(name, {}).get("p50") for name in ENGINES}
        fastest = min((value, name) for name, value in times.items() if value and not name.startswith("paddleseg"))[1]
        cells = {name: "" if value is None else f"{value:.0f}" for name, value in times.items()}
        cells[fastest] = f"**{cells[fastest]}**"
        rows.append([case, *cells.values()])
    return table(language, ["ms", *ENGINES.values()], rows)


def inference_avx2(language: str) -> str:
    """Milliseconds with AVX-512 hidden."""
    times = read("inference_avx2")["milliseconds"]
    rows = [["STDC2-Seg50", *(f"{value:.0f}" for value in times.values())]]
    return table(language, ["ms", *(ENGINES[name] for name in times)], rows)


def published_speed(language: str) -> str:
    """Frames a second that the authors publish."""
    cases = {key: case for case, key in CASES.items()}
    rows = [[cases[key], f"{one.fps:g}", one.hardware] for key, one in PUBLISHED.items()]
    return table(language, ["network", "frames a second (published)", "hardware"], rows)


def int8(language: str) -> str:
    """Validation mIoU of float32 and of int8 networks."""
    return table(
        language, ["STDC1-Seg on CamVid", "mIoU"], [[k, f"{v:.2f}"] for k, v in read("int8_camvid")["miou"].items()]
    )


def deployed(language: str) -> str:
    """mIoU by the deployed way and by paddleseg's evaluation, at each scale, on the sample and on CamVid."""
    forms = {"scale": "g", "paddleseg": ".2f", "deployed": ".2f", "differing": ".2%"}
    rows = [
        [name, *(f"{row[key]:{form}}" for key, form in forms.items())]
        for name, file in (("sample", "deployed_sample"), ("CamVid", "deployed_camvid"))
        for row in read(file)["rows"]
    ]
    return table(language, ["on", "scale", "PaddleSeg's evaluation", "deployed way", "pixels that differ"], rows)


def demo(language: str) -> str:
    """What make demo reaches and takes."""
    rows = [[one["paddle"], f"{one['miou']:.1f}", f"{one['minutes']:.0f}"] for one in read("demo")["runs"]]
    return table(language, ["Paddle", "mIoU", "minutes, installation included"], rows)


def fidelity(language: str) -> str:
    """The largest error of each kind of reference file, and its limit."""
    rows: Dict[str, List[float]] = {}
    for row in read("fidelity")["rows"]:
        kind = "losses" if row["file"] == "losses" else "training run" if row["file"].startswith("traj") else "networks"
        if kind == "training run":
            kind = "training run, rate and final norms" if row["limit"] < 1e-4 else "training run, losses of 20 steps"
        found = rows.setdefault(kind, [0, 0.0, 0.0])
        rows[kind] = [found[0] + 1, max(found[1], row["error"]), max(found[2], row["limit"])]
    cells = [[kind, str(count), f"{error:.1e}", f"{limit:.0e}"] for kind, (count, error, limit) in rows.items()]
    return table(language, ["compared with the original", "values", "largest relative error", "limit"], cells)


def single(name: str, form: str, *keys: str) -> Callable[[str], str]:
    """One figure of a file, by its keys, in a format."""

    def made(_language: str) -> str:
        value: Any = read(name)
        for key in keys:
            value = value[key]
        return format(value, form)

    return made


FIGURES: Dict[str, Callable[[str], str]] = {
    "results": results,
    "camvid": camvid,
    "camvid_seconds": camvid_seconds,
    "networks": networks,
    "train_step": train_step,
    "input_pipeline": input_pipeline,
    "evaluation": evaluation,
    "memory": memory,
    "launches": launches,
    "processor": processor,
    "inference": inference,
    "inference_avx2": inference_avx2,
    "published_speed": published_speed,
    "int8": int8,
    "demo": demo,
    "deployed": deployed,
    "fidelity": fidelity,
    "measured": measured(
        "camvid_600",
        "camvid_300",
        "demo",
        "deployed_camvid",
        "deployed_sample",
        "evaluation",
        "fidelity",
        "inference",
        "inference_avx2",
        "input_pipeline",
        "int8_camvid",
        "launches",
        "memory",
        "processor",
        "random_detail_target",
        "train_step",
    ),
    "empty_target": single("random_detail_target", ".0%", "empty"),
    "batch_of_36": single("input_pipeline", ".2f", "seconds_per_batch_of_36_from_cache"),
    "decoding": single("input_pipeline", ".1f", "stages", "png", "decode"),
    "ratio_to_paddleseg": single("inference", ".1f", "ratio_to_paddleseg_eager"),
    "ratio_to_paddleseg_with_our_settings": single("inference", ".1f", "ratio_to_paddleseg_eager_with_our_settings"),
    "peak_fp32": single("inference", ".0f", "peak_gmacs_per_second", "fp32"),
    "peak_bf16": single("inference", ".0f", "peak_gmacs_per_second", "bf16"),
    "peak_int8": single("inference", ".0f", "peak_gmacs_per_second", "int8"),
}
