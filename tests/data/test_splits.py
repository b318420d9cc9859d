"""data.importing.splits: sequences of frames stay together."""

from compat import UserError

import pytest

from data.importing.splits import split_names


def test_a_long_sequence_does_not_become_the_validation_set():
    names = [f"frame_{number}" for number in range(99)] + ["cover"]
    for seed in range(8):
        assert split_names(names, 0.2, seed)["val"] == ["cover"]


def test_where_every_sequence_is_too_long_the_shortest_validates():
    names = [f"{city}/frame_{number}" for city, count in (("a", 60), ("b", 50), ("c", 55)) for number in range(count)]
    for seed in range(4):
        splits = split_names(names, 0.1, seed)
        assert len(splits["val"]) == 50 and all(name.startswith("b/") for name in splits["val"])


def test_sequences_stay_together():
    names = [f"city{city}/frame_{number}" for city in range(10) for number in range(7)]
    for seed in range(5):
        splits = split_names(names, 0.2, seed)
        assert sorted(splits["train"] + splits["val"]) == sorted(names) and len(splits["val"]) == 14
        assert not {name[:6] for name in splits["train"]} & {name[:6] for name in splits["val"]}
    assert split_names(names, 0.2, 0) == split_names(names[::-1], 0.2, 0) != split_names(names, 0.2, 1)


def test_one_sequence_is_cut_in_the_order_of_its_frames():
    splits = split_names([f"frame_{number}" for number in range(12)], 0.23, 0)  # 2.76 images
    assert splits["val"] == ["frame_9", "frame_10", "frame_11"]
    assert split_names(["10²9", "10²10", "10²8"], 0.3, 0)["val"] == ["10²10"]  # ² is a digit and no number
    assert split_names(["a", "b"], 0.9, 0)["train"] and split_names(["a", "b"], 0.01, 0)["val"]
    with pytest.raises(UserError, match="1 image"):
        split_names(["a"], 0.2, 0)
