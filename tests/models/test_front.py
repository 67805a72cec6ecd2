"""The resizing front against torch's antialiased bilinear filter, and the three kinds of values."""

import pytest
import torch
from torch.nn.functional import interpolate

from liquidlens.manifest import InputContract
from liquidlens.models.front import Front


@pytest.mark.parametrize("size", [(28, 28), (64, 50), (20, 25), (1, 1), (29, 300)])
def test_images_equal_torchs_antialiased_bilinear(size):
    image = torch.randint(0, 256, (2, *size)).float()
    image[:, 0, 0] = 255
    expected = interpolate(image[:, None] / 255, (28, 30), mode="bilinear", antialias=True)
    assert torch.allclose(Front(InputContract("grey", (28, 30)))(image), expected, atol=1e-6)


def test_volumes_of_the_right_size_pass_unchanged():
    volume = torch.randint(0, 256, (2, 28, 28, 28)).float()
    assert torch.equal(Front(InputContract("grey", (28, 28, 28)))(volume)[:, 0], volume / 255)


def test_volumes_are_resized_axis_by_axis():
    volume = torch.rand(1, 40, 28, 28) * 255
    resized = Front(InputContract("grey", (20, 28, 28)))(volume)
    as_image = interpolate(volume.reshape(1, 1, 40, 784) / 255, (20, 784), mode="bilinear", antialias=True)
    assert torch.allclose(resized.reshape(20, 784), as_image.reshape(20, 784), atol=1e-6)


def test_sixteen_bit_grey_is_recognised_scan_by_scan():
    front = Front(InputContract("grey", (2, 2)))
    scans = torch.stack([torch.full((2, 2), 255.0), torch.full((2, 2), 65535.0 / 2)])
    assert torch.allclose(front(scans).mean((1, 2, 3)), torch.tensor([1.0, 0.5]))


def test_hounsfield_window():
    front = Front(InputContract("hu", (1, 5), window=(-1000.0, 400.0)))
    scan = torch.tensor([[[-2000.0, -1000.0, -300.0, 400.0, 3000.0]]])
    assert torch.allclose(front(scan).flatten(), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    with pytest.raises(ValueError, match="window"):
        InputContract("hu", (1, 5))


@pytest.mark.parametrize("inside", [1.0, 255.0, 0.3])
def test_masks_of_any_maximum_become_zero_and_one(inside):
    ball = (torch.cartesian_prod(*[torch.arange(64.0)] * 3) - 31.5).norm(dim=1).reshape(1, 64, 64, 64) < 20
    small = Front(InputContract("mask", (28, 28, 28)))(ball * inside)
    assert set(small.unique().tolist()) == {0.0, 1.0}
    assert abs(small.mean() - ball.float().mean()) < 0.005, "resizing keeps the volume of the shape"


def test_violation_tells_masks_from_grey_scans():
    front = Front(InputContract("mask", (4, 4, 4)))
    mask = torch.randint(0, 2, (1, 9, 9, 9)) * 255.0
    ct = torch.randint(-1000, 1200, (1, 9, 9, 9)).float()
    assert front.violation(mask).item() == 0
    assert front.violation(ct).item() > 0.2
    assert front.violation(torch.zeros(1, 9, 9, 9)).item() == 1
    grey = Front(InputContract("grey", (4, 4)))
    assert grey.violation(torch.rand(1, 9, 9) * 255).item() == 0
    assert grey.violation(torch.rand(1, 9, 9) * 255 - 128).item() > 0.05


@pytest.mark.parametrize(("values", "window"), [("mask", None), ("grey", None), ("hu", (-1000.0, 400.0))])
def test_scans_of_one_value_show_nothing(values, window):
    front = Front(InputContract(values, (4, 4), window))
    assert front.violation(torch.tensor([0.0, 100.0, 255.0])[:, None, None].expand(3, 9, 9)).tolist() == [1, 1, 1]


def test_colour_images_are_resized_plane_by_plane():
    image = torch.randint(0, 256, (2, 40, 33, 3)).float()
    image[:, 0, 0] = 255
    coloured = Front(InputContract("grey", (28, 30), channels=3))(image)
    for plane in range(3):
        assert torch.allclose(coloured[:, plane], Front(InputContract("grey", (28, 30)))(image[..., plane])[:, 0])


def test_normalisation_comes_last():
    image = torch.tensor([[[0.0, 255.0]]])
    front = Front(InputContract("grey", (1, 2), mean=0.5, std=0.25))
    assert front(image).flatten().tolist() == [-2.0, 2.0]


def test_feature_maps_pass_as_they_are():
    maps = torch.randn(2, 5, 7, 7)
    assert Front(InputContract("features", (7, 7), channels=5))(maps) is maps


def test_contracts_that_contradict_themselves():
    with pytest.raises(ValueError, match="none of 2 channels"):
        InputContract("grey", (28, 28), channels=2)
    with pytest.raises(ValueError, match="none of 3 channels"):
        InputContract("grey", (28, 28, 28), channels=3)
    with pytest.raises(ValueError, match="std"):
        InputContract("grey", (28, 28), std=0.0)


def test_relative_values_need_no_unit():
    scan = torch.randn(2, 5, 6, 7) * 300 - 40
    front = Front(InputContract("relative", (5, 6, 7)))
    inputs = front(scan)
    assert torch.allclose(inputs, front(scan * 7 + 1000), atol=1e-4)
    assert torch.allclose(inputs.mean((1, 2, 3, 4)), torch.tensor(0.5), atol=0.01)
    assert torch.allclose(inputs.std((1, 2, 3, 4)), torch.tensor(1 / 6), atol=0.01)
    assert (inputs.min(), inputs.max()) >= (0, 0.5)
    assert front(torch.full((1, 5, 6, 7), 9.0)).flatten().tolist() == [0.5] * 210
    assert front.violation(scan).tolist() == [0, 0]
