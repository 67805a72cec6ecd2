"""Augmentation moves the whole scan and keeps what it is."""

import pytest
import torch
from torch.nn.functional import interpolate

from liquidlens.train.loop import augment


def ball(center, size=28, radius=6.0):
    grid = torch.stack(torch.meshgrid(*[torch.arange(size) + 0.5] * 3, indexing="ij"), -1)
    return ((grid - torch.tensor(center)).norm(dim=-1) < radius).float()[None, None]


def fixed(monkeypatch, *values):
    """Instead of random numbers: the scale's, then the shift's along columns, rows and slices."""
    draws = iter([torch.tensor([[values[0]]]), torch.tensor([values[1:]]), torch.zeros(1, 1, 1, 1, 1)])
    monkeypatch.setattr(augment, "uniform", lambda *shape: next(draws))


def test_nothing_moves_without_shift_and_scale():
    inputs = torch.rand(3, 1, 9, 10, 11)
    assert torch.allclose(augment.jitter(inputs, mask=False, shift=0, scale=0), inputs, atol=1e-5)


def test_a_shift_is_in_pixels_of_each_axis(monkeypatch):
    inputs = torch.rand(1, 1, 6, 8, 10)
    fixed(monkeypatch, 0.0, 1.0, 0.0, -0.5)
    moved = augment.jitter(inputs, mask=False, shift=2, scale=0)
    assert torch.allclose(moved[:, :, 1:, :, :-2], inputs[:, :, :-1, :, 2:], atol=1e-5)


@pytest.mark.parametrize("change", [-1.0, 1.0])
def test_scaling_changes_the_volume(monkeypatch, change):
    inputs = ball((14.0, 14.0, 14.0))
    fixed(monkeypatch, change, 0.0, 0.0, 0.0)
    ratio = augment.jitter(inputs, mask=True, shift=0, scale=0.1).sum() / inputs.sum()
    assert ratio == pytest.approx((1 + 0.1 * change) ** -3, rel=0.1)


def test_masks_stay_masks_and_scans_move_independently():
    torch.manual_seed(0)
    inputs = ball((14.0, 14.0, 14.0)).expand(4, -1, -1, -1, -1)
    moved = augment.jitter(inputs, mask=True, shift=2, scale=0.1)
    assert set(moved.unique().tolist()) == {0.0, 1.0}
    assert len({scan.numpy().tobytes() for scan in moved}) == 4


def test_images_too():
    images = interpolate(torch.rand(2, 1, 7, 5), scale_factor=2)
    assert augment.jitter(images, mask=False, shift=1, scale=0.1).shape == images.shape


def test_mirrored_scans_keep_every_voxel():
    """As long as the structure is further from the border than it moves; what comes in is the background."""
    scan = torch.full((1, 8, 9, 10), -1.0)
    scan[0, 3:5, 4:6, 3:7] = torch.rand(2, 2, 4)
    torch.manual_seed(0)
    moved = augment.mirror(scan.expand(40, -1, -1, -1, -1), shift=2)
    assert moved.shape == (40, 1, 8, 9, 10)
    for one in moved:
        assert torch.equal(one.flatten().sort().values, scan.flatten().sort().values)
    places = {tuple((one[0] > -1).nonzero().min(0).values.tolist()) for one in moved}
    assert {place[0] for place in places} == {1, 2, 3, 4, 5}, "moved by -2 to 2"
    seen = {tuple(one[0][one[0] > -1].tolist()) for one in moved}
    assert len(seen) == 8, "all mirror images"


def test_mirrored_images_without_a_shift():
    images = torch.rand(16, 3, 5, 6)
    torch.manual_seed(0)
    for image, mirrored in zip(images, augment.mirror(images, shift=0), strict=True):
        assert any(torch.equal(mirrored, image.flip(axes)) for axes in ([], [1], [2], [1, 2]))
