"""examples/quickstart.ipynb, from its first cell to its last, at a small size."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="it comes with nbclient, in requirements-dev.txt")
nbclient = pytest.importorskip("nbclient", reason="nbclient is in requirements-dev.txt")
pytest.importorskip("ipykernel", reason="ipykernel is in requirements-dev.txt")
for engine in ("onnxruntime", "openvino", "paddle2onnx"):
    pytest.importorskip(engine)

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
SMALL = """
FOLDER = {folder!r}
TRAIN_IMAGES, VAL_IMAGES, IMAGE_SIZE = 2, 1, "128x64"
ITERATIONS = 1
OPTIONS = ["batch_size=2", "train_dataset.transforms.RandomPaddingCrop.crop_size=[64,64]"]
"""
MOST_CELLS = 16


def test_nothing_that_a_run_leaves_is_in_git():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert len(notebook.cells) <= MOST_CELLS
    assert set(notebook.metadata) == {"kernelspec", "language_info"} and notebook.metadata.kernelspec.name == "python3"


def test_every_cell_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (place,) = [number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALL.format(folder=str(tmp_path))))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in data for data in shown) == 2
    assert "report.html" in shown[-1]["text/html"] and (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "export" / "model.onnx").is_file()
    assert list((tmp_path / "predictions" / "side_by_side").rglob("*.png"))
