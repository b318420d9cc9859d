"""The picture of the networks."""

from compat import UserError

import cv2
import pytest

from models import build_model, list_models
from tool.draw_networks import layer_outputs, main
from tool.network_panels import PANELS


def test_every_segmentation_network_is_in_a_panel():
    assert sorted(name for panel in PANELS for name in panel.names) == sorted(set(list_models()) - {"stdc1", "stdc2"})


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.names[0])
def test_a_panel_shows_the_outputs_and_stands_on_real_layers(panel):
    layers = [room.layer for room in panel.rooms]
    outputs = layer_outputs(panel.names[0], layers)
    assert {stride for layer in layers for stride, _ in outputs[layer]} == set(panel.slots)
    heads = {layer.split(".")[1] for layer in layers if layer.startswith("heads.")}
    assert heads == set(build_model(panel.names[0], 19).output_names)
    assert {arrow.source for arrow in panel.arrows} | {arrow.target for arrow in panel.arrows} == set(layers)


def test_strides_and_channels_come_from_the_network():
    found = layer_outputs("ddrnet23", ["", "backbone.fuse4", "dappm", "heads.main"])
    assert found == {
        "": [(1, 3)],
        "backbone.fuse4": [(32, 512), (8, 128)],
        "dappm": [(64, 256)],
        "heads.main": [(8, 19)],
    }


def test_the_command_writes_a_small_picture(tmp_path):
    path = tmp_path / "docs" / "networks.png"
    main([str(path)])
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 1600
    assert picture.mean() > 200  # a light background
    assert path.stat().st_size < 300_000


def test_a_path_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        main([str(tmp_path / "file" / "networks.png")])
