"""The cache returns what the files hold, or is left out."""

import hashlib
import json
import os
import shutil
import sys
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

from compat import UserError

import cv2
import numpy as np
import pytest

from data import build_dataset, train_batches
from data.cache import INDEX, Cache, fill_cache
from data.files import read_image
from tool.prepare_data import main as prepare_data

CROP = [{"type": "RandomPaddingCrop", "crop_size": [48, 32]}]


@pytest.fixture
def root(sample_root, tmp_path):
    """A copy of the sample, to be changed."""
    shutil.copytree(sample_root, tmp_path / "sample")
    return tmp_path / "sample"


def dataset_of(root, mode="train", **options):
    return build_dataset("Cityscapes", str(root), mode, CROP if mode == "train" else (), **options)


def fill(root):
    dataset = dataset_of(root, cache="never")
    return fill_cache(Cache(root / "cache", root), dataset.samples, dataset.num_classes)


def decoded(root, monkeypatch):
    """Names of the images that the dataset decodes while all of its samples are read."""
    names = []
    monkeypatch.setattr("data.datasets.read_image", lambda path: names.append(path.name) or read_image(path))
    dataset = dataset_of(root)
    for index, sample in enumerate(dataset.samples):
        image, label = dataset.read(index)
        assert (image == read_image(sample.image)).all() and (label == dataset.read_label(index)).all()
    return names


def change(path):
    """The same size in bytes and other pixels, at another time."""
    stat = path.stat()
    pixels = cv2.imread(str(path))
    cv2.imwrite(str(path), 255 - pixels)
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * max(0, stat.st_size - len(content)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def test_samples_are_the_same_with_and_without(root, monkeypatch):
    without = [part.numpy() for batch in train_batches(dataset_of(root), 2, 0, 0, 3) for part in batch]
    assert dataset_of(root).cache is None
    assert fill(root) == 6 and fill(root) == 0
    assert decoded(root, monkeypatch) == []
    for options in ({}, {"num_workers": 2}):
        batches = train_batches(dataset_of(root), 2, 0, 0, 3, **options)
        within = [part.numpy() for batch in batches for part in batch]
        assert len(within) == len(without) and all((a == b).all() for a, b in zip(within, without))
    assert (dataset_of(root, cache="never")[0]["label"].shape) == (32, 48)


def test_validation_reads_it_too(root):
    val_set = dataset_of(root, "val")
    fill_cache(Cache(root / "cache", root), val_set.samples, 19)
    cached = dataset_of(root, "val", cache="always")[1]
    assert (cached["img"] == val_set[1]["img"]).all() and (cached["label"] == val_set[1]["label"]).all()
    cached["label"][0] = 3  # whoever gets an item may write to it
    assert (dataset_of(root, "val")[1]["label"] == val_set[1]["label"]).all()


def test_a_changed_source_is_noticed(root, monkeypatch):
    fill(root)
    samples = dataset_of(root).samples
    change(samples[2].image)
    assert decoded(root, monkeypatch) == [samples[2].image.name]
    dataset = dataset_of(root)
    change(samples[4].image)  # while the dataset is in use
    assert (dataset.read(4).image == read_image(samples[4].image)).all()
    assert fill(root) == 2 and decoded(root, monkeypatch) == []


def test_other_labels_or_classes_are_noticed(root):
    fill(root)
    cache, sample = Cache(root / "cache", root), dataset_of(root).samples[0]
    assert cache.find(sample)
    assert cache.find(sample._replace(table=np.roll(sample.table, 1))) is None
    assert cache.find(sample._replace(label=None)) is None
    label_ids = sample.label.with_name(sample.label.name.replace("TrainIds", "Ids"))
    assert cache.find(sample._replace(label=label_ids)) is None


def test_a_damaged_file_is_noticed(root, monkeypatch):
    fill(root)
    cache, samples = Cache(root / "cache", root), dataset_of(root).samples
    cut, flipped, gone = (root / "cache" / cache.file_of(sample) for sample in samples[:3])
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    assert decoded(root, monkeypatch) == [samples[0].image.name, samples[2].image.name]
    content = bytearray(flipped.read_bytes())
    content[100] ^= 1
    flipped.write_bytes(content)
    assert fill(root) == 3 and decoded(root, monkeypatch) == []
    assert fill(root) == 0


def test_an_interrupted_run_is_taken_up(root, monkeypatch):
    write = Cache.write

    def interrupted(self, sample, num_classes):
        if sample.image == samples[3].image:
            raise KeyboardInterrupt
        return write(self, sample, num_classes)

    samples = dataset_of(root).samples
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Cache, "write", interrupted)
        fill(root)
    index = root / "cache" / INDEX
    lines = index.read_text().split("\n")[1:]
    assert len(lines) == 3
    index.write_text("\n".join([*lines[:2], lines[2][:40]]))  # and its last line did not reach the disk whole
    assert fill(root) == 4 and decoded(root, monkeypatch) == []
    assert all(json.loads(line) for line in index.read_text().splitlines() if line != lines[2][:40])
    assert not list((root / "cache").glob("*.partial"))


def test_dataset_and_cache_may_move_together(root, tmp_path):
    fill(root)
    root.rename(tmp_path / "elsewhere")
    assert dataset_of(tmp_path / "elsewhere", cache="always").cache


def test_datasets_of_several_roots_share_a_folder(root, tmp_path):
    """Names relative to each root alone were the same for both, so that each overwrote the other's files."""
    other = tmp_path / "other"
    shutil.copytree(root, other)
    for image in (other / "leftImg8bit").rglob("*.png"):
        change(image)
    caches = {one: Cache(tmp_path / "shared", one) for one in (root, other)}
    for expected in (6, 0):
        for one, cache in caches.items():
            samples = dataset_of(one, cache="never").samples
            assert fill_cache(cache, samples, 19) == expected
    for one in (root, other):
        dataset = dataset_of(one, cache="always", cache_dir=str(tmp_path / "shared"))
        assert (dataset.cache.read(dataset.samples[2]).image == read_image(dataset.samples[2].image)).all()
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("shared", "sample", "other"):
        (tmp_path / name).rename(moved / name)
    assert dataset_of(moved / "other", cache="always", cache_dir=str(moved / "shared")).cache


def test_the_names_of_a_cache_in_its_dataset_are_those_of_all_versions(root):
    sample = dataset_of(root).samples[0]
    names = "\n".join(str(path.relative_to(root)) for path in (sample.image, sample.label))
    assert Cache(root / "cache", root).file_of(sample) == hashlib.sha1(names.encode()).hexdigest() + ".raw"


def test_a_cache_on_another_drive_is_named_by_whole_paths(root, monkeypatch):
    """os.path.relpath raises ValueError between the drives of Windows."""
    relpath = os.path.relpath

    def of_one_drive(path, start):
        if os.path.commonpath([root, path]) != os.path.commonpath([root, start]):
            raise ValueError("path is on mount 'D:', start on mount 'E:'")
        return relpath(path, start)

    monkeypatch.setattr(os.path, "relpath", of_one_drive)
    elsewhere, sample = root.parent / "drive", dataset_of(root).samples[0]
    far = sample._replace(image=elsewhere / "a.png")  # as extra_list may name
    assert len({Cache(elsewhere, root).file_of(one) for one in (sample, far)}) == 2
    assert Cache(elsewhere, root).file_of(sample) != Cache(elsewhere, root / "part").file_of(sample)


def test_a_small_disk_is_refused_before_it_is_full(root, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = 6 * 128 * 64 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed - 1))
    with pytest.raises(UserError, match="the cache needs .* GiB more, and its disk has .* free; choose another folder"):
        fill(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed))
    assert fill(root) == 6
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 0))
    assert fill(root) == 0  # nothing is missing, nothing is needed


def test_images_without_labels(root, monkeypatch):
    samples = [sample._replace(label=None) for sample in dataset_of(root).samples[:2]]
    usage, cache = namedtuple("usage", "total used free"), Cache(root / "cache", root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * 128 * 64 * 3))
    assert fill_cache(cache, samples, 19) == 2 and fill_cache(cache, samples, 19) == 0
    for sample in samples:
        image, label = cache.read(sample)
        assert (image == read_image(sample.image)).all() and label is None


def test_a_disk_that_fills_up_keeps_what_is_whole(root, monkeypatch):
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr("data.cache.reader_threads", lambda: 1)  # several may finish in another order than they begin
        with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); 2 files"):
            fill(root)
    assert fill(root) == 4


def test_threads_may_write_the_same_sample(root, monkeypatch):
    """As after a call that failed, whose threads are still at work when it is repeated."""
    sample, cache = dataset_of(root, cache="never").samples[0], Cache(root / "cache", root)
    cache.folder.mkdir()
    both_have_written = threading.Barrier(2, timeout=30)
    monkeypatch.setattr(os, "fsync", lambda descriptor: both_have_written.wait())
    with ThreadPoolExecutor(2) as threads:
        entries = list(threads.map(lambda _: cache.write(sample, 19), range(2)))
    cache.add(entries[0])
    assert entries[0] == entries[1] and cache.is_intact(sample)
    assert [path.suffix for path in cache.folder.glob("*.*") if path.name != INDEX] == [".raw"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "yes"}, "cache: 'yes' is not one of auto, always, never"),
        ({"cache": "always"}, "0 of 6 images are in the cache; .* python -m tool.prepare_data cache"),
        ({"cache": "always", "cache_dir": "no/such"}, "no/such: 0 of 6 images"),
    ],
)
def test_refusals(root, options, message):
    with pytest.raises(UserError, match=message):
        dataset_of(root, **options)


def test_a_bad_image_is_named(root):
    bad = dataset_of(root).samples[3].image
    bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{bad.name}: not a complete image file"):
        fill(root)
    assert fill_cache(Cache(root / "cache", root), dataset_of(root).samples[:3], 19) == 0  # those before it are there


def test_the_command(root, tmp_path, capsys):
    arguments = ["cache", "--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(root)]
    elsewhere = ["--opts", *(f"{part}_dataset.cache_dir={tmp_path / 'cache'}" for part in ("train", "val"))]
    for extra, folder in ((["--cache_dir", str(tmp_path / "c")], tmp_path / "c"), (elsewhere, tmp_path / "cache")):
        prepare_data([*arguments, *extra])
        assert f"{folder}: train: 6 images, 6 decoded, 0 were up to date" in capsys.readouterr().out
        assert len(list(folder.glob("*.raw"))) == 9
    prepare_data([*arguments, "--splits", "val"])
    assert len(list((root / "cache").glob("*.raw"))) == 3


def test_the_command_writes_each_split_where_training_looks_for_it(root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other)
    opts = [f"train_dataset.cache_dir={tmp_path / 'c'}", f"val_dataset.dataset_root={other}"]
    arguments = ["cache", "--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(root), "--opts", *opts]
    prepare_data(arguments)
    assert dataset_of(root, cache="always", cache_dir=str(tmp_path / "c")).cache
    assert dataset_of(other, "val", cache="always").cache
    assert len(list((tmp_path / "c").glob("*.raw"))) == 6 and not (root / "cache").exists()


def test_the_command_decodes_the_further_images_of_training(root, tmp_path, capsys):
    sample = dataset_of(root, "val").samples[0]
    shutil.copy(sample.image, tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a_label.png"), np.zeros((64, 128), np.uint8))
    (tmp_path / "extra.txt").write_text(f"{tmp_path / 'a.png'}\t{tmp_path / 'a_label.png'}\n")
    arguments = ["cache", "--config", "configs/stdc1_seg_sample.yml", "--dataset_root", str(root)]
    prepare_data([*arguments, "--opts", f"train_dataset.extra_list={tmp_path / 'extra.txt'}"])
    output = capsys.readouterr().out
    assert "train: 7 images, 7 decoded" in output and "val: 3 images, 3 decoded" in output
    assert len(dataset_of(root, cache="always", extra_list=str(tmp_path / "extra.txt"))) == 7


def test_a_damaged_index_is_an_empty_one(root):
    fill(root)
    (root / "cache" / INDEX).write_bytes(b"\xff\xfe{")
    assert Cache(root / "cache", root).entries == {}
    assert fill(root) == len(dataset_of(root, cache="never"))


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_names_that_are_not_utf8_are_cached_and_no_list_can_hold_them(root):
    for path in [*root.rglob("*000001_000019*.png")]:
        os.rename(path, os.fsencode(path).replace(b"stadt_0", b"st\xe4dt_0"))
    assert fill(root) == len(dataset_of(root, cache="never"))
    assert dataset_of(root, cache="always").cache
    with pytest.raises(UserError, match="train.txt: a name is not UTF-8"):
        prepare_data(["cityscapes", "--dataset_root", str(root)])
    assert not (root / "train.txt").exists()
