"""engine.weights.download against a server on this machine that fails in every way."""

import errno
import hashlib
import shutil
import socket
from pathlib import Path

from compat import UserError

import numpy as np
import pytest

from engine.weights import download
from engine.weights.download import FetchError, fetch
from tests.helpers.file_server import Fault, served

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PREFIX = DIGEST[:8]
DiskUsage = type(shutil.disk_usage("."))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)


@pytest.fixture(scope="module")
def running():
    with served(CONTENT) as server:
        yield server


@pytest.fixture
def server(running):
    running.faults.clear()
    running.ranges.clear()
    return running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights.pth"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([], [None]),
        ([Fault(elsewhere=True)], [None, None]),
        ([Fault(no_length=True)], [None]),
        ([Fault(cut=100_000), Fault(cut=0), Fault(cut=50_000)], [None, *["bytes=100000-"] * 2, "bytes=150000-"]),
        ([Fault(cut=100_000), Fault(no_range=True)], [None, "bytes=100000-"]),
        ([Fault(stall=70_000, seconds=1.0)], [None, "bytes=70000-"]),
        ([Fault(status=503), Fault(status=429)], [None] * 3),
    ],
    ids=["whole", "redirect", "no length", "cut off", "no Range support", "stalls", "busy"],
)
@pytest.mark.parametrize("digest", [PREFIX, None])
def test_the_file_arrives_whole(faults, ranges, digest, server, target):
    server.faults += faults
    fetch(server.url, target, digest, "weights")
    assert target.read_bytes() == CONTENT and server.ranges == ranges
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("body", "tag"), [(CONTENT, '"new"'), (b"x" * 300_000, '"old"')], ids=["same", "changed"])
def test_a_file_that_changes_while_it_is_fetched_is_no_mixture(body, tag, server, target):
    server.faults += [Fault(body=body, cut=100_000, tag=tag), Fault(tag='"new"')]
    fetch(server.url, target, None, "weights")
    assert target.read_bytes() == CONTENT and server.ranges == [None, "bytes=100000-"]


def test_what_an_earlier_run_received_is_not_fetched_again(server, target):
    part_of(target).write_bytes(CONTENT[:123_456])
    fetch(server.url, target, DIGEST, "weights")
    assert target.read_bytes() == CONTENT and server.ranges == ["bytes=123456-"]
    part_of(target).write_bytes(CONTENT)
    fetch(server.url, target, DIGEST, "weights")
    assert target.read_bytes() == CONTENT and len(server.ranges) == 1


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * 400_000])
def test_a_part_of_another_file_is_fetched_anew(left, server, target):
    part_of(target).write_bytes(left)
    fetch(server.url, target, PREFIX, "weights")
    assert target.read_bytes() == CONTENT and server.ranges[-1] is None


def test_without_a_checksum_an_earlier_part_is_not_trusted(server, target):
    part_of(target).write_bytes(b"x" * 1000)
    fetch(server.url, target, None, "weights")
    assert target.read_bytes() == CONTENT and server.ranges == [None]


def test_a_wrong_file_is_refused_and_removed(server, target):
    server.faults.append(Fault(body=b"<html>please log in</html>"))
    with pytest.raises(FetchError, match=f"SHA-256 begins with [0-9a-f]{{8}}, not {PREFIX}: it is another file"):
        fetch(server.url, target, PREFIX, "weights")
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("faults", "message", "requests"),
    [
        ([Fault(status=404)], "HTTP 404", 1),
        ([Fault(status=500)] * 9, "HTTP 500", download.ATTEMPTS),
        ([Fault(cut=1000), *[Fault(cut=0)] * 9], "ended after 1000 of 300000 bytes", 1 + download.ATTEMPTS),
    ],
)
def test_it_gives_up(faults, message, requests, server, target):
    server.faults += faults
    with pytest.raises(FetchError, match=message):
        fetch(server.url, target, PREFIX, "weights")
    assert len(server.ranges) == requests and not target.exists()


def test_without_a_connection(target):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
    with pytest.raises(FetchError, match="refused"):
        fetch(url, target, PREFIX, "weights")


def test_a_full_disk_is_named_and_what_arrived_is_kept(server, target, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda path: DiskUsage(10**9, 10**9, 1 << 20))
        with pytest.raises(UserError, match="has 1 MiB free, and the download needs 64 MiB"):
            fetch(server.url, target, PREFIX, "weights")
    written = []

    def write(file, chunk, write=download._write):
        written.append(chunk)
        if len(written) == 3:
            file = type("Full", (), {"name": file.name, "write": lambda *_: full()})()
        write(file, chunk)

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", write)
        with pytest.raises(UserError, match="No space left on device.; what arrived is kept"):
            fetch(server.url, target, PREFIX, "weights")
    assert part_of(target).read_bytes() == CONTENT[: part_of(target).stat().st_size] != b""
    fetch(server.url, target, PREFIX, "weights")
    assert target.read_bytes() == CONTENT
