"""Which paddle2onnx a failed export to ONNX asks for; each is a stand-in that fails as the real one does."""

import sys
from pathlib import Path

from compat import UserError

import paddle
import pytest

from engine.export import writers

ROOT = Path(__file__).parents[3]
OTHER_PADDLE = "raise ValueError('The paddlepaddle version should not be less than 3.0.0. Please install the latest')"
BROKEN = "raise ImportError('cannot import name export')"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Takes the text of the module that is imported as paddle2onnx."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    monkeypatch.delitem(sys.modules, "paddle2onnx")
    return (tmp_path / "paddle2onnx.py").write_text


@pytest.mark.parametrize(
    ("version", "fault", "message"),
    [
        ("2.6.2", OTHER_PADDLE, "than 3.0.0; install the one for Paddle 2.6 with: pip install paddle2onnx==1.3.1"),
        ("2.6.2", BROKEN, "name export; install the one for Paddle 2.6 with: pip install paddle2onnx==1.3.1"),
        ("3.3.1", BROKEN, "name export; install it with: pip install -r requirements-deploy.txt"),
    ],
)
def test_one_that_cannot_be_imported(version, fault, message, stand_in, tmp_path, monkeypatch):
    """requirements-deploy.txt pins the one for Paddle 3, which ended exports on Paddle 2.6 in a traceback."""
    stand_in(fault)
    monkeypatch.setattr(paddle, "__version__", version)
    with pytest.raises(UserError) as raised:
        writers.write_onnx(tmp_path, "model.json")
    assert str(raised.value).startswith("export to ONNX: ") and str(raised.value).endswith(message)


@pytest.mark.parametrize("written", ["pass", "open(file, 'w').close()"])
def test_one_that_writes_nothing(written, stand_in, tmp_path):
    """The one for Paddle 2.6 leaves an empty file on Paddle 3, which ONNX Runtime then could not load."""
    stand_in(f"def export(model, weights, file, opset_version): {written}")
    with pytest.raises(UserError, match="export to ONNX: paddle2onnx wrote no model.onnx"):
        writers.write_onnx(tmp_path, "model.json")


def test_the_makefile_and_the_pages_name_the_same():
    assert f",{writers.OF_PADDLE_2.partition('==')[2]}," in (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "README_cn.md", "docs/deployment.md", "docs/faq.md", "docs/cn/getting_started.md"):
        assert f"pip install {writers.OF_PADDLE_2}" in (ROOT / page).read_text(encoding="utf-8"), page
