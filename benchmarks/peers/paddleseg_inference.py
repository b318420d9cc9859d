"""PaddleSeg's STDCSeg in a process of its own: the peer of benchmarks.inference.

It imports nothing of this project, so that only the environment decides how Paddle runs. After a line `ready`, it
replies to each line `eager` or `exported` on its standard input with the seconds of one call, from uint8 image to class
map.
"""

import sys
import tempfile
import time
import zlib  # noqa: F401  Paddle 2.6.2 crashes without it
from pathlib import Path
from typing import Callable

import numpy as np
import paddle
from paddle import inference, nn
from paddleseg.models import STDC1, STDC2, STDCSeg

BACKBONES = {"stdc1_seg": STDC1, "stdc2_seg": STDC2}


class WithArgmax(nn.Layer):
    """The network and its class map, as PaddleSeg exports it."""

    def __init__(self, model: nn.Layer):
        super().__init__()
        self.model = model

    def forward(self, image):
        return paddle.argmax(self.model(image)[0], axis=1, dtype="int32")


def main() -> None:
    """Reply to the lines on standard input; arguments: NAME WIDTH HEIGHT THREADS."""
    name, width, height, threads = sys.argv[1], *map(int, sys.argv[2:])
    model = WithArgmax(STDCSeg(num_classes=19, backbone=BACKBONES[name]()))
    model.eval()
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    calls = {"eager": eager(model), "exported": exported(model, (height, width), threads)}
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        calls[line.strip()](image)
        print(time.perf_counter() - start, flush=True)


def normalized(image: np.ndarray) -> np.ndarray:
    """[1, 3, H, W] float32."""
    return ((image.astype("float32") / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]


def eager(model: nn.Layer) -> Callable:
    """The class map by Paddle's eager mode."""

    def call(image: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return model(paddle.to_tensor(normalized(image))).numpy()

    return call


def exported(model: nn.Layer, size, threads: int) -> Callable:
    """The class map by Paddle Inference, without oneDNN: PaddleSeg's default, and correct on Paddle 3."""
    spec = [paddle.static.InputSpec([1, 3, *size], "float32", "image")]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model")
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), path)
        program = next(str(file) for file in Path(folder).iterdir() if file.suffix in (".json", ".pdmodel"))
        config = inference.Config(program, f"{path}.pdiparams")
        config.disable_glog_info()
        config.disable_mkldnn()
        config.set_cpu_math_library_num_threads(threads)
        predictor = inference.create_predictor(config)
    taken = predictor.get_input_handle(predictor.get_input_names()[0])
    returned = predictor.get_output_handle(predictor.get_output_names()[0])

    def call(image: np.ndarray) -> np.ndarray:
        taken.copy_from_cpu(np.ascontiguousarray(normalized(image)))
        predictor.run()
        return returned.copy_to_cpu()

    return call


if __name__ == "__main__":
    main()
