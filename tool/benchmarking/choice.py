"""Choosing one of the measured formats for a budget."""

from dataclasses import dataclass
from typing import NamedTuple, Optional, Sequence

from tool.benchmarking.measurement import Measurement

DEFAULT_DROP = 0.5
"""Points of mIoU that the choice may lose against float32 if there is no budget."""
TIE = 0.05
"""Differences of the mIoU below this many points count as equal: engines in float32 differ by rounding."""


@dataclass(frozen=True)
class Budget:
    """Limits of a choice. at_least_miou: in percent; at_most_ms: of the median latency; None: no limit."""

    at_least_miou: Optional[float] = None
    at_most_ms: Optional[float] = None

    def allows(self, row: Measurement) -> bool:
        return self.excess(row) == 0

    def excess(self, row: Measurement) -> float:
        """How far the row exceeds the budget: missing mIoU plus excess latency, each as a fraction of its limit."""
        missing = max(0.0, self.at_least_miou - row.miou) / self.at_least_miou if self.at_least_miou else 0.0
        excess = max(0.0, row.milliseconds - self.at_most_ms) / self.at_most_ms if self.at_most_ms else 0.0
        return missing + excess

    def __str__(self) -> str:
        limits = []
        if self.at_least_miou is not None:
            limits.append(f"mIoU of at least {self.at_least_miou:g}")
        if self.at_most_ms is not None:
            limits.append(f"at most {self.at_most_ms:g} ms")
        return " and ".join(limits)


class Choice(NamedTuple):
    """row: the recommended format, None if no format meets the budget; sentence: why, in one line."""

    row: Optional[Measurement]
    sentence: str


def reference(rows: Sequence[Measurement]) -> Optional[Measurement]:
    """Eager mode in float32, else the first other engine that was measured in float32; None if there is none."""
    float32 = [row for row in rows if row.precision == "fp32" and row.measured]
    return min(float32, key=lambda row: row.engine != "eager", default=None)


def choose(rows: Sequence[Measurement], budget: Budget) -> Choice:
    """The recommended format.

    - With a limit on the mIoU, alone or with one on the latency: the fastest format that meets them.
    - With a limit on the latency only: the fastest format whose mIoU is within TIE of the best that meets it.
    - Without limits: the fastest format within DEFAULT_DROP points of `reference`, or else of the most accurate.
    """
    measured = [row for row in rows if row.measured]
    if not measured:
        return Choice(None, "nothing could be measured; the table says why")
    no_limit = budget == Budget()
    float32, best = reference(rows), max(measured, key=lambda row: row.miou)
    wanted = Budget(at_least_miou=max(0.0, (float32 or best).miou - DEFAULT_DROP)) if no_limit else budget
    allowed = [row for row in measured if wanted.allows(row)]
    if not allowed:
        return Choice(None, _nearest(measured, wanted))
    if no_limit:
        why = f"the fastest within {DEFAULT_DROP} points of {'float32' if float32 else f'the best, {best.name}'}"
    elif budget.at_least_miou is None:
        highest = max(row.miou for row in allowed)
        allowed = [row for row in allowed if row.miou >= highest - TIE]
        why = f"the most accurate with {budget}"
    else:
        why = f"the fastest with {budget}"
    return _taken(min(allowed, key=lambda row: row.milliseconds), why)


def _taken(row: Measurement, why: str) -> Choice:
    return Choice(row, f"take {row.name}: {why} (mIoU {row.miou:.2f}, {row.milliseconds:.1f} ms)")


def _nearest(measured: Sequence[Measurement], budget: Budget) -> str:
    row = min(measured, key=lambda one: (budget.excess(one), one.milliseconds))
    apart = []
    if budget.at_least_miou is not None and row.miou < budget.at_least_miou:
        apart.append(f"{budget.at_least_miou - row.miou:.2f} points short")
    if budget.at_most_ms is not None and row.milliseconds > budget.at_most_ms:
        apart.append(f"{row.milliseconds - budget.at_most_ms:.1f} ms too slow")
    figures = f"mIoU {row.miou:.2f}, {row.milliseconds:.1f} ms"
    return f"no format has {budget}; the nearest is {row.name} ({figures}: {' and '.join(apart)})"
