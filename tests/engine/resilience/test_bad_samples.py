"""The list of unreadable images by itself; test_faults.py has it in runs."""

from types import SimpleNamespace

from compat import UserError

import paddle
import pytest

from engine.resilience import bad_samples
from engine.resilience.bad_samples import BadSamples


def test_each_device_lists_what_it_found(tmp_path, monkeypatch):
    def unreadable(index, rng):
        raise UserError(f"{index} is damaged")

    def candidates(dataset, number, seed):  # image N itself, then image 9
        return [SimpleNamespace(index=number), SimpleNamespace(index=9)]

    monkeypatch.setattr(bad_samples, "sample_candidates", candidates)
    dataset = SimpleNamespace(file_list=[(f"{index}.png", None) for index in range(10)], train_item=unreadable)
    devices = [BadSamples(dataset, 0, 2, tmp_path, rank) for rank in range(2)]
    for numbers, delivered in (([0, 1], [0, 9]), ([2, 3], [9, 9])):
        devices[numbers[0] // 2].delivered(numbers, paddle.to_tensor(delivered))
    for device in devices:
        device.check()
        device.check()
    assert (tmp_path / "bad_samples.txt").read_text() == "1.png: 1 is damaged\n"
    assert (tmp_path / "bad_samples_rank_1.txt").read_text() == "2.png: 2 is damaged\n3.png: 3 is damaged\n"
    devices[1].delivered([1], paddle.to_tensor([9]))
    with pytest.raises(UserError, match="bad sample number 3, and .* allows 2; they are listed in .*_rank_1.txt"):
        devices[1].check()
