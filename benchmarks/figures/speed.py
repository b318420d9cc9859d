"""How fast the networks are, and what they take: time, memory, parameters."""

from benchmarks.figures.files import NAMES, read, table
from engine.runtime import EXPORTED_ENGINES
from tool.speed.published import PUBLISHED

CASES = {  # of benchmarks.inference: (network, (h, w))
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
    **{
        f"{name} {precision}": engine.title if precision == "fp32" else f"{engine.title} {precision}"
        for name, engine in EXPORTED_ENGINES.items()
        for precision in engine.precisions
    },
    "paddleseg eager": "PaddleSeg eager",
    "paddleseg exported": "PaddleSeg exported",
}


def networks(language: str) -> str:
    """Parameters and multiply-accumulates of the deployed networks."""
    rows = [
        [f"`{one['name']}`", f"{one['deployed_parameters']:,}", f"{one['gmac_512x1024']:.2f}"]
        for one in read("networks")["networks"]
    ]
    return table(language, ["name", "deployed parameters", "GMAC at 512x1024"], rows)


def camvid_seconds(language: str) -> str:
    """Seconds an iteration of each network."""
    runs = read("camvid_300")["runs"]
    return table(
        language,
        ["", *(NAMES[one["network"]] for one in runs)],
        [["seconds an iteration", *(f"{one['seconds_per_iteration']:.1f}" for one in runs)]],
    )


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
    """Milliseconds of every network in every engine, the fastest of ours in bold."""
    rows = []
    cases = read("inference")["networks"]
    engines = [name for name in ENGINES if any(name in figures["milliseconds"] for figures in cases.values())]
    for case, figures in cases.items():
        times = {name: figures["milliseconds"].get(name, {}).get("p50") for name in engines}
        fastest = min((value, name) for name, value in times.items() if value and not name.startswith("paddleseg"))[1]
        cells = {name: "" if value is None else f"{value:.0f}" for name, value in times.items()}
        cells[fastest] = f"**{cells[fastest]}**"
        rows.append([case, *cells.values()])
    return table(language, ["ms", *(ENGINES[name] for name in engines)], rows)


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
