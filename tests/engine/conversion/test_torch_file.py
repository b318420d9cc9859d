"""engine.conversion.torch_file: what it reads, and that nothing else happens."""

import pickle
import random
import warnings
import zipfile

from compat import UserError

import numpy as np
import pytest

from engine.conversion.torch_file import read_torch_file
from tests.helpers.torch_writer import LEGACY_START, literal, mapping, tensor, write_legacy, write_zip

FOUR = np.arange(4, dtype="float32")
BOTH = pytest.mark.parametrize("write", [write_zip, write_legacy])


def torch_or_skip():
    return pytest.importorskip("torch", reason="torch, a development requirement, is not installed: not compared")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_files_written_by_torch(tmp_path, legacy):
    torch = torch_or_skip()
    base = torch.randn(4, 6)
    types = ("float16", "bfloat16", "float32", "float64", "int64", "int32", "uint8", "bool")
    state = {name: (torch.randn(3, 5) * 3).to(getattr(torch, name)) for name in types}
    state.update(
        shared=base,
        transposed=base.t(),
        inner=base[1:3, ::2],
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    beside = {"epoch": 3, "size": torch.Size([1]), "best": np.float64(0.7), "type": torch.float32}
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict()
    path = tmp_path / "checkpoint.tar"
    torch.save({"optimizer": optimizer, **beside, "state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    weights = read_torch_file(path)
    assert set(weights.ignored) == {"optimizer", *beside}
    assert list(weights.tensors) == list(state)
    for name, expected in state.items():
        expected = expected.detach()
        expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
        assert weights.tensors[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(weights.tensors[name], expected, err_msg=name)


def test_torch_modules_with_metadata(tmp_path):
    torch = torch_or_skip()
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(network.state_dict(), tmp_path / "network.pth")
    tensors = read_torch_file(tmp_path / "network.pth").tensors
    assert tensors["1.num_batches_tracked"].shape == ()
    np.testing.assert_array_equal(tensors["0.weight"], network[0].weight.detach().numpy())


@BOTH
def test_views_share_a_storage(tmp_path, write):
    content = mapping(
        {"all": tensor(), "last": tensor(offset=2, shape=(2,)), "grid": tensor(shape=(2, 2), strides=(1, 2))}
    )
    tensors = read_torch_file(write(tmp_path / "f.pth", content, {"0": FOUR.tobytes()})).tensors
    np.testing.assert_array_equal(tensors["all"], FOUR)
    np.testing.assert_array_equal(tensors["last"], [2, 3])
    np.testing.assert_array_equal(tensors["grid"], [[0, 2], [1, 3]])


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@BOTH
@pytest.mark.parametrize("place", ["value", "beside", "persistent id"])
def test_runs_nothing(tmp_path, write, place):
    victim = tmp_path / "victim"
    attack = pickle.dumps(Attack(victim), 2)[2:-1]
    pickle.loads(b"\x80\x02" + attack + b".")
    assert victim.exists(), "the attack itself must work"
    victim.unlink()
    values = {"value": {"w": attack}, "beside": {"w": tensor(), "x": attack}, "persistent id": {"w": attack + b"Q"}}
    path = write(tmp_path / "evil.pth", mapping(values[place]), {"0": FOUR.tobytes()})
    with pytest.raises(UserError, match=r"asks for builtins\.exec.*was not run"):
        read_torch_file(path)
    assert not victim.exists()


def test_state_setting_runs_nothing_and_changes_nothing(tmp_path):
    # BUILD would set attributes of the very function that rebuilds tensors.
    setting = b"ctorch._utils\n_rebuild_tensor_v2\n" + literal((None, {"__defaults__": (1,)})) + b"b0"
    content = b"\x80\x02" + setting + mapping({"w": tensor()})[2:]
    path = write_zip(tmp_path / "f.pth", content, {"0": FOUR.tobytes()})
    np.testing.assert_array_equal(read_torch_file(path).tensors["w"], FOUR)


BAD_TENSORS = {
    "negative size": {"shape": (-4,)},
    "negative stride": {"strides": (-1,)},
    "negative offset": {"offset": -1},
    "negative numel": {"numel": -4},
    "beyond the storage": {"offset": 1},
    "stride beyond": {"strides": (2,)},
    "numel beyond the file": {"numel": 5, "shape": (5,)},
    "huge": {"shape": (1 << 40, 1 << 40), "strides": (1, 1), "numel": 1 << 61},
    "expanded to fill the memory": {"shape": (1 << 40,), "strides": (0,)},
    "unequal ranks": {"shape": (2, 2)},
    "size of the wrong type": {"shape": (4.0,)},
    "shape of the wrong type": {"shape": 4},
    "unknown storage": {"storage": "QuantizedStorage"},
    "key of the wrong type": {"key": 0},
    "absent key": {"key": "7"},
}


@BOTH
@pytest.mark.parametrize("change", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_impossible_tensors(tmp_path, write, change):
    path = write(tmp_path / "f.pth", mapping({"w": tensor(**change)}), {"0": FOUR.tobytes()})
    with pytest.raises(UserError, match=r"f\.pth: not a readable torch checkpoint"):
        read_torch_file(path)


BAD_PICKLES = {
    "persistent id that is no tuple": b"\x80\x02}" + literal("w") + literal("storage") + b"Qs.",
    "persistent id without type": b"\x80\x02}" + literal("w") + literal(("storage", "x", "0", "cpu", 4)) + b"Qs.",
    "no dictionary": b"\x80\x02]" + tensor() + b"a.",
    "no tensors": mapping({"epoch": literal(1)}),
    "names that are no text": b"\x80\x02}" + literal((1, 2)) + tensor() + b"s.",
    "tensors rebuilt from text": mapping({"w": b"ctorch._utils\n_rebuild_tensor_v2\n(" + literal("0") * 4 + b"tR"}),
    "opcode that does not exist": b"\x80\x02}\xff.",
    "memo of 2^31 entries": b"\x80\x02}r\xff\xff\xff\x7f" + literal("w") + b"\x8e" + b"\xff" * 8 + b"s.",
    "nested beyond recursion": b"\x80\x02}" + b"(" * 100_000 + b"t" * 100_000 + tensor() + b"s.",
    "ends early": mapping({"w": tensor()})[:-8],
    "nothing": b"",
}


@BOTH
@pytest.mark.parametrize("content", BAD_PICKLES.values(), ids=BAD_PICKLES)
def test_impossible_pickles(tmp_path, write, content):
    path = write(tmp_path / "f.pth", content, {"0": FOUR.tobytes()})
    with pytest.raises(UserError, match=r"f\.pth: not a readable torch checkpoint"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"text", pickle.dumps({"w": 1}, 2), pickle.dumps(7, 2), b"\0" * 99]
)
def test_other_files(tmp_path, data):
    path = tmp_path / "f.pth"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"f\.pth"):
        read_torch_file(path)
    with pytest.raises(UserError, match="No such file"):
        read_torch_file(tmp_path / "absent.pth")


@BOTH
def test_tensors_beside_the_state_dict_do_not_hide_it(tmp_path, write):
    """Such as the state of a random generator, which mmengine and others keep at the top."""
    inner = mapping({"w": tensor()})[2:-1]
    content = mapping({"rng_state": tensor("1"), "epoch": literal(3), "state_dict": inner})
    weights = read_torch_file(write(tmp_path / "f.pth", content, {"0": FOUR.tobytes(), "1": FOUR.tobytes()}))
    assert list(weights.tensors) == ["w"] and set(weights.ignored) == {"rng_state", "epoch"}
    flat = mapping({"w": tensor(), "model": mapping({"depth": literal(3)})[2:-1]})
    assert list(read_torch_file(write(tmp_path / "f.pth", flat, {"0": FOUR.tobytes()})).tensors) == ["w"]


@BOTH
def test_a_small_file_does_not_become_gigabytes(tmp_path, write):
    numbers = np.zeros(10_000, "float32").tobytes()
    shared = {f"w{copy}": tensor("0", 10_000, 0, (10_000,)) for copy in range(50)}
    with pytest.raises(UserError, match="50 tensors share the same numbers: 2000000 bytes of tensors in a file of"):
        read_torch_file(write(tmp_path / "f.pth", mapping(shared), {"0": numbers}))
    twice = {name: shared[name] for name in ("w0", "w1")}  # as the original STDC holds its backbone
    assert len(read_torch_file(write(tmp_path / "f.pth", mapping(twice), {"0": numbers})).tensors) == 2


def test_compressed_entries_are_refused(tmp_path):
    bomb = write_zip(tmp_path / "f.pth", mapping({"w": tensor()}), {"0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 16
    with pytest.raises(UserError, match="compressed"):
        read_torch_file(bomb)


def test_unknown_version(tmp_path):
    path = tmp_path / "f.pth"
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in (LEGACY_START[0], 1002)))
    with pytest.raises(UserError, match="unknown version"):
        read_torch_file(path)


@BOTH
def test_every_truncation_and_random_damage(tmp_path, write):
    whole = write(tmp_path / "f.pth", mapping({"w": tensor()}), {"0": FOUR.tobytes()}).read_bytes()
    path = tmp_path / "damaged.pth"
    generator = random.Random(0)
    damaged = [whole[:length] for length in range(0, len(whole), 3)]
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            changed[generator.randrange(len(whole))] = generator.randrange(256)
        damaged.append(bytes(changed))
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_torch_file(path)
        except UserError:  # and no other exception
            refused += 1
    assert refused > len(whole) // 3 - 8  # all truncations but those of the zip's last, redundant bytes
