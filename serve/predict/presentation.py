"""Scans on the model's own grid: what the graph's front makes of them, as pixels that the front leaves as they are.

Explanations run a model hundreds of times with small changes to a scan.  On the grid a scan is as small as the
network's input, whatever its size was, and the answer is the same to rounding: resizing to the size at hand changes
nothing.  Of a model with a spacing the grid is its field of view.  (Relative values are an exception at the borders of
a scan: on the grid, what lies outside of the scan counts for mean and deviation as well.)  The front itself is in the
graph (and in ``models/front.py``); a test compares the two.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.imaging.display import displayed
from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.manifest import InputContract, Manifest

#: Where the front cuts a resized mask.
HALF = 0.5 + 1e-4


def presented(manifest: Manifest, scan: Scan) -> NDArray[np.float32]:
    """The pixels that a model's file is given for a scan: its own, or of models of grey values, which learnt from
    pictures, as `imaging.display` shows them."""
    return displayed(scan) if manifest.input.values == "grey" else scan.pixels


def view_of(manifest: Manifest, scan: Scan) -> FieldOfView | None:
    """Where a model looks in a volume; None if it reads scans as wholes."""
    if manifest.input.spacing is None or scan.pixels.ndim != 3:
        return None
    return FieldOfView.of(manifest.input, scan.pixels.shape, scan.spacing, scan.centre)


def grid_of(manifest: Manifest, scan: Scan) -> NDArray[np.float32]:
    """What a model sees of a scan as pixels of the input contract's size, as of `on_grid`."""
    view = view_of(manifest, scan)
    pixels = presented(manifest, scan)
    return on_grid(manifest, pixels) if view is None else _in_view(manifest.input, view, pixels[view.reached])


def _in_view(contract: InputContract, view: FieldOfView, part: NDArray[np.float32]) -> NDArray[np.float32]:
    if contract.window is not None:
        return view.seen(part.clip(*contract.window), contract.window[0])
    largest = part.max()
    if contract.values == "mask":
        return (view.seen((part > 0.5 * largest).astype(np.float32)) > HALF).astype(np.float32)
    if contract.values == "relative":
        shown, inside = view.seen(part), view.seen(np.ones_like(part))
        centred = shown - inside * shown.sum() / max(inside.sum(), 1e-6)
        deviation = max(float(np.sqrt(np.square(centred).sum() / max(inside.sum(), 1e-6))), 1e-6)
        return centred / deviation + 3 * inside
    return view.seen((part * np.float32(255 / 65535) if largest > 255 else part).clip(0, 255))


def on_grid(manifest: Manifest, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The raw pixels of a scan as pixels of the input contract's size, colour channels last.

    Masks become 0 and 1, grey values 0..255; Hounsfield units are clipped to the window.  Raises LiquidLensError if the
    model reads volumes and this is an image, or the reverse, or colour and this is grey.
    """
    contract = manifest.input
    axes = len(contract.size)
    if pixels.shape[axes:] != ((3,) if contract.channels == 3 else ()) or pixels.ndim < axes:
        kind = "a volume" if axes == 3 else "a colour image" if contract.channels == 3 else "a grey 2D image"
        raise LiquidLensError(f"{manifest.model} reads {kind}, and this scan is {' x '.join(map(str, pixels.shape))}.")
    largest = pixels.max()
    if contract.values == "mask":
        inside = (pixels > 0.5 * largest).astype(np.float32)
        return (resized(inside, contract.size) > HALF).astype(np.float32)
    if contract.window is not None:
        return resized(pixels.clip(*contract.window), contract.size).clip(*contract.window)
    if contract.values == "relative":
        return resized(pixels, contract.size)
    eight_bit = pixels * np.float32(255 / 65535) if largest > 255 else pixels
    return resized(eight_bit.clip(0, 255), contract.size).clip(0, 255)


def resized(pixels: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """Pixels with their first axes resized to `size`, by the antialiased bilinear filter of the graph's front."""
    for axis, points in enumerate(size):
        if pixels.shape[axis] != points:
            weights = triangle_weights(pixels.shape[axis], points)
            pixels = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    return pixels


def positions(length: int, points: int) -> NDArray[np.float64]:
    """Where resized points lie among the original ones, which count from 0: (points,), not beyond the ends."""
    return ((np.arange(points) + 0.5) * length / points - 0.5).clip(0, length - 1)


def triangle_weights(length: int, size: int) -> NDArray[np.float32]:
    """Weights (size, length) that resample `length` points to `size` points, rows summing to 1."""
    scale = length / size
    centre = (np.arange(size)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(length) + 0.5 - centre) / max(scale, 1.0)
    weights = np.maximum(0, 1 - distance)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
