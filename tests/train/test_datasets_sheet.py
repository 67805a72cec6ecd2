"""The contact sheet: a row per class, whatever the dataset holds."""

from dataclasses import replace

import numpy as np
import pytest

from liquidlens.train.datasets import Dataset
from liquidlens.train.datasets.contact_sheet import BACKGROUND, GAP, LABELS, MARGIN, TILE, contact_sheet

rng = np.random.default_rng(0)


def dataset(shape, task="classes", **facts):
    labels = np.arange(12) % 3
    if task == "multi-label":
        labels = np.eye(3, dtype=np.float32)[labels]
    if task == "pose":
        labels = rng.random((12, 3), np.float32)
    return Dataset(
        name="phantom-of-a-test",
        label_names=("one", "two (or more)", "a very long name of a class that goes over lines/unbreakable" + "x" * 60),
        md5="",
        scans=dict.fromkeys(("train", "val", "test"), rng.integers(0, 256, (12, *shape), dtype=np.uint8)),
        labels=dict.fromkeys(("train", "val", "test"), labels),
        task=task,
        **facts,
    )


def test_values_in_units_of_their_own_are_not_black():
    held = dataset((6, 28, 28), values="relative")
    scans = {split: own.astype(np.float32) / 300 - 0.2 for split, own in held.scans.items()}
    sheet = np.asarray(contact_sheet(replace(held, scans=scans), 1).convert("L"))
    left = MARGIN + LABELS
    assert np.ptp(sheet[-MARGIN - TILE : -MARGIN, left : left + TILE]) > 200


@pytest.mark.parametrize(
    ("shape", "facts", "rows"),
    [
        ((28, 28), {"values": "grey"}, 3),
        ((300, 200), {"values": "grey"}, 3),
        ((32, 32, 3), {"values": "grey", "channels": 3}, 3),
        ((5, 6, 7), {"values": "mask"}, 3),
        ((5, 6, 7), {"values": "hu", "window": (0.0, 200.0)}, 3),
        ((28, 28), {"values": "grey", "task": "multi-label"}, 3),
        ((20, 7, 7), {"values": "features", "task": "pose", "channels": 20}, 1),
    ],
)
def test_a_row_per_class(shape, facts, rows):
    page = contact_sheet(dataset(shape, **facts), per_class=3)
    pixels = np.asarray(page)
    assert page.width >= 2 * MARGIN + LABELS + 3 * TILE
    bottom = pixels[-MARGIN - rows * (TILE + GAP) + GAP : -MARGIN]
    left = MARGIN + LABELS + TILE // 2
    middles = bottom[TILE // 2 :: TILE + GAP, left]
    assert len(middles) == rows
    assert (middles != BACKGROUND).any(1).all(), "a scan in every row"
    assert (pixels[-MARGIN:] == BACKGROUND).all()
