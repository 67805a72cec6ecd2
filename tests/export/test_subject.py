"""What is exported: scans of one's own are read once, as far as there is room for them."""

import numpy as np
import pytest

from liquidlens.export import subject
from liquidlens.export.subject import Kept
from liquidlens.train.datasets.dataset import Decoded


@pytest.mark.parametrize(("room", "reads"), [(2**30, [0, 1, 2]), (2 * 4 * 64, [0, 1, 2, 2])])
def test_scans_are_read_once_as_far_as_there_is_room(monkeypatch, room, reads):
    monkeypatch.setattr(subject, "KEPT", room)
    read = []

    def decode(number: int) -> np.ndarray:
        read.append(number)
        return np.full((8, 8), number, np.float32)

    scans = Kept(Decoded(range(3), decode))
    for _ in range(2):
        assert [int(scan.mean()) for scan in scans] == [0, 1, 2]
    assert read == reads
