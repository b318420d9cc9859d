"""What the picture of the networks shows: rooms, arrows, and where they stand. Drawn by tool.draw_networks."""

from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple

# Where the arrows from the attention refinements turn, between columns 1 and 2; coarser ones further right, so that
# they do not touch.
LANES = {8: 1.41, 16: 1.5, 32: 1.59}
STAGES = tuple(f"backbone.stages.{i}" for i in range(5))


@dataclass(frozen=True)
class Room:
    """A box: the layer whose outputs give strides (bands) and channels, and where it stands within its band."""

    layer: str
    label: str
    kind: str
    column: int
    slot: int = 0


@dataclass(frozen=True)
class Arrow:
    """From layer to layer; it leaves at a side, turns at the column `lane`, and enters at a side."""

    source: str
    target: str
    leave: str = "right"
    enter: str = "left"
    lane: Optional[float] = None


@dataclass(frozen=True)
class Panel:
    """A family of networks: the first of `names` is drawn. `slots` are the heights of the bands, by stride."""

    title: str
    names: Tuple[str, ...]
    note: str
    slots: Dict[int, int]
    rooms: Tuple[Room, ...]
    arrows: Tuple[Arrow, ...]


def _stages(first_slots: Dict[int, int]) -> Tuple[Room, ...]:
    return tuple(
        Room(f"backbone.stages.{i}", f"stage {i + 1}", "backbone", 0, first_slots.get(2 ** (i + 1), 0))
        for i in range(5)
    )


def _context_path(strides: Sequence[int], slots: Dict[int, int]) -> Tuple[Room, ...]:
    """Attention refinement at `strides`, and the context one octave finer."""
    rooms = [Room("context_path.global_context", "global average", "context", 1, 1)]
    for stride in strides:
        rooms.append(Room(f"context_path.attention.{stride}", f"ARM {stride}", "context", 1))
        finer = stride // 2
        rooms.append(Room(f"context_path.refine.{stride}", f"context {finer}", "context", 2, slots.get(finer, 0)))
    return tuple(rooms)


def _context_arrows(strides: Sequence[int]) -> Tuple[Arrow, ...]:
    arrows = [
        Arrow("backbone.stages.4", "context_path.global_context", lane=0.42),
        Arrow("context_path.global_context", "context_path.attention.32", "top", "bottom"),
    ]
    for stride in strides:
        arrows.append(Arrow(f"backbone.stages.{stride.bit_length() - 2}", f"context_path.attention.{stride}"))
        arrows.append(Arrow(f"context_path.attention.{stride}", f"context_path.refine.{stride}", lane=LANES[stride]))
        if stride != 32:
            arrows.append(Arrow(f"context_path.refine.{2 * stride}", f"context_path.refine.{stride}", "top", "bottom"))
    return tuple(arrows)


def _chain(*layers: str) -> Tuple[Arrow, ...]:
    return tuple(Arrow(source, target, "bottom", "top") for source, target in zip(layers, layers[1:]))


STDC_SEG = Panel(
    "STDC-Seg",
    ("stdc1_seg", "stdc2_seg"),
    "Stages 3 to 5 hold 2, 2, 2 STDC blocks in stdc1_seg and 4, 5, 3 in stdc2_seg.",
    {1: 1, 2: 1, 4: 1, 8: 3, 16: 1, 32: 2},
    (
        Room("", "image", "image", 0),
        *_stages({8: 1}),
        *_context_path((16, 32), {8: 2}),
        Room("fusion", "FFM", "fusion", 3, 1),
        Room("heads.detail8", "detail8", "training", 4, 0),
        Room("heads.main", "main", "deployed", 4, 1),
        Room("heads.aux8", "aux8", "training", 4, 2),
        Room("heads.aux16", "aux16", "training", 4),
    ),
    (
        *_chain("", *STAGES),
        *_context_arrows((16, 32)),
        Arrow("backbone.stages.2", "fusion"),
        Arrow("context_path.refine.16", "fusion", enter="bottom"),
        Arrow("backbone.stages.2", "heads.detail8", lane=0.5),
        Arrow("fusion", "heads.main"),
        Arrow("context_path.refine.16", "heads.aux8"),
        Arrow("context_path.refine.32", "heads.aux16"),
    ),
)

BISESTDC = Panel(
    "BiSeSTDC",
    ("bisestdc", "bisestdc2"),
    "In bisestdc2 the spatial path is 64, 128 and 512 wide, and its first convolution works at stride 1.",
    {1: 1, 2: 1, 4: 4, 8: 1, 16: 1, 32: 2},
    (
        Room("", "image", "image", 0),
        *_stages({4: 2}),
        Room("spatial_path.0", "spatial 1", "spatial", 1),
        Room("spatial_path.1", "spatial 2", "spatial", 2),
        Room("spatial_path.2", "spatial 3", "spatial", 2, 1),
        Room("spatial_fusion", "FFM spatial", "fusion", 3, 1),
        *_context_path((8, 16, 32), {4: 3}),
        Room("fusion", "FFM", "fusion", 4, 1),
        Room("heads.detail4", "detail4", "training", 5, 0),
        Room("heads.main", "main", "deployed", 5, 1),
        Room("heads.aux4", "aux4", "training", 5, 3),
        Room("heads.aux8", "aux8", "training", 5),
        Room("heads.aux16", "aux16", "training", 5),
    ),
    (
        *_chain("", *STAGES),
        Arrow("", "spatial_path.0", enter="top"),
        Arrow("spatial_path.0", "spatial_path.1"),
        Arrow("spatial_path.1", "spatial_path.2", "bottom", "top"),
        Arrow("spatial_path.2", "spatial_fusion"),
        Arrow("backbone.stages.1", "spatial_fusion", enter="bottom"),
        *_context_arrows((8, 16, 32)),
        Arrow("spatial_fusion", "fusion"),
        Arrow("context_path.refine.8", "fusion", enter="bottom"),
        Arrow("spatial_fusion", "heads.detail4", lane=3.5),
        Arrow("fusion", "heads.main"),
        Arrow("context_path.refine.8", "heads.aux4"),
        Arrow("context_path.refine.16", "heads.aux8"),
        Arrow("context_path.refine.32", "heads.aux16"),
    ),
)

DDRNET = Panel(
    "DDRNet-23",
    ("ddrnet23_slim", "ddrnet23"),
    "In ddrnet23 everything but the inside of DAPPM is twice as wide.",
    {1: 1, 4: 2, 8: 2, 16: 1, 32: 1, 64: 1},
    (
        Room("", "image", "image", 0),
        Room("backbone.stem", "stem", "backbone", 0),
        Room("backbone.layer1", "layer 1", "backbone", 0, 1),
        Room("backbone.layer2", "layer 2", "backbone", 0, 1),
        Room("backbone.high3", "high 3", "spatial", 1, 1),
        Room("backbone.low3", "low 3", "backbone", 1),
        Room("backbone.fuse3", "fuse 3", "fusion", 2, 1),
        Room("backbone.high4", "high 4", "spatial", 3, 1),
        Room("backbone.low4", "low 4", "backbone", 3),
        Room("backbone.fuse4", "fuse 4", "fusion", 4, 1),
        Room("backbone.high5", "high 5", "spatial", 5, 1),
        Room("backbone.low5", "low 5", "backbone", 5),
        Room("dappm", "DAPPM", "context", 6),
        Room("heads.aux8", "aux8", "training", 7, 0),
        Room("heads.main", "main", "deployed", 7, 1),
    ),
    (
        *_chain("", "backbone.stem", "backbone.layer1", "backbone.layer2"),
        Arrow("backbone.layer2", "backbone.high3"),
        Arrow("backbone.layer2", "backbone.low3"),
        Arrow("backbone.high3", "backbone.fuse3"),
        Arrow("backbone.low3", "backbone.fuse3"),
        Arrow("backbone.fuse3", "heads.aux8", leave="top"),
        Arrow("backbone.fuse3", "backbone.high4"),
        Arrow("backbone.fuse3", "backbone.low4"),
        Arrow("backbone.high4", "backbone.fuse4"),
        Arrow("backbone.low4", "backbone.fuse4"),
        Arrow("backbone.fuse4", "backbone.high5"),
        Arrow("backbone.fuse4", "backbone.low5"),
        Arrow("backbone.low5", "dappm"),
        Arrow("backbone.high5", "heads.main"),
        Arrow("dappm", "heads.main", enter="bottom"),
    ),
)

PANELS = (STDC_SEG, BISESTDC, DDRNET)
