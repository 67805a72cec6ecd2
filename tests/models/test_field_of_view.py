"""The field of view in millimetres against its definition, written out in float64."""

import itertools

import numpy as np
import pytest
import torch

from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.manifest import InputContract
from liquidlens.models.field_of_view import region
from liquidlens.models.front import Front

OWN = (1.0, 0.8, 0.8)
SIZE = (10, 12, 14)
NAN = float("nan")
#: Spacing and centre: the model's own, coarser, finer, uneven; in the middle, at borders, half outside, outside.
WHERE = [
    ((1.0, 0.8, 0.8), (15, 20, 25)),
    ((2.5, 0.7, 0.7), (3.3, 2, 48.2)),
    ((0.3, 0.5, 0.25), (14.5, 22, 24.5)),
    ((0.5, 3.0, 1.0), (29, 0, 10)),
    ((1.0, 1.0, 1.0), (-4, 44.5, 60)),
    ((1.0, 1.0, 1.0), (500, -500, 25)),
]


def defined(volume: np.ndarray, spacing, centre) -> np.ndarray:
    """Every point is the mean of what it covers of the scan; what lies outside is 0."""
    volume = volume.astype(np.float64)
    for axis, n in enumerate(volume.shape):
        step = OWN[axis] / spacing[axis]
        points = (centre[axis] + (np.arange(SIZE[axis]) - (SIZE[axis] - 1) / 2) * step)[:, None]
        voxels = np.arange(n)
        covered = np.minimum(voxels + 0.5, points + step / 2) - np.maximum(voxels - 0.5, points - step / 2)
        weights = np.maximum(covered, 0) / step
        volume = np.moveaxis(np.tensordot(weights, np.moveaxis(volume, axis, 0), 1), 0, axis)
    return volume


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    return np.random.default_rng(0).normal(-500, 400, (2, 30, 45, 50)).astype(np.float32)


def tensors(*where) -> tuple[torch.Tensor, torch.Tensor]:
    spacings, centres = zip(*where, strict=True)
    return torch.from_numpy(np.float32(spacings)), torch.from_numpy(np.float32(centres))


def violation(front: Front, scan: torch.Tensor, *where: torch.Tensor) -> torch.Tensor:
    return front.violation(front.look(scan, *where))


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise(WHERE)))
def test_hounsfield_units_equal_the_definition(scans, first, second):
    """Two scans of a batch, each with its own place; outside is air."""
    contract = InputContract("hu", SIZE, (-1000.0, 400.0), spacing=OWN)
    inputs = Front(contract)(torch.from_numpy(scans), *tensors(first, second))[:, 0].numpy()
    for scan, found, where in zip(scans, inputs, (first, second), strict=True):
        expected = defined(((scan + 1000) / 1400).clip(0, 1), *where)
        assert np.abs(found - expected).max() <= 3e-6


@pytest.mark.parametrize("where", WHERE)
def test_no_scan_of_a_batch_changes_another(scans, where):
    other = ((0.4, 0.3, 5.0), (2, 40, 8))
    for contract in (
        InputContract("hu", SIZE, (-1000.0, 400.0), spacing=OWN),
        InputContract("grey", SIZE, spacing=OWN),
        InputContract("mask", SIZE, spacing=OWN),
        InputContract("relative", SIZE, spacing=OWN),
    ):
        front = Front(contract)
        pixels = torch.from_numpy(np.abs(scans))
        together, alone = tensors(where, other), tensors(where)
        assert torch.allclose(front(pixels, *together)[:1], front(pixels[:1], *alone), atol=1e-6)
        assert torch.allclose(
            front.violation(front.look(pixels, *together))[:1],
            front.violation(front.look(pixels[:1], *alone)),
            atol=1e-6,
        )


def test_nan_is_the_own_spacing_and_the_middle(scans):
    front = Front(InputContract("hu", SIZE, (-1000.0, 400.0), spacing=OWN))
    pixels = torch.from_numpy(scans)
    expected = front(pixels, *tensors((OWN, (14.5, 22, 24.5)), (OWN, (14.5, 22, 24.5))))
    assert torch.equal(front(pixels), expected)
    assert torch.equal(front(pixels, *tensors(((NAN, 0.8, NAN), (NAN, 22, NAN)), ((NAN,) * 3, (NAN,) * 3))), expected)


def test_a_scan_ends_where_its_voxels_end_however_large_they_are():
    """Three slices of 2.5 mm, and the same piece of one density in other voxels; a field of view beyond all of it."""
    front = Front(InputContract("grey", SIZE, spacing=OWN))
    piece = np.array((7.5, 6, 9))

    def shown(*spacing: float) -> torch.Tensor:
        shape = [round(n) for n in piece / spacing]
        return front(torch.full((1, *shape), 255.0), torch.tensor([spacing]))[0, 0]

    expected = shown(2.5, 2, 3)
    for axis, (mm, own) in enumerate(zip(piece, OWN, strict=True)):
        profile = expected.amax([other for other in range(3) if other != axis])
        assert profile.sum().item() * own == pytest.approx(mm, abs=1e-5)
    for spacing in ((1.25, 1, 1.5), (0.5, 0.75, 1), (0.3, 0.25, 0.2), (7.5, 6, 9)):
        assert torch.allclose(shown(*spacing), expected, atol=1e-5)


def test_a_piece_of_a_patient_is_the_same_however_it_is_stored(scans):
    """In voxels of half and a third the size, and within air."""
    front = Front(InputContract("hu", SIZE, (-1000.0, 400.0), spacing=OWN))
    piece = scans[:1, :7, :9, :11]
    spacing, centre = np.array((2.5, 1.3, 0.9)), np.array((2.5, 4.25, 6))

    def shown(pixels: np.ndarray, spacing: np.ndarray, centre: np.ndarray) -> torch.Tensor:
        return front(torch.from_numpy(pixels), *tensors((spacing, centre)))

    expected = shown(piece, spacing, centre)
    assert expected.std() > 0.1
    for times in (2, 3):
        finer = piece.repeat(times, 1).repeat(times, 2).repeat(times, 3)
        assert torch.allclose(shown(finer, spacing / times, (centre + 0.5) * times - 0.5), expected, atol=1e-5)
    corner = np.array((40, 120, 130))
    air = np.full((1, 100, 300, 300), -1000, np.float32)
    air[:, 40:47, 120:129, 130:141] = piece
    assert torch.allclose(shown(air, spacing, centre + corner), expected, atol=1e-6)


def test_a_crop_of_the_own_grid_passes_unchanged():
    crop = torch.randint(0, 256, (2, *SIZE)).float()
    assert torch.equal(Front(InputContract("grey", SIZE, spacing=OWN))(crop)[:, 0], crop / 255)


@pytest.mark.parametrize("where", WHERE[:-1])
def test_only_what_the_filter_reaches_is_touched(scans, where):
    """The part that is cut out before a training gives the same input, and is no larger than what the graph gathers."""
    contract = InputContract("hu", SIZE, (-1000.0, 400.0), spacing=OWN)
    spacing, centre = where
    view = FieldOfView.of(contract, scans.shape[1:], spacing, centre)
    part = scans[:1, *view.reached]
    moved = np.array(view.centre) - [cut.start for cut in view.reached]
    whole = Front(contract)(torch.from_numpy(scans[:1]), *tensors(where))
    assert torch.allclose(Front(contract)(torch.from_numpy(part), *tensors((spacing, moved))), whole, atol=3e-6)
    gathered = region(torch.from_numpy(scans[:1]), *tensors(where), SIZE, OWN).voxels
    for points, own, mm, n in zip(SIZE, OWN, spacing, gathered.shape[1:], strict=True):
        assert n <= (points - 1) * own / mm + 2 * max(own / mm, 1) + 1


def test_what_only_touches_the_field_of_view_is_not_reached():
    """The largest value of a mask, by which it is cut, is that of voxels with a weight."""
    contract = InputContract("mask", (4, 4, 4), spacing=(1.0, 1.0, 1.0))
    scan = np.zeros((1, 12, 12, 12), np.float32)
    scan[:, 4:8, 4:8, 4:8], scan[:, 3, 5, 5] = 1, 3
    view = FieldOfView.of(contract, scan.shape[1:], (1.0, 1.0, 1.0), None)
    assert view.reached == (slice(4, 8),) * 3
    assert Front(contract)(torch.from_numpy(scan)).sum() == 64


def test_masks_are_cut_again():
    ball = (torch.cartesian_prod(*[torch.arange(60.0)] * 3) - 29.5).norm(dim=1).reshape(1, 60, 60, 60) < 18
    contract = InputContract("mask", (24, 24, 24), spacing=(1.0, 1.0, 1.0))
    small = Front(contract)(ball * 7.0, torch.full((1, 3), 0.5))
    assert set(small.unique().tolist()) == {0.0, 1.0}
    assert abs(small.sum() - ball.sum() / 8) < 0.05 * ball.sum() / 8, "a volume in cubic millimetres"
    assert violation(Front(contract), ball * 7.0).tolist() == [0]


def test_relative_values_go_by_the_field_of_view():
    contract = InputContract("relative", SIZE, spacing=OWN)
    front = Front(contract)
    scan = torch.randn(1, 30, 45, 50) * 300 - 40
    scan[:, :, :, 30:] = 1e6  # far away from where the model looks
    where = tensors((OWN, (15, 20, 12)))
    inputs = front(scan, *where)
    assert torch.allclose(inputs, front(scan * 7 + 1000, *where), atol=1e-3)
    assert (inputs.mean().item(), inputs.std().item()) == pytest.approx((0.5, 1 / 6), abs=0.01)
    beyond = front(scan, *tensors((OWN, (15, 20, -2))))[0, 0]
    assert not beyond[:, :, :8].any(), "outside is 0, and does not count"
    assert beyond[:, :, 9:].mean().item() == pytest.approx(0.5, abs=0.02)


def test_violation_is_that_of_what_is_seen(scans):
    mask = InputContract("mask", SIZE, spacing=OWN)
    shape = torch.zeros(1, 30, 45, 50)
    shape[:, 10:20, 15:25, 20:30] = 1
    shape[:, :, :, 44:] = torch.from_numpy(scans[:1, :, :, 44:])
    near, far, empty = (violation(Front(mask), shape, *tensors((OWN, at))).item() for at in (
        (15, 20, 25), (15, 20, 44), (3, 3, 4)
    ))  # fmt: skip
    assert (near, empty) == (0, 1)
    assert far > 0.1
    grey = InputContract("grey", SIZE, spacing=OWN)
    assert violation(Front(grey), torch.from_numpy(scans)).min() > 0.5
    outside = tensors((OWN, (500, 20, 20)))
    assert violation(Front(grey), torch.from_numpy(np.abs(scans[:1])), *outside).item() == 1


def test_spacings_that_no_scan_has_do_no_harm(scans):
    """Refused before they come here, but a file is run by anyone."""
    front = Front(InputContract("grey", SIZE, spacing=OWN))
    for odd in (0.0, -1.0, 1e-30, 1e30, float("inf")):
        assert front(torch.from_numpy(scans), torch.full((2, 3), odd)).shape == (2, 1, *SIZE)


def test_contracts_of_fields_of_view():
    contract = InputContract("grey", SIZE, spacing=OWN)
    assert contract.extent == pytest.approx((10, 9.6, 11.2))
    assert InputContract("grey", SIZE).extent is None
    with pytest.raises(ValueError, match="for volumes"):
        InputContract("grey", (28, 28), spacing=OWN)
    for wrong in ((1.0, 1.0, 0.0), (1.0, -1.0, 1.0), (1.0, NAN, 1.0)):
        with pytest.raises(ValueError, match="three lengths in millimetres"):
            InputContract("grey", SIZE, spacing=wrong)
