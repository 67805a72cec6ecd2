"""Slices of a scan as pictures: cut along a plane, mapped through a window, overlaid, in true proportions.

Everything is drawn here, with NumPy and Pillow, and goes into the page as data URIs, so that no pixel of a scan is
written to disk.  A picture has the scan's own resolution; the browser stretches it to the proportions that the spacing
gives.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liquidlens.drawing.palette import ABOVE, BELOW, rgb
from liquidlens.drawing.png import data_uri
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.serve.demo.html import escape

Plane = Literal["axial", "coronal", "sagittal"]
#: Which axis of (slices, rows, columns) each plane cuts across.
PLANES: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
#: What lies left, right, above and below in each plane as it is shown: seen from the feet, from the front, from the
#: left, with the head up.
LETTERS: dict[Plane, str] = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
#: Level and width in Hounsfield units, the values that radiology textbooks print.
HU_PRESETS = {
    "Lung": (-600.0, 1500.0),
    "Mediastinum": (40.0, 400.0),
    "Abdomen": (50.0, 350.0),
    "Brain": (40.0, 80.0),
    "Bone": (400.0, 1800.0),
}
_SHARE = r"(0\.[0-9]+|1\.0+)"
_CLICK = re.compile(f"(axial|coronal|sagittal) {_SHARE} {_SHARE}")
LONGEST_SIDE = 2048  # pixels; a larger picture costs seconds and shows nothing more on a screen
SMOOTH_FROM = 96  # a smaller picture is shown as the blocks that it consists of


@dataclass(frozen=True)
class Window:
    """Which values become black (`level` - `width` / 2) to white (`level` + `width` / 2)."""

    level: float
    width: float

    @classmethod
    def between(cls, low: float, high: float) -> "Window":
        """Rounded to what a person can read: whole numbers, or four digits where the values are close together."""
        width = max(high - low, 1e-6)
        digits = 0 if width > 50 else 3 - math.floor(math.log10(width))
        return cls(round((low + high) / 2, digits), round(width, digits))

    def grey(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        scaled = (pixels - (self.level - self.width / 2)) * (255 / max(self.width, 1e-6))
        return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)


def is_mask(scan: Scan) -> bool:
    """Whether the scan holds two values at most: a segmented shape."""
    low, high = float(scan.pixels.min()), float(scan.pixels.max())
    return all(np.isin(part, (low, high)).all() for part in scan.pixels)  # part by part: it may be large


def presets(scan: Scan) -> dict[str, Window]:
    """The windows that suit the scan, by name; the first is the one to begin with.

    A mask has one, its two values.  Other scans: the window of the file, those of textbooks for Hounsfield units, the
    middle 98 % of the values, and all of them.
    """
    low, high = float(scan.pixels.min()), float(scan.pixels.max())
    if is_mask(scan):
        return {"Mask": Window.between(low, high)}
    found = {}
    if scan.window:
        found["From the file"] = Window.between(*scan.window)
    if scan.units == "HU":
        found |= {name: Window(*values) for name, values in HU_PRESETS.items()}
    step = max(1, scan.pixels.size // 1_000_000)  # percentiles of a million pixels are as good as of all
    found["Middle 98 %"] = Window.between(*map(float, np.percentile(scan.pixels.ravel()[::step], (1, 99))))
    found["Full range"] = Window.between(low, high)
    return found


def cut(volume: NDArray, plane: Plane, index: int) -> NDArray:
    """One slice of (slices, rows, columns), 2D, as it is looked at: the head is up."""
    picture = np.take(volume, index, PLANES[plane])
    return picture if plane == "axial" else picture[::-1]


def proportions(scan: Scan, plane: Plane | None) -> tuple[float, float]:
    """Height and width of a picture in mm, or in pixels where the spacing is unknown.  plane: None for images."""
    axes = (0, 1) if plane is None else tuple(axis for axis in range(3) if axis != PLANES[plane])
    spacing = scan.spacing or (1.0,) * scan.pixels.ndim
    height, width = (scan.pixels.shape[axis] * spacing[axis] for axis in axes)
    return height, width


def clicked(scan: Scan, click: str, at: Sequence[float]) -> list[int]:
    """The voxel (slice, row, column) where a picture was clicked.

    click: a plane, and shares of its picture's width and height from the left and from the top, ``axial 0.25 0.5``.
    at: the slices that are shown, counted from 1.  Raises LiquidLensError for any other text.
    """
    found = _CLICK.fullmatch(click)
    if found is None or scan.pixels.ndim != 3:
        raise LiquidLensError("This is no place in a slice; click on one.")
    across, x, y = PLANES[found[1]], float(found[2]), float(found[3])  # type: ignore[index]
    shares = [y if across == 0 else 1 - y, x]  # of the other planes the head is up
    shares.insert(across, (at[across] - 0.5) / scan.pixels.shape[across])
    return [min(int(share * n), n - 1) for share, n in zip(shares, scan.pixels.shape, strict=True)]


def paint(
    pixels: NDArray[np.float32], window: Window, weights: NDArray[np.float32] | None, scale: float, opacity: float
) -> NDArray[np.uint8]:
    """A picture (rows, columns, 3) of grey or colour pixels, with an overlay.

    weights: (rows, columns), above 0 where the overlay speaks for the label and below 0 where against; they are as
        opaque as `opacity`, 0 to 1, where they reach +-`scale`.
    """
    grey = window.grey(pixels)
    picture = grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, 2)
    if weights is None or scale <= 0 or opacity <= 0:
        return picture
    alpha = (np.clip(np.abs(weights) / scale, 0, 1) * opacity)[..., None]
    colours = np.where((weights > 0)[..., None], np.array(rgb(ABOVE), np.float32), np.array(rgb(BELOW), np.float32))
    return (picture * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)


def figure(
    scan: Scan,
    plane: Plane | None,
    index: int,
    window: Window,
    overlay: NDArray[np.float32] | None = None,
    opacity: float = 0.6,
    zoom: float = 1,
    view: FieldOfView | None = None,
) -> str:
    """One slice of a volume, or an image (plane None), as an HTML figure.

    index: the slice, counted from 0.  overlay: values on the scan's voxels, as of `serve.explain.occlusion`.
    view: where a model looks that sees a part of the volume: drawn, and moved by a click (``page.js``).
    """
    scale = float(np.abs(overlay).max()) if overlay is not None else 0.0
    if plane is None:
        pixels, weights = scan.pixels, overlay
        stride = max(1, -(-max(pixels.shape[:2]) // LONGEST_SIDE))
        pixels, weights = pixels[::stride, ::stride], weights if weights is None else weights[::stride, ::stride]
        name, caption = "Image", _image_caption(scan, stride)
    else:
        pixels = cut(scan.pixels, plane, index)
        weights = None if overlay is None else cut(overlay, plane, index)
        axis = PLANES[plane]
        name = f"{plane.capitalize()} slice {index + 1} of {scan.pixels.shape[axis]}"
        caption = f"{plane.capitalize()} {index + 1} / {scan.pixels.shape[axis]}"
        if scan.spacing:
            caption += f" &middot; {(index + 0.5) * scan.spacing[axis]:.1f} mm"
    height, width = proportions(scan, plane)
    share = f"width:{100 * min(1, width / height):.2f}%;height:{100 * min(1, height / width):.2f}%"
    source = data_uri(Image.fromarray(paint(pixels, window, weights, scale, opacity)), compress_level=1)
    looks = "smooth" if min(pixels.shape[:2]) >= SMOOTH_FROM else "blocks"
    letters = _letters(plane) if scan.oriented and plane is not None else ""
    look = _outline(view, plane, index, share) if view is not None and plane is not None else ""
    return (
        f'<figure class="slice"><div class="stage{" pointed" if look else ""}" data-stage="{plane or "image"}"'
        f"{_scrolled(name) if zoom > 1 else ''}>"
        f'<div class="canvas" style="width:{100 * zoom:.0f}%">'
        f'<img class="{looks}" style="{share}" alt="{escape(name)}" src="{source}">'
        f"{look}{letters}</div></div><figcaption>{caption}</figcaption></figure>"
    )


def _outline(view: FieldOfView, plane: Plane, index: int, size: str) -> str:
    """The point that a model looks at as a cross-hair, and the box of what it sees there, over a picture of this size.
    The box is drawn where the slice goes through it."""
    across = PLANES[plane]
    down, right = (axis for axis in range(3) if axis != across)
    height, width = view.shape[down], view.shape[right]
    (top, bottom), (left, end) = ((low + 0.5, high + 0.5) for low, high in (view.box[down], view.box[right]))
    y, x = view.centre[down] + 0.5, view.centre[right] + 0.5
    if plane != "axial":  # the head is up
        top, bottom, y = height - bottom, height - top, height - y
    low, high = view.box[across]
    box = f'<rect x="{left:.2f}" y="{top:.2f}" width="{end - left:.2f}" height="{bottom - top:.2f}"/>'
    return (
        f'<svg class="view" style="{size}" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        'aria-hidden="true">'
        f'<path d="M0 {y:.2f}H{width}M{x:.2f} 0V{height}"/>{box if low <= index <= high else ""}</svg>'
    )


def _letters(plane: Plane) -> str:
    sides = zip(("left", "right", "top", "bottom"), LETTERS[plane], strict=True)
    return "".join(f'<span class="letter {side}" aria-hidden="true">{letter}</span>' for side, letter in sides)


def _scrolled(name: str) -> str:
    """What makes a magnified picture reachable with the arrow keys."""
    return f' tabindex="0" role="region" aria-label="{escape(name)}, magnified: move with the arrow keys"'


def _image_caption(scan: Scan, stride: int) -> str:
    rows, columns = scan.pixels.shape[:2]
    shown = f", shown at {columns // stride} &times; {rows // stride}" if stride > 1 else ""
    return f"{columns} &times; {rows} pixels{shown}"
