"""Our losses against the original ones, on random logits and labels."""

import re
from typing import Any, Iterator, Mapping, Sequence

import paddle

from benchmarks.originals.reference import LossCase, Result, loss_case, relative_error
from loss import DetailAggregateLoss, OhemCrossEntropyLoss

LOSS_LIMIT = 1e-5
OHEM = re.compile(r"ohem(_easy)?_(\d+)_([\d.]+)")  # ohem[_easy]_DIVISOR_THRESH: n_min is the pixels over the divisor


def compare_losses(rows: Sequence[Mapping[str, Any]]) -> Iterator[Result]:
    """Relative error of every loss of every case."""
    for number, row in enumerate(rows):
        case = loss_case(row)
        bce, dice = DetailAggregateLoss(ignored_as_label=True).parts(
            paddle.to_tensor(case.detail), paddle.to_tensor(case.labels)
        )
        for name in row:
            if name == "bce":
                ours = bce
            elif name == "dice":
                ours = dice
            elif OHEM.fullmatch(name):
                ours = _ohem(name, case)
            else:
                continue  # it describes the case
            yield Result(f"{name} of case {number}", relative_error(float(ours), row[name]), LOSS_LIMIT)


def _ohem(name: str, case: LossCase) -> paddle.Tensor:
    easy, divisor, threshold = OHEM.fullmatch(name).groups()
    loss = OhemCrossEntropyLoss(float(threshold), n_min=case.labels.size // int(divisor))
    return loss(paddle.to_tensor(case.easy if easy else case.logits), paddle.to_tensor(case.labels))
