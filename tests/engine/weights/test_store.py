"""Weights by name: found, fetched once, checked, converted, kept; and what is said where that fails."""

import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path

from compat import UserError

import numpy as np
import paddle
import pytest
import safetensors.numpy
import yaml

import models
from benchmarks.originals.reference import random_state
from engine.build import network_of, weight_file
from engine.conversion import SOURCES, convert
from engine.recipe import load_recipe
from engine.weights import download, manifest, read_manifest, store
from models.weights import load_weights, read_weights
from tests.helpers.file_server import Fault, served
from tests.helpers.torch_writer import write_checkpoint
from tests.helpers.zero_networks import zero_networks

ROOT = Path(__file__).parents[3]
REFERENCES = ROOT / "benchmarks" / "originals" / "reference_files"
FIELDS = {"licence": "MIT", "tensors": 1, "expect": "a test"}
PAGE = "https://example.org/weights"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(tensors, file) of a backbone as mmsegmentation publishes it, random."""
    prefix = "backbone.backbone."
    state = random_state(json.loads((REFERENCES / "mmseg_stdc1.json").read_text()))
    tensors = {name[len(prefix) :]: array for name, array in state.items() if name.startswith(prefix)}
    return tensors, write_checkpoint(tmp_path_factory.mktemp("published") / "stdc1.pth", tensors)


@pytest.fixture(scope="module")
def running(published):
    with served(published[1].read_bytes()) as server:
        yield server


@pytest.fixture
def server(running):
    running.faults.clear()
    running.ranges.clear()
    return running


@pytest.fixture
def world(server, published, tmp_path, monkeypatch):
    """A manifest, the folder of the weights, and nothing of either in this repository."""
    content = published[1].read_bytes()
    entries = [
        {"name": "stdc1_here", "url": server.url, "sha256": hashlib.sha256(content).hexdigest()[:8]},
        {"name": "stdc1_unchecked", "url": server.url, "output": "stdc1_imagenet.pdparams"},
        {"name": "stdc1_page", "page": PAGE, "sha256": hashlib.sha256(content).hexdigest()},
    ]
    remote = {"file": "stdc1.pth", "model": "stdc1_seg", "source": "mmseg-imagenet", **FIELDS}
    shipped = {"name": "tiny_shipped", "file": "shipped.safetensors", "model": "stdc1_seg", **FIELDS}
    file = tmp_path / "manifest.yml"
    file.write_text(yaml.safe_dump([*({**remote, **entry} for entry in entries), shipped]))
    monkeypatch.setattr(manifest, "MANIFEST", file)
    monkeypatch.setattr(store, "PRETRAINED", tmp_path)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("STDC_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture(autouse=True)
def no_random_weights():
    with zero_networks():
        yield


def left_in(folder: Path) -> set:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_fetched_converted_and_loaded_once(world, server, published, small_recipe):
    server.faults += [Fault(elsewhere=True), Fault(cut=100_000)]
    recipe = small_recipe(model__backbone__pretrained="stdc1_here")
    network = network_of(recipe, 19)
    expected = convert(published[0], "stdc1_seg").tensors
    assert len(expected) == 145
    state = network.state_dict()
    assert all(np.array_equal(state[name].numpy(), array) for name, array in expected.items())
    assert server.ranges == [None, None, "bytes=100000-"] and left_in(world) == {"stdc1_here.pdparams"}
    network_of(recipe, 19)
    assert len(server.ranges) == 3


def test_two_processes_fetch_once(world, server, monkeypatch):
    monkeypatch.setattr(store, "_convert", lambda entry, file: convert_nothing())
    server.faults.append(Fault(stall=1000, seconds=0.3))
    child = os.fork()
    if not child:
        try:
            os._exit(0 if weight_file("stdc1_here").is_file() else 1)
        finally:
            os._exit(2)
    assert weight_file("stdc1_here").is_file()
    assert os.waitpid(child, 0)[1] == 0
    assert server.ranges in ([None, "bytes=1000-"], [None, None]) and left_in(world) == {"stdc1_here.pdparams"}


def convert_nothing():
    source = next(source for source in SOURCES if source.name == "mmseg-imagenet")
    return store.Conversion(source, "stdc1_seg", 19, 1, {"w": np.ones(2)}, {}, [])


def test_what_is_here_comes_first(world, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "stdc1_here"
    file.write_bytes(b"mine")
    assert weight_file("stdc1_here") == Path("stdc1_here")
    file.unlink()
    file.mkdir()
    assert weight_file("stdc1_here") == Path("stdc1_here/model.pdparams") and server.ranges == []


def test_a_file_put_there_by_hand_is_converted_and_kept(world, server, published):
    world.mkdir()
    (world / "stdc1.pth").write_bytes(published[1].read_bytes())
    assert len(read_weights(weight_file("stdc1_page"))) == 145
    assert left_in(world) == {"stdc1.pth", "stdc1_page.pdparams"} and server.ranges == []
    (world / "stdc1.pth").write_bytes(b"another")
    with pytest.raises(UserError, match=r"stdc1.pth: its SHA-256 does not begin with .*, so it is not stdc1_here"):
        weight_file("stdc1_here")
    assert (world / "stdc1.pth").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "stdc1_page",
            rf"^stdc1_page: {PAGE} gives no direct download; fetch stdc1.pth there and put it at .*kept/stdc1",
        ),
        ("stdc1_her", "^stdc1_her: neither a file here nor a name of weights in .*; did you mean stdc1_here?"),
        ("zzz", "a name of weights in pretrained/manifest.yml$"),
        ("pretrained/stdc1_imagenet.pdparams", "no such weight file; a name in its place is fetched: stdc1_unchecked$"),
        ("https://example.org/x.pth", "not a URL of pretrained/manifest.yml; fetch it, and convert it"),
        ("tiny_shipped", "shipped.safetensors: no such weight file, though it belongs to the repository"),
    ],
)
def test_what_cannot_be_had_is_named(name, message, world):
    with pytest.raises(UserError, match=message):
        weight_file(name)


def test_offline_it_says_what_to_fetch_and_where_to_put_it(world, server):
    server.faults += [Fault(status=503)] * 9
    with pytest.raises(UserError) as error:
        weight_file("stdc1_here")
    assert str(error.value) == (
        f"stdc1_here: not fetched (HTTP 503 Service Unavailable); fetch {server.url} and put it at {world}/stdc1.pth"
    )


@pytest.mark.parametrize("name", ["stdc1_here", "stdc1_unchecked"])
def test_a_page_instead_of_the_file_leaves_nothing(name, world, server):
    server.faults.append(Fault(body=b"<!DOCTYPE html><html>log in</html>"))
    with pytest.raises(UserError, match="it is another file|a web page, not the file that it links to"):
        weight_file(name)
    assert left_in(world) == set()
    assert weight_file(name).is_file()


def test_a_folder_that_cannot_be_written(world, tmp_path):
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(UserError, match=r"kept: cannot be written \(.*\); name another folder .* STDC_WEIGHTS"):
        weight_file("stdc1_here")


def test_the_weights_within_an_archive(published, tmp_path):
    packed = tmp_path / "packed.tar.gz"
    for count in (1, 2):
        with tarfile.open(packed, "w:gz") as archive:
            for number in range(count):
                info = tarfile.TarInfo(f"../PP_STDCNet{number}/model.pdparams")
                info.size = 3
                archive.addfile(info, io.BytesIO(b"abc"))
        if count == 1:
            store._unpack(packed, tmp_path / "unpacked")
            assert (tmp_path / "unpacked").read_bytes() == b"abc"
    with pytest.raises(UserError, match=r"holds 2 files \*.pdparams; expected one"):
        store._unpack(packed, tmp_path / "unpacked")
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(UserError, match="packed.tar.gz: not a readable archive"):
        store._unpack(packed, tmp_path / "unpacked")


def test_shipped_weights_in_half_precision(world, tmp_path):
    network = models.build_model("stdc1_seg", 5)
    state = {name: np.full(tensor.shape, 0.1, "float16") for name, tensor in network.state_dict().items()}
    safetensors.numpy.save_file(state, str(tmp_path / "shipped.safetensors"))
    load_weights(network, weight_file("tiny_shipped"))
    assert all(tensor.dtype == paddle.float32 for tensor in network.state_dict().values())
    assert np.allclose(network.heads["main"].classifier.weight.numpy(), 0.1, atol=1e-4)
    (tmp_path / "shipped.safetensors").write_bytes(b"abc")
    with pytest.raises(UserError, match="shipped.safetensors: not a readable safetensors file"):
        read_weights(weight_file("tiny_shipped"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "12"}, "0.sha256: .*12"),
        ({"url": PAGE, "page": PAGE}, "url and page: one of them is enough"),
        ({"page": PAGE}, "a file from elsewhere has a source"),
        ({"md5": "1"}, "the key 'md5' is not known"),
    ],
)
def test_a_malformed_manifest_is_named(change, message, tmp_path):
    file = tmp_path / "m.yml"
    file.write_text(yaml.safe_dump([{"name": "a", "file": "a.pth", "model": "stdc1_seg", **FIELDS, **change}]))
    with pytest.raises(UserError, match=message):
        read_manifest(file)


def test_the_manifest_agrees_with_recipes_and_file_names():
    for entry in read_manifest().values():
        stated = re.search(r"-([0-9a-f]{8})\.pth$", entry.file)
        assert entry.sha256 == (stated[1] if stated else "unknown") or entry.is_shipped, entry.name
        assert entry.url is None or entry.url.endswith("/" + entry.file), entry.name
        if entry.recipe:
            model = load_recipe(entry.recipe, {}, entry.opts).model
            given = {key: getattr(model, key) for key in entry.options}
            assert (model.type, given) == (entry.model, entry.options), entry.name


def test_shipped_weights_fit_the_network_of_their_recipe():
    for entry in (entry for entry in read_manifest().values() if entry.is_shipped):
        recipe = load_recipe(entry.recipe, {}, entry.opts)
        network = network_of(recipe, recipe.val_dataset.class_count, weights=False)
        assert load_weights(network, weight_file(entry.name)) == entry.tensors, entry.name
        assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()), entry.name
