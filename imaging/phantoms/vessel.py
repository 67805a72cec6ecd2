"""Vessel segments with or without an aneurysm.

They follow VesselMNIST3D's file format, and its task in small: a curved tube crosses the cube at random orientation and
radius, may branch, has a rough surface; an aneurysm is a round bulge on its wall.
"""

import numpy as np
from numpy.typing import NDArray

from liquidlens.imaging.phantoms.draw import draw

VESSEL_LABELS = ("vessel", "aneurysm")
SPLITS = {"train": 1000, "val": 200, "test": 300}
ANEURYSM_SHARE = 0.4
SIZE = 28
MIDDLE = (SIZE - 1) / 2


def vessel3d(seed: int = 0, splits: dict[str, int] | None = None) -> dict[str, NDArray]:
    """Vessel masks under MedMNIST's keys: ``train_images`` (n, 28, 28, 28) uint8 of 0 and 255, ``train_labels`` (n, 1)
    uint8, ..."""
    return draw(lambda rng: _labelled_vessel(rng)[:2], splits or SPLITS, seed)


def vessel3d_bulges(seed: int = 0, splits: dict[str, int] | None = None) -> dict[str, NDArray]:
    """Where the aneurysms of `vessel3d` are: ``train_bulges`` (n, 4) float64, ... of slice, row and column of the
    bulge's centre, and its radius, all in voxels; NaN where there is none."""
    drawn = draw(lambda rng: _labelled_vessel(rng)[1:], splits or SPLITS, seed)
    return {key.replace("labels", "bulges"): value for key, value in drawn.items() if key.endswith("labels")}


def _labelled_vessel(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]:
    label = np.array([rng.random() < ANEURYSM_SHARE], np.uint8)
    mask, bulge = _vessel(rng, aneurysm=bool(label[0]))
    return 255 * mask.astype(np.uint8), label, bulge


def _vessel(rng: np.random.Generator, aneurysm: bool) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """One mask (28, 28, 28), the voxels whose distance to a vessel part is below its radius, up to noise; and its
    bulge (4,) as `vessel3d_bulges` gives it."""
    radius = rng.uniform(1.4, 2.6)
    ends = _direction(rng) * (SIZE / 2)
    middle = rng.normal(0, SIZE / 7, 3)
    line = _bezier(-ends, middle, ends + rng.normal(0, 3, 3))
    balls = [np.column_stack([line, np.full(len(line), radius)])]
    if rng.random() < 0.4:
        start = line[rng.integers(12, 28)]
        branch = _bezier(start, start + rng.normal(0, 5, 3), start + _direction(rng) * SIZE * 0.6)
        balls.append(np.column_stack([branch, np.full(len(branch), radius * rng.uniform(0.5, 0.9))]))
    bulge = np.full(4, np.nan)
    if aneurysm:
        at = int(rng.integers(14, 26))
        tangent = line[at + 1] - line[at - 1]
        side = np.cross(tangent, _direction(rng))
        size = radius * rng.uniform(1.6, 2.4)
        centre = line[at] + side / np.linalg.norm(side) * (radius + 0.6 * size)
        balls.append(np.append(centre, size)[None])
        bulge = np.append(centre + MIDDLE, size)

    axis = np.arange(SIZE) - MIDDLE
    roughness = rng.normal(0, 0.25, (SIZE,) * 3)
    roughest = roughness.max()
    inside = np.zeros((SIZE,) * 3, bool)
    for *centre, size in np.concatenate(balls).tolist():
        reach = size + roughest  # no voxel farther away is inside
        box = tuple(slice(max(0, int(c + MIDDLE - reach)), max(0, int(c + MIDDLE + reach) + 2)) for c in centre)
        x, y, z = ((axis[near] - c) ** 2 for near, c in zip(box, centre, strict=True))
        inside[box] |= np.sqrt(x[:, None, None] + y[:, None] + z) < size + roughness[box]
    return inside, bulge


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    """A direction drawn uniformly from the sphere."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _bezier(start, bend, end, points: int = 40) -> NDArray[np.float64]:
    """Points (points, 3) along the quadratic Bezier curve of three control points."""
    t = np.linspace(0, 1, points)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
