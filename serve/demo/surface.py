"""The volume as a surface that can be turned: where its values cross a level."""

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.measure import marching_cubes
from skimage.transform import downscale_local_mean

from liquidlens.imaging import Scan
from liquidlens.serve.demo.viewer import is_mask

#: Voxels along each axis at most: beyond, the page slows down and the shape looks the same.
FINEST = 64
#: In Hounsfield units: between air-filled lung and all other tissue.
TISSUE = -300.0


def level_range(scan: Scan) -> tuple[float, float, float]:
    """Lowest and highest level that cross the volume, and the one to begin with.

    A mask begins half-way between its two values, Hounsfield units at the edge of soft tissue, and other values at
    Otsu's threshold.
    """
    low, high = float(scan.pixels.min()), float(scan.pixels.max())
    if is_mask(scan):
        return low, high, (low + high) / 2
    if scan.units == "HU" and low < TISSUE < high:
        return low, high, TISSUE
    step = max(1, scan.pixels.size // 1_000_000)
    level = float(threshold_otsu(scan.pixels.ravel()[::step]))
    return low, high, round(level) if high - low > 50 else level


def surface(scan: Scan, level: float) -> go.Figure:
    """The isosurface of a volume at `level`, in mm (in voxels where the spacing is unknown).

    The volume is averaged down to at most 64 voxels along each axis.  x runs to the patient's left, y to the back,
    z to the head, as the slices are shown.  A level that nothing crosses gives an empty figure that says so.
    """
    factors = tuple(-(-length // FINEST) for length in scan.pixels.shape)
    spacing = np.array(scan.spacing or (1.0, 1.0, 1.0)) * factors
    coarse = np.concatenate([_averaged(slab, factors) for slab in _slabs(scan.pixels, factors[0])])
    # A border of the lowest value closes the surface where the volume ends.
    coarse = np.pad(coarse, 1, constant_values=float(coarse.min()))
    if not coarse.min() < level < coarse.max():
        return _figure([], "Nothing in the volume crosses this level.", scan)
    corners, triangles, _, _ = marching_cubes(coarse, level, spacing=tuple(spacing))
    z, y, x = (corners - spacing).astype(np.float32).T
    i, j, k = triangles.astype(np.int32).T
    mesh = go.Mesh3d(
        x=x,
        y=y,
        z=z,
        i=i,
        j=j,
        k=k,
        color="#2a9d8f",
        flatshading=False,
        hoverinfo="skip",
        lighting={"ambient": 0.45, "diffuse": 0.75, "specular": 0.15, "roughness": 0.7},
        lightposition={"x": -2000, "y": -4000, "z": 4000},
    )
    return _figure([mesh], None, scan)


def _slabs(pixels: NDArray[np.float32], thickness: int) -> Iterator[NDArray[np.float32]]:
    """A volume in slabs: all that is averaged at a time, so that a large one is not held twice."""
    return (pixels[first : first + thickness] for first in range(0, len(pixels), thickness))


def _averaged(slab: NDArray[np.float32], factors: tuple[int, ...]) -> NDArray[np.float32]:
    """Means of blocks of `factors` voxels; where the last block is cut off, its last voxels count again."""
    beyond = [(0, -length % factor) for length, factor in zip(slab.shape, factors, strict=True)]
    return downscale_local_mean(np.pad(slab, beyond, mode="edge"), factors)


def _figure(meshes: list[go.Mesh3d], message: str | None, scan: Scan) -> go.Figure:
    names = ("R – L", "A – P", "I – S") if scan.oriented else ("columns", "rows", "slices")  # noqa: RUF001
    axis = {
        "showbackground": False,
        "showspikes": False,
        "gridcolor": "rgba(128,128,128,.3)",
        "zerolinecolor": "rgba(128,128,128,.3)",
        "color": "#808890",
        "nticks": 4,
    }
    sizes = np.array(scan.pixels.shape) * (scan.spacing or (1.0, 1.0, 1.0))
    longest = float(sizes.max())
    scene = {
        f"{letter}axis": axis | {"title": {"text": name}, "range": [0, float(size)]}
        for letter, name, size in zip("xyz", names, sizes[::-1], strict=True)
    } | {
        # The longest side always has the same length, so that every volume fits into the picture.
        "aspectmode": "manual",
        "aspectratio": {letter: float(size) / longest for letter, size in zip("xyz", sizes[::-1], strict=True)},
        # From the front, a little from the patient's left and from above.
        "camera": {"eye": {"x": 0.8, "y": -1.5, "z": 0.55}},
    }
    notes = [{"text": message, "showarrow": False, "font": {"color": "#808890"}}] if message else []
    return go.Figure(
        meshes,
        go.Layout(
            scene=scene,
            annotations=notes,
            height=420,
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
            paper_bgcolor="rgba(0,0,0,0)",
            font={"family": "system-ui, sans-serif"},
            # The same mark keeps the angle of view while the level changes.
            uirevision="turned",
        ),
    )
