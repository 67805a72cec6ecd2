"""Augmentation in millimetres: what it moves, by how much, and that it never runs out of what is known of a scan."""

import itertools
import math

import numpy as np
import pytest
import torch

from liquidlens.manifest import InputContract
from liquidlens.train.datasets.dataset import Placed
from liquidlens.train.loop import volume
from liquidlens.train.loop.prepare import prepare
from liquidlens.train.loop.volume import VolumeAugmentation, wide
from liquidlens.train.recipes import training

CONTRACT = InputContract("hu", (6, 10, 12), (-1000.0, 400.0), spacing=(2.0, 1.0, 0.8))
NOTHING = {"shift_mm": 0, "rotation": 0, "scale": 0, "noise": 0, "window_jitter": 0}
GRID = torch.stack(
    torch.meshgrid(
        *((torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip((20, 40, 50), CONTRACT.spacing, strict=True)),
        indexing="ij",
    )
)


def scan_of(values) -> list[Placed]:
    """A large volume of the network's own spacing, in Hounsfield units."""
    pixels = np.asarray(values, np.float32)
    return [Placed(pixels, np.float32(CONTRACT.spacing), np.full(3, np.nan, np.float32))]


def shown(values, draws=None, monkeypatch=None, **changes):
    """What augmentation shows of a volume, as the network's input."""
    settings = training("quick", {**NOTHING, **changes})
    if draws is not None:
        numbers = iter(draws)
        monkeypatch.setattr(volume, "uniform", lambda *shape: torch.as_tensor(next(numbers), dtype=torch.float32))
    inputs = prepare(scan_of(values), wide(CONTRACT, settings))
    return VolumeAugmentation(CONTRACT, settings)(inputs)


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(-300, 400, GRID.shape[1:])


def test_where_nothing_is_to_change_nothing_does():
    expected = prepare(scan_of(noise()), CONTRACT)
    assert torch.allclose(shown(noise()), expected, atol=1e-5)
    zero = [[[[0.0]]], [[[0.0]]], [[0.0] * 3], *[[[[[[0.0]]]]]] * 2]
    with pytest.MonkeyPatch.context() as patch:
        known = {"shift_mm": 3, "rotation": 20, "scale": 0.1, "window_jitter": 0.1}
        assert torch.allclose(shown(noise(), zero, patch, **known), expected, atol=1e-4), "of more than it shows"


def test_a_shift_is_in_millimetres_of_each_axis(monkeypatch):
    pixels = noise()
    draws = [[[[0.0]]], [[[0.0]]], [[1.0, -0.5, 0.4]], *[[[[[[0.0]]]]]] * 2]
    moved = shown(pixels, draws, monkeypatch, shift_mm=4)  # by 4 mm, -2 mm, 1.6 mm: 2 slices, -2 rows, 2 columns
    rolled = prepare(scan_of(np.roll(pixels, (-2, 2, -2), (0, 1, 2))), CONTRACT)
    assert torch.allclose(moved, rolled, atol=1e-4)


@pytest.mark.parametrize(("axes", "axis"), [("slices", (1.0, 0.0, 0.0)), ("all", (0.6, 0.0, 0.8))])
def test_a_rotation_turns_millimetres_and_not_voxels(monkeypatch, axes, axis):
    """Of a volume that is a plane wave, turning the scan turns the wave."""
    angle = math.radians(20)
    axis, wave = torch.tensor(axis), torch.tensor([0.1, 0.2, -0.15])
    turned = wave * math.cos(angle) + torch.linalg.cross(wave, axis) * math.sin(angle)
    turned += axis * (axis @ wave) * (1 - math.cos(angle))  # Rodrigues, with the inverse rotation
    values = [500 * torch.sin(torch.tensordot(each, GRID, 1)) - 300 for each in (wave, turned)]
    draws = [[[[0.0]]], [[[1.0]]], [[0.0] * 3], *[[[[[[0.0]]]]]] * 2]
    monkeypatch.setattr(torch, "randn", lambda *shape: axis[None])
    found = shown(values[0], draws, monkeypatch, rotation=20, rotation_axes=axes)
    assert torch.allclose(found, prepare(scan_of(values[1]), CONTRACT), atol=0.01)


@pytest.mark.parametrize("axes", ["slices", "all"])
def test_nothing_that_is_shown_lies_outside_of_what_is_known(axes):
    """A volume that is bright everywhere stays so: no corner of any draw is taken from beyond the margin."""
    torch.manual_seed(0)
    changes = {"shift_mm": 5, "rotation": 50, "scale": 0.2, "rotation_axes": axes}
    settings = training("quick", {**NOTHING, **changes})
    inputs = prepare(scan_of(np.full((60, 120, 150), 400)), wide(CONTRACT, settings)).repeat(64, 1, 1, 1, 1)
    for _ in range(8):
        assert VolumeAugmentation(CONTRACT, settings)(inputs).min() > 0.999


def test_the_margin_is_no_larger_than_it_has_to_be():
    def margin(**changes):
        size = wide(CONTRACT, training("quick", {**NOTHING, **changes})).size
        return tuple((more - own) // 2 for more, own in zip(size, CONTRACT.size, strict=True))

    assert margin() == (0, 0, 0)
    assert margin(shift_mm=3) == (2, 3, 4)
    assert margin(scale=0.1) == (1, 1, 1)
    rows, columns = 5.0, 4.8  # half the extent in mm
    turned = [a * math.cos(0.5) + b * math.sin(0.5) for a, b in itertools.permutations((rows, columns))]
    expected = (0, math.ceil(turned[0] - rows), math.ceil((turned[1] - columns) / 0.8))
    assert margin(rotation=math.degrees(0.5)) == expected
    assert margin(rotation=90) == margin(rotation=180), "a corner reaches no further than the diagonal"
    relative = InputContract("relative", (6, 10, 12), spacing=(2.0, 1.0, 0.8))
    assert wide(relative, training("quick")) == relative


def test_the_window_moves_within_what_is_known(monkeypatch):
    """Ends moved by a tenth of the window: -1000 to 400 becomes -1140 to 260, and a value beyond 400 is none less."""
    draws = [[[[0.0]]], [[[0.0]]], [[0.0] * 3], [[[[[-1.0]]]]], [[[[[-1.0]]]]]]
    found = shown(np.full(GRID.shape[1:], 120.0), draws, monkeypatch, window_jitter=0.1)
    assert torch.allclose(found, torch.tensor((120.0 + 1140) / 1400), atol=1e-5)
    draws = [[[[0.0]]], [[[0.0]]], [[0.0] * 3], [[[[[1.0]]]]], [[[[[1.0]]]]]]
    found = shown(np.full(GRID.shape[1:], 470.0), draws, monkeypatch, window_jitter=0.1)
    assert torch.allclose(found, torch.tensor((470.0 + 860) / 1400), atol=1e-5)


def test_noise_is_of_each_voxel_and_scan():
    torch.manual_seed(0)
    found = shown(np.full(GRID.shape[1:], -300.0), noise=0.05)
    assert 0 < found.std() < 0.05
    assert found.mean() == pytest.approx(0.5, abs=0.01)
    assert found.min() >= 0


def test_masks_stay_masks():
    contract = InputContract("mask", (6, 10, 12), spacing=(2.0, 1.0, 0.8))
    settings = training("quick")
    ball = (GRID.square().sum(0).sqrt() < 4).numpy() * 255.0
    inputs = prepare(scan_of(ball), wide(contract, settings)).repeat(32, 1, 1, 1, 1)
    torch.manual_seed(0)
    found = VolumeAugmentation(contract, settings)(inputs)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert len({int(each.sum()) for each in found}) > 10
    assert found.sum((1, 2, 3, 4)).mean() == pytest.approx(float(prepare(scan_of(ball), contract).sum()), rel=0.15)


def test_the_same_seed_gives_the_same_batch():
    settings = training("quick")
    inputs = prepare(scan_of(noise()), wide(CONTRACT, settings)).repeat(4, 1, 1, 1, 1)
    augmentation, found = VolumeAugmentation(CONTRACT, settings), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(augmentation(inputs))
    assert found[0].shape == (4, 1, *CONTRACT.size)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=0.01)
    assert not torch.allclose(found[0][0], found[0][1], atol=0.01), "every scan of a batch has draws of its own"


def test_a_batch_is_augmented_where_it_lies():
    """On any device: one that holds no numbers refuses to mix them with those of another."""
    settings = training("quick", {"rotation_axes": "all"})
    for values, window in (("hu", (-1000.0, 400.0)), ("mask", None)):
        contract = InputContract(values, (6, 10, 12), window, spacing=(2.0, 1.0, 0.8))
        inputs = torch.empty(4, 1, *wide(contract, settings).size, device="meta")
        found = VolumeAugmentation(contract, settings)(inputs)
        assert found.device.type == "meta"
        assert found.shape == (4, 1, *contract.size)
