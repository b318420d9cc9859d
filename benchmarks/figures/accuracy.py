"""How accurate the networks are: mIoU measured here and published, what deployment costs, and the fidelity."""

import csv
import statistics
from typing import Callable, Dict, List, Mapping

from benchmarks.figures import files
from benchmarks.figures.files import NAMES, read, table

OURS, PADDLESEG = "this project", "PaddleSeg 2.8.0"
SYSTEMS = {"default": OURS, "best": f"{OURS}, configs/best"}  # by variant of configs/ablation
COMPLETE = 4000  # iterations; shorter runs compare options, and are in docs/benchmarks.md alone


def results(language: str) -> str:
    """README's one table: what is measured here beside what is published."""
    rows = [
        [NAMES[network], f"CamVid 480x360 val, {iterations} iterations, {system}", _spread(values), "yes"]
        for (system, network, iterations), values in sorted(
            _headlines().items(), key=lambda item: (item[0][1:], -statistics.mean(item[1].values()))
        )
    ]
    published = read("published")
    for data, key in (("CamVid 480x360 test", "camvid_test_miou"), ("Cityscapes val", "cityscapes_val_miou")):
        rows += [
            [one["network"], f"{data}, {one['setting']}", f"{one['miou']} ({one['source']})", "no"]
            for one in published[key]
        ]
    return table(language, ["network", "data and setting", "mIoU", "measured here?"], rows, left=2)


def _headlines() -> Dict[tuple, Dict[int, float]]:
    """Of the complete `camvid_runs`: the default recipe, PaddleSeg, and the best of the other variants."""
    runs = {key: values for key, values in camvid_runs().items() if key[2] >= COMPLETE}
    chosen = {key: values for key, values in runs.items() if key[0] in (OURS, PADDLESEG)}
    for group in {key[1:] for key in runs}:
        others = [key for key in runs if key[1:] == group and key not in chosen]
        if others:
            best = max(others, key=lambda key: statistics.mean(runs[key].values()))
            chosen[best] = runs[best]
    return chosen


def camvid_runs() -> Dict[tuple, Dict[int, float]]:
    """{(system, network, iterations): {seed: mIoU in percent}} of every run on CamVid.

    Sources: camvid_*.json, the results of benchmarks.peers.paddleseg_training as paddleseg_camvid_*.json, and the CSV
    of benchmarks.ablation as ablation_*.csv, whose variants are systems of their own. A later source replaces the runs
    of earlier ones.
    """
    runs: Dict[tuple, Dict[int, float]] = {}
    for path in sorted(files.FOLDER.glob("camvid_*.json")):
        for one in read(path.stem)["runs"]:
            key = (one["system"], one["network"], one["iterations"])
            runs.setdefault(key, {})[one["seed"]] = one["miou"]
    for path in sorted(files.FOLDER.glob("paddleseg_camvid_*.json")):
        one = read(path.stem)
        runs.setdefault((PADDLESEG, one["network"], one["iterations"]), {})[one["seed"]] = 100 * one["miou"]
    for path in sorted(files.FOLDER.glob("ablation_*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            for one in csv.DictReader(lines):
                system = SYSTEMS.get(one["variant"], f"{OURS}, {one['variant']}")
                key = (system, "stdc1_seg", int(one["iters"]))
                runs.setdefault(key, {})[int(one["seed"])] = 100 * float(one["miou"])
    return runs


def _spread(values: Mapping[int, float]) -> str:
    """The mean, and each run where there are several."""
    cells = [f"{values[seed]:.1f}" for seed in sorted(values)]
    return cells[0] if len(cells) == 1 else f"{statistics.mean(values.values()):.1f} ({', '.join(cells)})"


def camvid(language: str) -> str:
    """Runs on CamVid, but not those of `levers`: mIoU by system, network, iterations, and seed."""
    runs = {key: values for key, values in camvid_runs().items() if not _lever(key)}
    rows = [
        [system, NAMES[network], str(iterations), ", ".join(str(seed) for seed in sorted(values)), _spread(values)]
        for (system, network, iterations), values in sorted(runs.items(), key=lambda item: (-item[0][2], item))
    ]
    return table(language, ["system", "network", "iterations", "seeds", "mIoU (%): mean (each)"], rows, left=2)


def _lever(key: tuple) -> str:
    """The variant of a short run of the ablation; empty for other runs."""
    system, _, iterations = key
    return system.partition(", ")[2] if iterations < COMPLETE else ""


def levers(language: str) -> str:
    """Single changes of the default recipe on CamVid, best first: mIoU, and the difference from the default's mean."""
    runs = camvid_runs()
    rows = []
    for key, values in runs.items():
        if _lever(key):
            default = runs[(OURS, *key[1:])]
            difference = statistics.mean(values.values()) - statistics.mean(default.values())
            rows.append((difference, [f"`{_lever(key)}`", str(key[2]), _spread(values), f"{difference:+.1f}"]))
    cells = [row for _, row in sorted(rows, key=lambda item: -item[0])]
    header = ["variant", "iterations", "mIoU (%): mean (each)", "difference from the default recipe's mean"]
    return table(language, header, cells)


def default_mean(_language: str) -> str:
    """Mean mIoU of the default recipe's short runs on CamVid, in percent."""
    return f"{statistics.mean(_short_default_runs()):.1f}"


def default_deviation(_language: str) -> str:
    """Standard deviation of the same over the seeds."""
    return f"{statistics.stdev(_short_default_runs()):.1f}"


def _short_default_runs() -> List[float]:
    return list(camvid_runs()["this project", "stdc1_seg", 600].values())


def best_gain(system: str) -> Callable[[str], str]:
    """How far configs/best is above a system on CamVid after COMPLETE iterations, in points of the means."""

    def made(_language: str) -> str:
        runs = camvid_runs()
        means = [
            statistics.mean(runs[name, "stdc1_seg", COMPLETE].values()) for name in (f"{OURS}, configs/best", system)
        ]
        return f"{means[0] - means[1]:.1f}"

    return made


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
