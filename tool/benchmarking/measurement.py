"""The measurement of a network in one engine and precision."""

from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, Optional

from tool.speed.clock import Latency


class Memory(NamedTuple):
    """Resident memory of a process that loads and runs a network, in MiB.

    before: after the engine's packages are imported, before the network is loaded.
    peak: the maximum up to the end of the process.
    """

    before: float
    peak: float


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    miou: in percent, on the images that were evaluated.
    drop: points of mIoU lost against float32.
    latency: of one call, from image to class map.
    file_bytes: size of the files that the engine loads.
    memory: None if it cannot be measured on this system.
    reason: why there are no figures; empty if there are.
    """

    engine: str
    precision: str
    miou: Optional[float] = None
    drop: Optional[float] = None
    latency: Optional[Latency] = None
    file_bytes: Optional[int] = None
    memory: Optional[Memory] = None
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"

    @property
    def measured(self) -> bool:
        """Whether accuracy and speed are known."""
        return self.miou is not None and self.latency is not None

    @property
    def milliseconds(self) -> float:
        """Median latency."""
        return self.latency.p50

    @property
    def fps(self) -> float:
        """Images per second, one at a time."""
        return 1000 / self.latency.p50

    def as_dict(self) -> Dict[str, Any]:
        """Plain values by name, the same keys for every line."""
        latency, memory = self.latency, self.memory
        return {
            "engine": self.engine,
            "precision": self.precision,
            "miou": self.miou,
            "drop": self.drop,
            "p50_ms": latency.p50 if latency else None,
            "p90_ms": latency.p90 if latency else None,
            "p99_ms": latency.p99 if latency else None,
            "fps": self.fps if latency else None,
            "file_mib": None if self.file_bytes is None else self.file_bytes / 2**20,
            "peak_memory_mib": memory.peak if memory else None,
            "network_memory_mib": memory.peak - memory.before if memory else None,
            "reason": self.reason,
        }
