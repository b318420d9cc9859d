"""The folder of an export: what is in it when it is replaced, copied in part, or written by two at once."""

from compat import UserError

import paddle
import pytest
from paddle import nn

from engine.export import export_network
from engine.runtime import Description, exported_folder, load_network, open_network

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
