"""How often PaddleSeg's random mix of the detail loss makes every detail target empty.

PaddleSeg's DetailAggregateLoss, and the original Paddle port of STDC-Seg, mix three binary edge maps (of strides 1, 2
and 4) with a 1x1 convolution. Its three weights are drawn anew at every start, and no gradient ever trains them. The
target is 1 where the mix exceeds 0.1. A pixel has one of eight combinations of the three maps; if the mix of none of
them exceeds 0.1, the target is empty whatever the labels are.
"""

from pathlib import Path
from typing import Dict, Optional, Sequence

import compat

import numpy as np
import paddle

from benchmarks.figures.record import write_figures
from engine.command import parser, run, whole_number

THRESHOLD = 0.1
COMBINATIONS = np.array([[number >> bit & 1 for bit in range(3)] for number in range(8)], np.float32)
"""[8, 3]: what the maps of strides 1, 2 and 4 can be at a pixel."""
PAPERS = np.array([[0.6, 0.3, 0.1]], np.float32)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draw the weights, count the empty targets, print and write the shares."""
    arguments = parser(__doc__, "python -m benchmarks.random_detail_target --draws 10000")
    arguments.add_argument("--draws", type=whole_number(1), default=10000, help="how many starts (10000)")
    arguments.add_argument("--seed", type=whole_number(), default=0, help="of the draws (0)")
    arguments.add_argument("--json", type=Path, metavar="F", help="write the figures to F")
    options = arguments.parse_args(argv)
    compat.check_writable(options.json)
    paddle.seed(options.seed)
    figures = count(draw(options.draws))
    print(
        f"{options.draws} starts: the detail target is empty in {figures['empty']:.1%} of them, and differs from "
        f"the paper's in {figures['other_than_papers']:.1%}"
    )
    if options.json:
        write_figures(options.json, {**figures, "draws": options.draws, "seed": options.seed})


def draw(draws: int) -> np.ndarray:
    """[draws, 3] float32: the weights as PaddleSeg creates them, by Paddle's default for a parameter of that shape."""
    return np.stack([paddle.create_parameter([1, 3, 1, 1], "float32").numpy().reshape(3) for _ in range(draws)])


def targets(weights: np.ndarray) -> np.ndarray:
    """[draws, 8] bool: whether a pixel of each combination is in the target under each of the weights [draws, 3]."""
    return weights @ COMBINATIONS.T > THRESHOLD


def count(weights: np.ndarray) -> Dict[str, float]:
    """Fractions of the draws: the target is empty; the target differs from the paper's for some combination."""
    found, papers = targets(weights), targets(PAPERS)
    return {
        "empty": float((~found.any(axis=1)).mean()),
        "other_than_papers": float((found != papers).any(axis=1).mean()),
    }


if __name__ == "__main__":
    run(main)
