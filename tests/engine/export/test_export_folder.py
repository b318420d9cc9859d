"""The folder of an export: what is in it when it is replaced, copied in part, or written by two at once."""

from compat import UserError

import numpy as np
import paddle
import pytest
from paddle import nn

from engine.export import export_network, writers
from engine.export.folder import exported_files
from engine.runtime import (
    Description,
    EagerNetwork,
    exported_folder,
    load_network,
    open_network,
    read_description,
)
from tests.helpers.locked_folder import locked_by_another_process
from tool import export

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytest.importorskip("paddle2onnx")

DESCRIPTION = Description(3, output_op="none", size=(16, 24))


class Tiny(nn.Layer):
    """One convolution of random weights."""

    output_names = ("main",)

    def __init__(self, seed=0):
        super().__init__()
        paddle.seed(seed)
        self.only = nn.Conv2D(3, 3, 1)
        self.eval()

    def forward(self, image):
        return [self.only(image)]


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize(("engine", "suffix"), [("paddle", ".pdiparams"), ("openvino", ".bin")])
def test_a_network_without_its_weights_is_refused(engine, suffix, tmp_path):
    """Paddle 3 computed class 0 for every pixel."""
    export_network(Tiny(), DESCRIPTION, tmp_path, [engine])
    (tmp_path / f"model{suffix}").unlink()
    with pytest.raises(UserError, match=rf"model{suffix}: no such file|OpenVINO cannot load it"):
        load_network(tmp_path, engine)


def test_an_export_is_its_folder_and_its_files_and_nothing_else_there(tmp_path, monkeypatch):
    """Weights beside it were taken for it, and so was a name of weights where the command ran in its folder."""
    for name in ("deploy.yaml", "model.json", "model.pdparams", "model.safetensors"):
        (tmp_path / name).write_text("")
    for path in ("", "deploy.yaml", "model.json"):
        assert exported_folder(tmp_path / path) == tmp_path
    for path in ("model.pdparams", "model.safetensors", "missing.onnx", "missing/deploy.yaml"):
        assert exported_folder(tmp_path / path) is None
    monkeypatch.chdir(tmp_path)
    assert exported_folder("stdc1_seg_camvid") is None and exported_folder(".") == exported_folder("model.json")


def test_an_export_without_an_engine_is_called_what_it_is(tmp_path, small_recipe, monkeypatch):
    """It was called a missing weight file. A folder with both is that of weights."""
    monkeypatch.setattr("engine.runtime.load.network_of", lambda *_, **__: Tiny())
    for name in ("deploy.yaml", "model.json"):
        (tmp_path / name).write_text("")
    for path in ("", "deploy.yaml", "model.json"):
        with pytest.raises(UserError, match="is an exported network; choose its engine: --engine paddle"):
            open_network(small_recipe(), 3, tmp_path / path, "eager")
    paddle.save(Tiny().state_dict(), str(tmp_path / "model.pdparams"))
    for path in ("", "model.pdparams"):
        assert open_network(small_recipe(), 3, tmp_path / path, "eager").engine == "eager"


def test_a_former_export_is_replaced_as_a_whole_and_nothing_else(tmp_path):
    """Its files of other engines stayed, and were listed as those of the new one."""
    export_network(Tiny(), DESCRIPTION, tmp_path, ["paddle", "onnxruntime", "openvino"])
    others = {
        name: f"my {name}" for name in ("model.pdparams", "model.mnn", "model.txt", "model_int8.onnx", "street.png")
    }
    for name, content in others.items():
        (tmp_path / name).write_text(content)
    export_network(Tiny(), DESCRIPTION, tmp_path, ["onnxruntime"])
    assert names(tmp_path) == sorted(["deploy.yaml", "model.onnx", *others])
    assert {name: (tmp_path / name).read_text() for name in others} == others
    (tmp_path / "deploy.yaml").write_text("of another program")
    export_network(Tiny(), DESCRIPTION, tmp_path, ["openvino"])
    assert "model.onnx" in names(tmp_path)  # which nothing says is ours
    assert [file.name for file in exported_files(tmp_path)] == ["deploy.yaml", "model.bin", "model.xml"]


def test_two_exports_at_once_do_not_touch_each_others_files(tmp_path, monkeypatch):
    """Both wrote into one hidden folder: either failed, or one took the other's network for its own."""
    write, networks = writers.write_paddle, {"inner": Tiny(1), "outer": Tiny(2)}

    def slow(*arguments):
        written = write(*arguments)
        monkeypatch.setattr(writers, "write_paddle", write)
        export_network(networks["inner"], DESCRIPTION, tmp_path, ["paddle"])
        return written

    monkeypatch.setattr(writers, "write_paddle", slow)
    export_network(networks["outer"], DESCRIPTION, tmp_path, ["paddle"])
    image = np.random.default_rng(0).integers(0, 256, (1, *DESCRIPTION.size, 3), dtype=np.uint8)
    expected, there = EagerNetwork(networks["outer"], 3), load_network(tmp_path, "paddle", threads=1)
    np.testing.assert_allclose(there.logits(image), expected.logits(image), atol=1e-4)
    assert not list(tmp_path.glob(".export*"))


@pytest.fixture
def flags(tmp_path, monkeypatch):
    """Of tool.export, whose network is a Tiny."""
    monkeypatch.setattr(export, "network_of", lambda *_, **__: Tiny())
    monkeypatch.setattr(export, "load_weights", lambda *_: None)
    shape = ["--input_shape", "1", "3", "16", "24"]
    paths = ["--model_path", str(tmp_path), "--save_dir", str(tmp_path / "export")]
    return ["--config", "configs/stdc1_seg_sample.yml", *paths, "--engines", "paddle", "--output_op", "none", *shape]


def test_the_command_prints_what_it_wrote_and_removes_the_drafts_of_killed_runs(flags, tmp_path, capsys):
    for draft in (".export.tmp", ".int8.tmp", ".export.abc.tmp"):
        (tmp_path / "export" / draft).mkdir(parents=True)
    (tmp_path / "export" / "model.pdparams").write_text("mine")
    export.main(flags)
    written = read_description(tmp_path / "export").files["paddle"]["fp32"]
    printed = capsys.readouterr().out.splitlines()[-1].partition(": ")[2].split(", ")
    assert {"deploy.yaml", written, "model.pdiparams"} <= set(printed) and "model.pdparams" not in printed
    assert set(names(tmp_path / "export")) <= {*printed, "model.pdparams", ".lock"}


def test_the_command_refuses_a_folder_that_another_writes_to(flags, tmp_path):
    pytest.importorskip("fcntl", reason="POSIX locks")
    folder = tmp_path / "export"
    draft = folder / ".export.abc.tmp"
    draft.mkdir(parents=True)
    with locked_by_another_process(folder), pytest.raises(UserError, match="another run writes there"):
        export.main(flags)
    assert draft.is_dir() and not (folder / "deploy.yaml").exists()
