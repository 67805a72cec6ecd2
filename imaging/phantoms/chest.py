"""Chest X-rays with or without pneumonia.

A frontal view in small, bright where much tissue lies behind a pixel: the body, two dark lungs with ribs, vessels and
collar bones, the heart, the spine, the diaphragm; pneumonia is one or several soft, patchy opacities inside a lung.
Anatomy, exposure and noise differ from image to image, so that brightness alone does not tell.
"""

import numpy as np
from numpy.typing import NDArray

from liquidlens.imaging.phantoms.draw import draw

CHEST_LABELS = ("normal", "pneumonia")
SPLITS = {"train": 600, "val": 150, "test": 200}
PNEUMONIA_SHARE = 0.5
SIZE = 128


def chest_xray(seed: int = 0, splits: dict[str, int] | None = None) -> dict[str, NDArray]:
    """Chest X-rays under MedMNIST's keys: ``train_images`` (n, 128, 128) uint8, ``train_labels`` (n, 1) uint8, ..."""
    return draw(_labelled_chest, splits or SPLITS, seed)


def _labelled_chest(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    label = np.array([rng.random() < PNEUMONIA_SHARE], np.uint8)
    return _chest(rng, pneumonia=bool(label[0])), label


def _chest(rng: np.random.Generator, pneumonia: bool) -> NDArray[np.uint8]:
    """One image (128, 128).  Coordinates run from -1 to 1: x to the right, which is the patient's left, and y down."""
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE * 2 - 1
    tilt, zoom = rng.normal(0, 0.03), rng.uniform(0.94, 1.08)
    x = (axis[None, :] + tilt * axis[:, None]) / zoom + rng.normal(0, 0.03)
    y = (axis[:, None] - tilt * axis[None, :]) / zoom + rng.normal(0, 0.03)
    width = rng.uniform(0.92, 1.08)

    neck = _inside(0.22 + 3.0 * np.maximum(y + 0.93, 0) ** 2 - np.abs(x), 0.02)
    trunk = _inside(0.99 * width - 0.05 * np.abs(y) - np.abs(x), 0.03) * _inside(y + 0.86 - 0.32 * x**2, 0.03)
    body = np.maximum(neck, trunk)
    tissue = body * (0.60 + 0.07 * _inside(np.abs(x) - 0.84 * width, 0.06) + 0.05 * (y + 1) / 2)

    lungs = np.zeros((SIZE, SIZE))
    markings = np.zeros((SIZE, SIZE))
    ribs = np.zeros((SIZE, SIZE))
    opacity = np.zeros((SIZE, SIZE))
    sides = (-1, 1)
    sick = rng.permutation(sides)[: 1 + (rng.random() < 0.3)] if pneumonia else ()
    spacing, phase, slope = rng.uniform(0.155, 0.18), rng.uniform(-0.04, 0.04), rng.uniform(0.15, 0.3)
    for side in sides:
        across = side * x
        lung, base = _lung(rng, across, y, side, width)
        lungs = np.maximum(lungs, lung)
        ribs += _ribs(across, y, spacing, phase, slope, width)
        markings += lung * _vessels(rng, across, y)
        if side in sick:
            opacity = np.maximum(opacity, lung * _opacity(rng, across, y, base, width))

    tissue -= 0.47 * lungs
    tissue += 0.11 * ribs * np.clip(lungs + 0.2, 0, 1) * body
    tissue += 0.18 * markings + 0.34 * opacity
    tissue = np.maximum(tissue, _heart(rng, x, y) * (0.66 + 0.03 * y))
    tissue += 0.10 * _spine(x, y) * body
    tissue += 0.12 * _collar_bones(rng, x, y) * body
    tissue += 0.03 * (_clouds(rng, 6) + 0.6 * _clouds(rng, 16)) * body

    exposed = rng.uniform(0.88, 1.12) * np.clip(_blur(tissue), 0, None) ** rng.uniform(0.8, 1.2) + rng.uniform(
        -0.02, 0.08
    )
    noisy = exposed + rng.normal(0, rng.uniform(0.01, 0.025), exposed.shape) * np.sqrt(0.4 + exposed)
    return np.round(255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def _lung(rng: np.random.Generator, across: NDArray, y: NDArray, side: int, width: float) -> tuple[NDArray, float]:
    """One lung field, 0 to 1, and the height of its base.  across: distance from the midline."""
    apex, base = rng.normal(-0.74, 0.02), rng.normal(0.47 if side < 0 else 0.52, 0.05)
    centre, reach = 0.30, rng.uniform(0.49, 0.54) * width
    down = np.clip((y - apex) / (0.35 - apex), 0, 1)
    outer = centre - 0.02 + reach * np.sqrt(1 - (1 - down) ** 2.2)
    inner = 0.13 + 0.17 * (1 - down) ** 3 + 0.03 * down
    dome = base + 0.40 * (across - centre) ** 2 + 0.45 * np.maximum(across - 0.58, 0)
    edges = (_inside(outer - across, 0.016), _inside(across - inner, 0.02), _inside(dome - y, 0.016))
    return np.prod(edges, axis=0) * _inside(y - apex, 0.02), base


def _ribs(across: NDArray, y: NDArray, spacing: float, phase: float, slope: float, width: float) -> NDArray:
    """The back parts of the ribs, which fall from the spine to the side, and fainter the front parts, which rise."""
    u = np.clip((across - 0.08) / (0.78 * width), 0, 1)
    back = phase - 0.10 * np.sin(np.pi * np.minimum(u * 1.1, 1)) + slope * u**2
    front = phase + spacing / 3 - 0.28 * u
    shape = 0.85 * _band(_to_nearest(y - back, spacing), 0.026) * _inside(u - 0.02, 0.02)
    shape += 0.40 * _band(_to_nearest(y - front, spacing), 0.030) * _inside(u - 0.42, 0.05)
    return shape * _inside(0.88 * width - across, 0.02)


def _to_nearest(position: NDArray, spacing: float) -> NDArray:
    """The distance to the nearest multiple of the spacing."""
    return position - spacing * np.rint(position / spacing)


def _vessels(rng: np.random.Generator, across: NDArray, y: NDArray) -> NDArray:
    """The hilum and the vessels that leave it, thinner and fainter with distance."""
    right, down = across - 0.20, y - rng.normal(-0.06, 0.03)
    shape = 0.8 * _band(np.hypot(right / 0.10, down / 0.20), 1.0)
    for angle in np.linspace(-1.2, 1.25, 6) + rng.normal(0, 0.15, 6):
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        along = right * cosine + down * sine
        beside = down * cosine - right * sine - rng.normal(0, 0.35) * along**2
        fading = np.clip(1 - along / 0.75, 0, 1) * (along > 0)
        shape = np.maximum(shape, 0.75 * fading**2 * _band(beside, 0.006 + 0.026 * fading))
    return shape


def _opacity(rng: np.random.Generator, across: NDArray, y: NDArray, base: float, width: float) -> NDArray:
    """One to three soft patches, denser in their middle and mottled."""
    patches = np.zeros((SIZE, SIZE))
    at_x, at_y = rng.uniform(0.24, 0.56) * width, rng.uniform(-0.40, base - 0.08)
    for _ in range(rng.integers(1, 4)):
        a, b = rng.uniform(0.10, 0.22, 2)
        patch = np.exp(-(((across - at_x) / a) ** 2 + ((y - at_y) / b) ** 2))
        patches = np.maximum(patches, rng.uniform(0.55, 1.0) * patch)
        at_x, at_y = at_x + rng.normal(0, 0.10), at_y + rng.normal(0, 0.12)
    mottled = 1 + 0.35 * _clouds(rng, 12) + 0.25 * _clouds(rng, 24)
    return np.clip(patches * mottled, 0, 1.1)


def _heart(rng: np.random.Generator, x: NDArray, y: NDArray) -> NDArray:
    """The heart, the great vessels above it, and what else lies between the lungs."""
    size = rng.uniform(0.9, 1.12)
    left = 1 - np.hypot((x - 0.10) / (0.36 * size), (y - 0.30 - 0.35 * (x - 0.1)) / 0.33)
    right = 1 - np.hypot((x + 0.05) / (0.20 * size), (y - 0.24) / 0.32)
    outflow = 1 - np.hypot((x - 0.08) / 0.15, (y - 0.0) / 0.24)
    arch = 1 - np.hypot((x - 0.08) / 0.13, (y + 0.27) / 0.14)
    between = _inside(0.12 + 0.03 * np.maximum(y, 0) - np.abs(x - 0.01), 0.02)
    parts = (_inside(left, 0.10), _inside(right, 0.14), 0.93 * _inside(outflow, 0.22), 0.93 * _inside(arch, 0.20))
    return np.maximum.reduce([*parts, 0.88 * between])


def _spine(x: NDArray, y: NDArray) -> NDArray:
    """The spine with its discs, and the dark windpipe before its upper part."""
    column = _inside(0.075 - np.abs(x), 0.015) * (0.75 + 0.25 * np.cos(2 * np.pi * y / 0.145))
    windpipe = _inside(0.035 - np.abs(x - 0.01), 0.012) * _inside(-0.30 - y, 0.04)
    return column - 1.5 * windpipe


def _collar_bones(rng: np.random.Generator, x: NDArray, y: NDArray) -> NDArray:
    rise = rng.uniform(0.10, 0.2)
    u = np.abs(x)
    curve = -0.60 - rise * (u - 0.10) - 0.04 * np.sin(2 * np.pi * (u - 0.1) / 0.9) + rng.normal(0, 0.02)
    return _band(y - curve, 0.03) * _inside(u - 0.09, 0.015) * _inside(0.86 - u, 0.02)


def _inside(distance: NDArray, softness: float) -> NDArray:
    """1 where the distance to an edge is positive, 0 where it is negative, and soft between."""
    return 0.5 * (1 + np.tanh(distance / softness))


def _band(distance: NDArray, half_width) -> NDArray:
    """1 where the distance is 0, and 0 from the half width on."""
    return np.clip(1 - (distance / half_width) ** 2, 0, 1)


def _clouds(rng: np.random.Generator, cells: int) -> NDArray:
    """Smooth noise (128, 128) of about unit deviation, with `cells` cells along each axis."""
    coarse = rng.normal(size=(cells + 1, cells + 1)).astype(np.float32)
    position = np.linspace(0, cells, SIZE, dtype=np.float32)
    low = np.minimum(position.astype(int), cells - 1)
    share = position - low
    share = share**2 * (3 - 2 * share)
    rows = coarse[low] * (1 - share[:, None]) + coarse[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _blur(image: NDArray) -> NDArray:
    """A binomial blur over 3 x 3 pixels."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        length = image.shape[axis]
        parts = [padded.take(range(start, start + length), axis) for start in range(3)]
        image = 0.25 * parts[0] + 0.5 * parts[1] + 0.25 * parts[2]
    return image
