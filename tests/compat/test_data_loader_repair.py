"""Threads of a loader with worker processes."""

import os
import sys

import numpy as np
import pytest
from paddle.io import DataLoader, Dataset


class Numbers(Dataset):
    """Six samples [2] float32; `bad` is the index of one that cannot be read."""

    def __init__(self, bad=None):
        super().__init__()
        self.bad = bad

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == self.bad:
            raise ValueError("cannot be read")
        return np.full(2, index, np.float32)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("bad", [None, 5])
def test_the_reader_thread_ends_with_the_loop(bad):
    """It ended up to five seconds later, in a lock that workers forked just then waited for without end."""
    batches = iter(DataLoader(Numbers(bad), batch_size=2, num_workers=1, shuffle=False))
    thread = batches._thread
    task = f"/proc/self/task/{thread.native_id}"
    assert os.path.exists(task)
    if bad is None:
        assert [batch.numpy()[0, 0] for batch in batches] == [0, 2, 4]
    else:
        with pytest.raises(Exception, match="cannot be read"):
            list(batches)
    assert not thread.is_alive() and not os.path.exists(task)
