"""Raw scans in chunks, whatever they are kept in."""

import numpy as np
import pytest
import torch

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import InputContract
from liquidlens.train.datasets import joined, picked
from liquidlens.train.loop import prepare

GREY = InputContract("grey", (4, 4))


def test_arrays_and_sequences_of_one_size_give_the_same_chunks():
    scans = np.random.default_rng(0).integers(0, 256, (150, 5, 6), np.uint8)
    assert [len(chunk) for chunk in prepare.chunks(scans)] == [64, 64, 22]
    for ours, theirs in zip(prepare.chunks(list(scans)), prepare.chunks(scans), strict=True):
        assert np.array_equal(ours, theirs)
        assert ours.dtype == np.float32


def test_sizes_part_chunks_and_order_stays():
    scans = [np.full((size, size), i) for i, size in enumerate((5, 5, 6, 6, 6, 5))]
    chunks = list(prepare.chunks(scans, size=2))
    assert [chunk.shape for chunk in chunks] == [(2, 5, 5), (2, 6, 6), (1, 6, 6), (1, 5, 5)]
    inputs = prepare.prepare(scans, GREY)
    assert inputs.shape == (6, 1, 4, 4)
    assert torch.allclose(inputs.mean((1, 2, 3)) * 255, torch.arange(6.0))


def test_nothing_is_decoded_before_it_is_asked_for():
    asked = []

    class Scans(list):
        def __getitem__(self, i):
            asked.append(i)
            return super().__getitem__(i)

    scans = Scans([np.full((3, 3), i) for i in range(10)])
    chosen = joined(picked(scans, np.array([7, 2])), scans)
    assert asked == []
    assert [int(chosen[i][0, 0]) for i in (0, 1, 2)] == [7, 2, 0]
    assert asked == [7, 2, 0]
    assert len(chosen) == 12


def test_what_does_not_fit_into_memory_is_said(monkeypatch):
    monkeypatch.setattr(prepare, "_memory", lambda: 10_000)
    with pytest.raises(LiquidLensError, match=r"200 scans of \(1, 4, 4\) take 0 GB.*smaller --size"):
        prepare.prepare(np.zeros((200, 4, 4)), GREY)
