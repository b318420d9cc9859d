"""The folder of an export: what is in it when it is replaced, copied in part, or written by two at once."""

from compat import UserError

import paddle
import pytest
from paddle import nn

from engine.export import export_network
from engine.runtime import Description, load_network

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
