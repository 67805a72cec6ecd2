"""Raw scans in chunks, whatever they are kept in."""

import numpy as np
import pytest
import torch

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.train.datasets import joined, picked
from liquidlens.train.datasets.dataset import Placed
from liquidlens.train.loop import prepare

GREY = InputContract("grey", (4, 4))


def test_arrays_and_sequences_of_one_size_give_the_same_chunks():
    scans = np.random.default_rng(0).integers(0, 256, (150, 5, 6), np.uint8)
    assert [len(feed["scan"]) for feed in prepare.feeds(scans, GREY)] == [64, 64, 22]
    for ours, theirs in zip(prepare.feeds(list(scans), GREY), prepare.feeds(scans, GREY), strict=True):
        assert list(ours) == list(theirs) == ["scan"]
        assert np.array_equal(ours["scan"], theirs["scan"])
        assert ours["scan"].dtype == np.float32


def test_sizes_part_chunks_and_order_stays():
    scans = [np.full((size, size), i) for i, size in enumerate((5, 5, 6, 6, 6, 5))]
    batches = [feed["scan"] for feed in prepare.feeds(scans, GREY, size=2)]
    assert [batch.shape for batch in batches] == [(2, 5, 5), (2, 6, 6), (1, 6, 6), (1, 5, 5)]
    inputs = prepare.prepare(scans, GREY)
    assert inputs.shape == (6, 1, 4, 4)
    assert torch.allclose(inputs.mean((1, 2, 3)) * 255, torch.arange(6.0))


def test_of_volumes_with_places_the_field_of_view_alone_is_kept():
    contract = InputContract("hu", (4, 4, 4), (-1000.0, 400.0), spacing=(1.0, 1.0, 1.0))
    volume = np.random.default_rng(0).normal(-500, 300, (40, 60, 50)).astype(np.float32)
    where = [((2.0, 0.5, 0.5), (20, 30, 25)), ((2.0, 0.5, 0.5), (20, 11, 40.5)), ((1.0, 1.0, 1.0), (0, 59, 0))]
    scans = [Placed(volume, np.float32(mm), np.float32(at)) for mm, at in where]
    feeds = list(prepare.feeds(scans, contract))
    assert [feed["scan"].shape for feed in feeds] == [(1, 3, 9, 9), (1, 3, 9, 8), (1, 3, 3, 3)]
    inputs = prepare.prepare(scans, contract)
    front = Front(contract)
    for scan, found in zip(scans, inputs, strict=True):
        pixels, spacing, centre = map(torch.from_numpy, scan)
        assert torch.allclose(front(pixels[None], spacing[None], centre[None])[0], found, atol=1e-6)


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
