"""The counts of tool.model_info equal the published figures."""

import json
import re
from pathlib import Path

import paddle
import pytest
from paddle import nn

from models import UserError, build_model, list_models
from tool.model_info import main
from tool.speed.cost import Output, activation_bytes, deployed_cost, inspect_model

# Parameters of the deployed network and 10^9 multiply-accumulates at 512x1024, as published or as the original
# code gives them; None where nothing is published.
PUBLISHED = {
    "stdc1_seg": (8_275_104, 16.86),
    "stdc2_seg": (12_305_568, 23.46),
    "bisestdc": (None, 50.8),
    "bisestdc2": (None, 74.2),
    "ddrnet23_slim": (None, 9.07),
    "ddrnet23": (None, 35.8),
}


@pytest.fixture(scope="module")
def infos():
    return {
        name: inspect_model(name, sizes=((512, 1024),)) for name in ("stdc1", "stdc1_seg", "bisestdc2", "ddrnet23_slim")
    }


def test_published_figures_are_there_for_every_segmentation_network():
    assert sorted(PUBLISHED) == sorted(set(list_models()) - {"stdc1", "stdc2"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name):
    published_parameters, published_giga = PUBLISHED[name]
    parameters, accumulates = deployed_cost(name, 19, (512, 1024))
    assert parameters == published_parameters or published_parameters is None
    digits = len(str(published_giga).split(".")[1])
    assert round(accumulates / 1e9, digits) == published_giga


@pytest.mark.parametrize("name", ["stdc1", "bisestdc"])
def test_multiply_accumulates_equal_those_of_paddle(name):
    """paddle.flops runs the network; what it counts besides convolutions and linear layers is left out here."""
    uncounted = (nn.BatchNorm2D, nn.AvgPool2D, nn.Dropout)
    model = build_model(name, 19)
    counted = paddle.flops(model, [1, 3, 64, 128], custom_ops=dict.fromkeys(uncounted, lambda *_: None))
    assert inspect_model(name, 19, sizes=((64, 128),)).multiply_accumulates == {"64x128": counted}


@pytest.mark.parametrize(("name", "saved"), [("stdc1_seg", 22), ("stdc2_seg", 16), ("bisestdc", 29)])
def test_a_main_head_of_64_channels_saves_this_share(name, saved):
    """3x3 from and to the head's width, and 1x1 to 19 classes, at the stride of the main head."""
    (thin,) = inspect_model(name, 19, ((512, 1024),), {"head_channels": 64}).multiply_accumulates.values()
    whole = deployed_cost(name, 19, (512, 1024))[1]
    pixels = 512 * 1024 // (16 if name == "bisestdc" else 64)
    assert whole - thin == (256 - 64) * (9 * 256 + 19) * pixels
    assert round(100 * (1 - thin / whole)) == saved


def test_training_adds_the_auxiliary_heads(infos):
    for name, info in infos.items():
        heads = len(info.outputs) - 1
        assert (info.parameters > info.deployed_parameters) == (heads > 0), name


def test_outputs_name_their_strides(infos):
    assert infos["bisestdc2"].outputs == (
        Output("main", 19, 4, 1),
        Output("aux4", 19, 4, 1),
        Output("aux8", 19, 8, 1),
        Output("aux16", 19, 16, 1),
        Output("detail4", 1, 4, 4),
    )
    assert infos["stdc1"].outputs == (Output("main", 1000, None, None),)
    for info in infos.values():
        for output in info.outputs[1:]:  # the suffix of a name is the true stride
            assert re.fullmatch(rf"[a-z]+{output.stride}", output.name)


def test_outputs_have_the_strides_that_running_the_network_shows(infos):
    outputs = build_model("stdc1_seg", 19)(paddle.zeros([1, 3, 64, 128]))
    assert [128 // output.shape[3] for output in outputs] == [o.returned_stride for o in infos["stdc1_seg"].outputs]


def test_activation_bytes_grow_with_the_crop():
    small, large = (activation_bytes("ddrnet23_slim", 19, crop, reduction=1) for crop in ((128, 128), (256, 256)))
    assert large / small == pytest.approx(4, rel=0.02)
    # Two outputs whose softmax the cross-entropy keeps are 19 floats a pixel each.
    assert small > 2 * 19 * 4 * 128 * 128


def test_reduction_estimates_the_whole_crop():
    whole, estimated = (activation_bytes("stdc1_seg", 19, (256, 512), reduction) for reduction in (1, 4))
    assert estimated == pytest.approx(whole, rel=0.02)


def test_the_command_prints_the_table_and_writes_the_file(tmp_path, capsys):
    path = tmp_path / "new" / "info.json"
    main(["--model", "stdc1_seg", "--json", str(path)])
    printed = capsys.readouterr().out
    row = next(line.split() for line in printed.splitlines() if line.startswith("stdc1_seg"))
    assert row == ["stdc1_seg", "8,572,896", "8,275,104", "16.86", "37.94", "67.45", "0.54"]
    (written,) = json.loads(path.read_text())
    assert written["deployed_parameters"] == 8_275_104
    assert written["outputs"][3] == {"name": "detail8", "channels": 1, "stride": 8, "returned_stride": 8}
    assert written["training_bytes"] == written["activation_bytes"] + 12 * written["parameters"]


def test_the_command_prints_a_line_for_each_width(capsys):
    main(["--model", "ddrnet23_slim", "--head_channels", "64", "32"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("ddrnet23_slim")]
    assert [row[:5] for row in rows[:2]] == [
        ["ddrnet23_slim,", "head_channels", "64", "5,734,342", "5,695,987"],
        ["ddrnet23_slim,", "head_channels", "32", "5,696,806", "5,658,451"],
    ]
    with pytest.raises(UserError, match="model stdc1: option 'head_channels' is not known"):
        main(["--model", "stdc1", "--head_channels", "64"])


def test_the_command_takes_recipes(tmp_path, capsys):
    """A recipe's options and widths count: 3x3 from 256 channels at stride 8, and 1x1 to 19 classes."""
    recipe = tmp_path / "thin.yml"
    text = "_base_: {}\nmodel: {{widths: {{heads.main.conv: 64}}}}\n"
    recipe.write_text(text.format(Path("configs/stdc1_seg_sample.yml").resolve()))
    main(["--config", str(recipe)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(str(recipe))]
    assert rows[0] == [str(recipe), "8,126,496", "7,828,704", "13.21", "29.72", "52.84", "0.53"]


def test_an_unknown_model_is_the_users_error_and_leaves_paddle_dynamic():
    with pytest.raises(UserError, match="did you mean stdc1_seg"):
        main(["--model", "stdc1seg"])
    assert paddle.in_dynamic_mode()


def test_a_file_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        main(["--model", "ddrnet23_slim", "--json", str(tmp_path / "file" / "info.json")])
