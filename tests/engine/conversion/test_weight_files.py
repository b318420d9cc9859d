"""engine.conversion.weight_files: files of every kind, whole or damaged, under right and wrong names."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

from compat import UserError

import numpy as np
import paddle
import pytest
import safetensors.numpy

import models
from engine.conversion.half import to_half
from engine.conversion.weight_files import in_half, read_weight_file, write_weight_file
from tests.engine.conversion.test_torch_file import Attack
from tests.helpers.torch_writer import literal, mapping, tensor, write_checkpoint, write_legacy, write_zip
from tests.helpers.zero_networks import zero_networks
from tool import convert


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    old = tmp_path / "weights.pdparams"
    old.write_bytes(b"old")

    def fail(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="No space left"):
        write_weight_file(old, {"w": np.ones(2)})
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_an_output_below_a_file_is_named(tmp_path, suffix):
    """The error named the temporary file, which could not be removed either."""
    (tmp_path / "afile").write_text("mine")
    with pytest.raises(UserError, match=f"afile/o{suffix}: cannot be written"):
        write_weight_file(tmp_path / "afile" / f"o{suffix}", {"w": np.ones(2)})


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors", ".pth"])
def test_damaged_files_of_every_kind(tmp_path, suffix):
    path = tmp_path / f"f{suffix}"
    for data in (b"", b"\x80\x02}.", b"\x80\x02" + b"\xff" * 50, b"\xff" * 20):
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"f{suffix}"):
            read_weight_file(path)


def test_a_file_of_another_kind_is_called_what_it_is(tmp_path):
    weights = {"w": np.ones(3, "float32")}
    for name in ("paddle.pdparams", "safe.safetensors"):
        write_weight_file(tmp_path / name, weights)
    write_checkpoint(tmp_path / "torch.pth", weights)
    write_legacy(tmp_path / "old.pth", mapping({"w": tensor("0", 3, 0, (3,))}), {"0": weights["w"].tobytes()})
    (tmp_path / "page.pth").write_bytes(b"\n<!DOCTYPE html><html>Google Drive - Virus scan warning</html>")
    (tmp_path / "pointer.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "packed.pth").write_bytes(b"\x1f\x8b" + bytes(99))
    for name, suffix, message in (
        ("paddle.pdparams", ".pth", r"is Paddle weights; rename it to \*.pdparams"),
        ("safe.safetensors", ".pth", r"is safetensors; rename it to \*.safetensors"),
        ("torch.pth", ".pdparams", r"is a torch checkpoint; rename it to \*.pth"),
        ("old.pth", ".safetensors", r"is a torch checkpoint; rename it to \*.pth"),
        ("page.pth", ".tar", "is a web page, not the file that it links to; download it again"),
        ("pointer.pth", ".pdparams", "is a pointer of Git LFS, not the file itself; download it again"),
        ("packed.pth", ".pth", "is a compressed archive; unpack it"),
    ):
        wrong = tmp_path / f"wrong{suffix}"
        wrong.write_bytes((tmp_path / name).read_bytes())
        with pytest.raises(UserError, match=f"wrong{suffix}: {message}"):
            read_weight_file(wrong)
        if name.split(".")[1] != "pth" or "torch" in message:
            assert list(read_weight_file(tmp_path / name).tensors) == ["w"]


def test_paddle_files_run_nothing(tmp_path):
    victim = tmp_path / "victim"
    (tmp_path / "f.pdparams").write_bytes(pickle.dumps({"w": Attack(victim)}, 2))
    with pytest.raises(UserError, match="asks for builtins.exec.*was not run|asks for __builtin__.exec.*was not run"):
        read_weight_file(tmp_path / "f.pdparams")
    assert not victim.exists()


def test_a_malicious_file_ends_in_one_line_and_status_1(tmp_path):
    victim = tmp_path / "victim"
    content = mapping({"w": pickle.dumps(Attack(victim), 2)[2:-1], "e": literal(1)})
    write_zip(tmp_path / "evil.pth", content, {})
    arguments = [str(tmp_path / "evil.pth"), str(tmp_path / "out.pdparams"), "--model", "stdc1"]
    result = subprocess.run(
        [sys.executable, "-m", "tool.convert", *arguments],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path}/evil.pth: not a readable")
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pth"]


def test_half_of_the_size_under_our_names(tmp_path, capsys):
    network = models.build_model("stdc1_seg", 11)
    paddle.save(network.state_dict(), str(tmp_path / "model.pdparams"))
    output = tmp_path / "half.safetensors"
    convert.main([str(tmp_path / "model.pdparams"), str(output), "--model", "stdc1_seg", "--target", "half"])
    assert f"wrote       {len(network.state_dict())} tensors" in capsys.readouterr().out
    written = safetensors.numpy.load_file(str(output))
    assert {name: array.dtype for name, array in written.items()} == dict.fromkeys(network.state_dict(), np.float16)
    for name, value in network.state_dict().items():
        np.testing.assert_allclose(written[name], value.numpy(), rtol=2**-11, atol=2**-25)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stdc1", {}),
        ("stdc1_seg", {"head_bias": True, "gate_bias": True, "exclusive_pool": True}),  # as PaddleSeg's
        (
            "stdc2_seg",
            {"aux_strides": (), "backbone_aux_strides": (16, 32), "detail_strides": (), "head_channels": 300},
        ),
        ("ddrnet23_slim", {}),
    ],
)
def test_half_takes_any_options_of_the_network(name, options):
    with zero_networks():
        state = {key: tensor.numpy() for key, tensor in models.build_model(name, 7, **options).state_dict().items()}
        assert to_half(state, name).keys() == state.keys()
        backbone = {key: array for key, array in state.items() if key.startswith("backbone.")}
        assert to_half(backbone, name).keys() == backbone.keys()


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        ("stdc1_seg", "stdc2_seg", r"do not fit stdc2_seg: \d+ missing .*--model"),
        ("stdc2_seg", "stdc1_seg", r"do not fit stdc1_seg: .* \d+ unexpected"),
        ("stdc1_seg", "bisestdc", "do not fit bisestdc"),
        ("bisestdc2", "bisestdc", "0 missing; 0 unexpected; .* of another shape"),
    ],
)
def test_half_refuses_weights_of_another_network(theirs, ours, message):
    with zero_networks():
        state = {key: tensor.numpy() for key, tensor in models.build_model(theirs, 19).state_dict().items()}
        with pytest.raises(UserError, match=message):
            to_half(state, ours)


def test_half_refuses_the_names_of_other_projects(tmp_path):
    """They were written, and could not be loaded."""
    write_weight_file(tmp_path / "theirs.safetensors", {"cp.backbone.x2.0.conv.weight": np.ones((32, 3, 3, 3))})
    flags = [str(tmp_path / "theirs.safetensors"), str(tmp_path / "half.safetensors")]
    with zero_networks(), pytest.raises(UserError, match="theirs.safetensors: .* --target paddle first"):
        convert.main([*flags, "--model", "bisestdc", "--target", "half"])
    assert not (tmp_path / "half.safetensors").exists()


def test_what_half_cannot_hold_is_named():
    with pytest.raises(UserError, match="b: 70000 is beyond float16"):
        in_half({"a": np.ones(2, "float32"), "b": np.array([7e4, 1], "float32")})
