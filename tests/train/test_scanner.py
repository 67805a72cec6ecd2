"""Augmentation of grey values: other positions keep what there is, other grey values keep where it is."""

import pytest
import torch

from liquidlens.train import corruptions
from liquidlens.train.loop.scanner import another_scanner, other_grey_values, other_position


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_images_are_mirrored_left_to_right_alone():
    images = torch.rand(16, 1, 12, 9)
    kinds = set()
    for image, moved in zip(images, other_position(images, 0, 0, 0), strict=True):
        kinds.add(next(axes for axes in ((), (2,)) if torch.allclose(image.flip(axes), moved, atol=1e-5)))
    assert kinds == {(), (2,)}


@pytest.mark.parametrize(("size", "orders"), [((6, 6, 6), 6), ((6, 8, 6), 1)])
def test_volumes_are_turned_by_right_angles_if_they_are_cubes(size, orders):
    scan = torch.zeros(1, 1, *size)
    scan[0, 0, 0, 1, 2] = 1.0  # in another place, by each of the ways to turn and mirror it
    moved = other_position(scan.expand(600, -1, -1, -1, -1), 0, 0, 0)
    assert torch.allclose(moved.sum((1, 2, 3, 4)), torch.ones(600), atol=1e-4)
    assert len({int(one.argmax()) for one in moved}) == 8 * orders


def test_a_disc_stays_a_disc_where_the_image_is_no_square():
    rows, columns = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(40) - 19.5, indexing="ij")
    disc = (rows.square() + columns.square() < 64).float()[None, None].expand(8, -1, -1, -1)
    assert (other_position(disc, 0, 0, 180) - disc).abs().mean() < 0.03


def test_shift_and_scale_are_limits():
    dot = torch.zeros(64, 1, 21, 21)
    dot[:, :, 10, 10] = 1.0
    moved = other_position(dot, shift=3, scale=0, turn=0)
    places = torch.stack([one[0].argmax() for one in moved])
    distance = torch.stack([places // 21, places % 21], 1) - 10
    assert distance.abs().max() == 3
    square = torch.ones(64, 1, 8, 8)
    area = torch.nn.functional.pad(square, [8] * 4)
    scaled = other_position(area, shift=0, scale=0.2, turn=0).sum((1, 2, 3)) / 64
    assert scaled.min() > 1.2**-2 - 0.05
    assert scaled.max() < 0.8**-2 + 0.05
    assert scaled.std() > 0.05


def test_grey_values_change_as_much_as_the_intensity_says():
    for scans in (torch.rand(8, 1, 20, 20), torch.rand(4, 1, 10, 10, 10)):
        assert torch.allclose(other_grey_values(scans, 0.0), scans, atol=1e-6)
        little, much = ((other_grey_values(scans, i) - scans).abs().mean() for i in (0.2, 1.0))
        assert 0 < 2 * little < much
        found = another_scanner(scans, 1, 0.1, 5, 1.0)
        assert found.shape == scans.shape
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.parametrize("size", [(20, 20), (12, 12, 12)])
@pytest.mark.parametrize("mask", [False, True])
def test_corruptions_grow_with_their_severity(size, mask):
    scans = torch.nn.functional.avg_pool2d(torch.rand(6, *size), 3, 1, 1)[:, None]
    scans = (scans > 0.5).float() if mask else scans
    for name in corruptions.names(len(size) == 3, mask):
        found = [corruptions.corrupted(scans, name, severity, mask) for severity in corruptions.SEVERITIES]
        assert torch.equal(found[2], corruptions.corrupted(scans, name, 3, mask)), "always the same"
        changes = [float((one - scans).abs().mean()) for one in found]
        assert 0 < changes[0] < changes[-1], name
        assert all(one.shape == scans.shape and one.min() >= 0 and one.max() <= 1 for one in found)
        assert not mask or set(found[2].unique().tolist()) <= {0.0, 1.0}
