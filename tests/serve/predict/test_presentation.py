"""The model's own grid: what the network is given there is what it is given for the raw scan."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from liquidlens.imaging import Scan
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.serve.predict.presentation import grid_of, on_grid, positions, resized, view_of


@pytest.mark.parametrize(
    ("contract", "shape", "highest"),
    [
        (InputContract(values="mask", size=(28, 28, 28)), (28, 28, 28), 255),
        (InputContract(values="mask", size=(28, 28, 28)), (64, 40, 17), 1),
        (InputContract(values="grey", size=(56, 56)), (91, 130), 255),
        (InputContract(values="grey", size=(56, 56), mean=0.4, std=0.2), (91, 30), 4000),
        (InputContract(values="grey", size=(32, 32), channels=3), (50, 41, 3), 255),
        (InputContract(values="hu", size=(12, 20, 20), window=(-1000, 400)), (9, 40, 33), 2500),
    ],
)
def test_the_grid_gives_the_network_what_the_raw_scan_gives_it(contract, shape, highest):
    pixels = np.random.default_rng(0).uniform(-0.1, 1, shape).astype(np.float32)
    pixels = np.round(pixels * highest) if contract.values != "mask" else highest * (pixels > 0.6)
    pixels = pixels.astype(np.float32)
    grid = on_grid(SimpleNamespace(input=contract), pixels)
    front = Front(contract)
    from_raw, from_grid = front(torch.from_numpy(pixels)[None]), front(torch.from_numpy(grid)[None])
    assert grid.shape[: len(contract.size)] == contract.size
    assert from_grid.std() > 0
    torch.testing.assert_close(from_grid, from_raw, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "contract",
    [
        InputContract("hu", (10, 12, 14), (-1000, 400), spacing=(1.0, 0.8, 0.8)),
        InputContract("mask", (10, 12, 14), spacing=(1.0, 0.8, 0.8)),
        InputContract("grey", (10, 12, 14), spacing=(1.0, 0.8, 0.8)),
        InputContract("relative", (10, 12, 14), spacing=(1.0, 0.8, 0.8)),
    ],
)
@pytest.mark.parametrize(
    ("spacing", "centre"),
    [
        (None, None),
        ((1.0, 0.8, 0.8), (20, 30, 25)),
        ((2.5, 0.7, 0.7), (20, 30, 25)),
        ((0.4, 0.3, 0.5), (20, 30.5, 25)),
        ((1.5, 0.8, 0.8), (1, 58, 3)),
    ],
)
def test_the_grid_of_a_field_of_view(contract, spacing, centre):
    """At a border too, but for relative values, whose mean is then another."""
    pixels = np.random.default_rng(0).uniform(0, 250, (40, 60, 50)).astype(np.float32)
    if contract.values == "hu":
        pixels = pixels * 10 - 1500
    scan = Scan(
        255 * (pixels > 150).astype(np.float32) if contract.values == "mask" else pixels, spacing, centre=centre
    )
    grid = grid_of(SimpleNamespace(input=contract), scan)
    front = Front(contract)
    where = [torch.tensor([given or (np.nan,) * 3]) for given in (spacing, centre)]
    from_raw = front(torch.from_numpy(scan.pixels)[None], *where)
    from_grid = front(torch.from_numpy(grid.astype(np.float32))[None])
    assert grid.shape == contract.size
    assert from_grid.std() > 0
    at_border = centre is not None and centre[0] == 1
    if not (contract.values == "relative" and at_border):
        torch.testing.assert_close(from_grid, from_raw, atol=2e-3 if contract.values == "relative" else 5e-6, rtol=0)


def test_values_are_laid_back_where_they_were_seen():
    contract = InputContract("grey", (10, 12, 14), spacing=(1.0, 0.8, 0.8))
    scan = Scan(np.zeros((40, 60, 50), np.float32), (0.5, 0.4, 0.4), centre=(10, 30, 25))
    view = view_of(SimpleNamespace(input=contract), scan)
    assert view.box == ((0, 20), (18, 42), (11, 39))
    laid = view.laid_back(np.ones((10, 12, 14), np.float32))
    inside = np.zeros(laid.shape, bool)
    inside[0:21, 18:43, 11:40] = True
    assert np.allclose(laid[inside], 1)
    assert not laid[~inside].any()
    ramp = view.laid_back(np.broadcast_to(view.positions[2], (10, 12, 14)).astype(np.float32))
    assert ramp[10, 30, 13:38] == pytest.approx(np.arange(13, 38), abs=1e-4)


def test_positions_are_the_centres_of_resized_points():
    assert positions(4, 4).tolist() == [0, 1, 2, 3]
    assert positions(8, 2).tolist() == [1.5, 5.5]
    assert positions(1, 3).tolist() == [0, 0, 0]
    ramp = np.arange(40, dtype=np.float32)
    assert resized(ramp, (10,))[1:-1] == pytest.approx(positions(40, 10)[1:-1]), "the ends lack a neighbour"
