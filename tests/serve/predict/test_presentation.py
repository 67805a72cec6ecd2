"""The model's own grid: what the network is given there is what it is given for the raw scan."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.serve.predict.presentation import on_grid, positions, resized


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


def test_positions_are_the_centres_of_resized_points():
    assert positions(4, 4).tolist() == [0, 1, 2, 3]
    assert positions(8, 2).tolist() == [1.5, 5.5]
    assert positions(1, 3).tolist() == [0, 0, 0]
    ramp = np.arange(40, dtype=np.float32)
    assert resized(ramp, (10,))[1:-1] == pytest.approx(positions(40, 10)[1:-1]), "the ends lack a neighbour"
