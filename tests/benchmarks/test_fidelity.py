"""benchmarks.fidelity: our networks, losses and training are the original ones, and it would notice if not."""

import json
import shutil

from compat import UserError

import numpy as np
import paddle
import pytest

from benchmarks import fidelity
from benchmarks.originals import compare_training
from benchmarks.originals.reference import random_state, relative_error
from engine.conversion import stdc
from loss import detail
from tests.helpers.zero_networks import zero_networks

FILES = sorted(fidelity.REFERENCES.glob("*.json"))
SMALL = "official_ddrnet23_slim"


@pytest.fixture(scope="module", autouse=True)
def no_random_weights():
    with zero_networks():
        yield


def test_the_reference_files_are_all_there():
    kinds = [json.loads(path.read_text()) for path in FILES]
    assert sum("keys" in kind for kind in kinds) == 11
    assert sum("rows" in kind for kind in kinds) == 1
    assert sum(isinstance(kind, list) for kind in kinds) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_within_the_limits(path):
    rows = fidelity.compare(path)
    assert rows
    assert all(row.passed for row in rows), fidelity.table(rows)


@pytest.fixture
def copied(tmp_path):
    """A reference file of its own folder, and its results."""
    for suffix in (".json", ".npz"):
        shutil.copy(fidelity.REFERENCES / f"{SMALL}{suffix}", tmp_path)
    with np.load(tmp_path / f"{SMALL}.npz") as results:
        return tmp_path / f"{SMALL}.json", dict(results)


def test_a_wrong_number_is_noticed(copied, capsys, monkeypatch):
    path, results = copied
    switched = {}
    for name in ("set_cublas_switch", "set_cudnn_switch"):
        monkeypatch.setattr(paddle.base.core, name, lambda on, name=name: switched.update({name: on}), raising=False)
    results["main"][0, 3, 5, 7] += 1e-4 * np.abs(results["main"]).max()
    np.savez(path.with_suffix(".npz"), **results)
    figures = path.parent / "out" / "figures.json"
    assert fidelity.main([str(path.parent), "--json", str(figures)]) == 1
    assert switched == {"set_cublas_switch": False, "set_cudnn_switch": False}  # no TF32 on a GPU
    assert "OVER" in capsys.readouterr().out
    written = json.loads(figures.read_text())
    assert written["worst"] == pytest.approx(1e-4, rel=0.1)
    assert [row["passed"] for row in written["rows"]] == [False, True]


def test_other_salts_and_sizes_are_read(copied):
    path, results = copied
    spec = json.loads(path.read_text())
    spec.update(salt="another ", input={"seed": 3, "shape": [1, 3, 72, 136]})
    path.write_text(json.dumps(spec))
    np.savez(path.with_suffix(".npz"), main=np.ones((1, 19, 9, 17)), aux=np.ones((1, 19, 9, 17)))
    rows = fidelity.compare(path)
    assert all(np.isfinite(row.error) and not row.passed for row in rows)  # its shapes fit, its numbers cannot


def test_a_missing_epsilon_is_noticed(monkeypatch):
    monkeypatch.setattr(stdc, "NORM_EPSILON", np.float32(0))
    rows = fidelity.compare(fidelity.REFERENCES / "official_stdc1_seg.json")
    assert max(row.error for row in rows) > 1e-5


def test_another_detail_target_is_noticed(monkeypatch):
    monkeypatch.setattr(detail, "EDGE_THRESHOLD", 8.5)
    rows = fidelity.compare(fidelity.REFERENCES / "losses.json")
    assert not all(row.passed for row in rows)


def follow_two_steps(override):
    """Errors of a run of two steps on small images with one key of the official recipe changed."""
    reference = json.loads((fidelity.REFERENCES / "trajectory_official_stdc1_seg.json").read_text())
    reference.update(batch_shape=[2, 3, 32, 64], rows=reference["rows"][:2], lr0=2e-3, ohem_n_min=256)
    reference["final_norms"].pop("fuse_kernel")
    load = compare_training.load_recipe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_training, "load_recipe", lambda path, own: load(path, {**own, **override}))
        results = list(compare_training.compare_training(reference, fidelity.REFERENCES))
    return {result.output: result.error for result in results}


@pytest.fixture(scope="module")
def unchanged():
    return follow_two_steps({})


@pytest.mark.parametrize(
    ("override", "output"),
    [
        ({"optimizer.frozen": []}, "norm of cp.backbone.features.7.conv_list.3.bn.weight"),
        ({"optimizer.lr_mult": {}}, "norm of ffm.conv1.weight"),
        ({"optimizer.no_weight_decay": []}, "norm of conv_out.conv.bn.bias"),
        ({"lr_scheduler.warmup": "linear"}, "lr, 2 steps"),
        ({"loss.detail8.ignored_as_label": False}, "bce, 2 steps"),
    ],
)
def test_every_switch_of_the_official_recipe_counts(unchanged, override, output):
    assert follow_two_steps(override)[output] != pytest.approx(unchanged[output], rel=1e-6)


def test_files_that_are_none(tmp_path, copied):
    path, _ = copied
    with pytest.raises(UserError, match="no reference file"):
        fidelity.main([str(tmp_path / "absent.json")])
    for content in ("text", "{}", "[1]", '{"keys": [], "abn": [], "input": {}}', '{"rows": []}'):
        path.write_text(content)
        with pytest.raises(UserError, match=SMALL):
            fidelity.main([str(path)])


def test_relative_error():
    assert relative_error([1, 2], [1, 4]) == 0.5
    assert relative_error(0.25, 0.0) == 0.25
    assert relative_error([1.0], [[1.0]]) == relative_error(np.nan, 1.0) == float("inf")


def test_a_shared_tensor_is_seeded_by_its_root():
    spec = {"keys": [["a.weight", [4], None], ["b.weight", [4], "a.weight"]], "abn": [], "salt": "s"}
    state = random_state(spec)
    np.testing.assert_array_equal(state["a.weight"], state["b.weight"])
    assert not np.array_equal(state["a.weight"], random_state({**spec, "salt": ""})["a.weight"])
