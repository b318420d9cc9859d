"""How a protocol applies to a deployed network."""

import pytest

from engine.protocols import deployed_scale, describe, is_deployable
from engine.recipe import Protocol


@pytest.mark.parametrize(
    ("options", "scale", "words"),
    [
        ({"scales": 0.5}, 0.5, "scale 0.5"),
        ({"scales": (0.75,)}, 0.75, "scale 0.75"),
        # Without aug_eval PaddleSeg looks at no scale and no flip.
        ({"aug_eval": False, "scales": (0.5, 1.5), "flip_horizontal": True}, 1.0, "as it is"),
        (
            {"aug_eval": False, "is_slide": True, "crop_size": (8, 6), "stride": (4, 3), "align_corners": True},
            1.0,
            "window 8x6 every 4x3, align_corners",
        ),
        ({"scales": (0.5, 1)}, None, "scales 0.5 1"),
        ({"flip_horizontal": True}, None, "scale 1, flip horizontal"),
        ({"flip_vertical": True}, None, "scale 1, flip vertical"),
    ],
)
def test_one_scale_and_no_flip_are_deployable(options, scale, words):
    protocol = Protocol(**options)
    assert is_deployable(protocol) == (scale is not None) and describe(protocol) == words
    if scale:
        assert deployed_scale("full", protocol) == scale
