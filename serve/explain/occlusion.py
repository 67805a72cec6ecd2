"""What moved a model's answer, found with nothing but its exported file.

`occlusion` hides one part of the scan after the other and looks how the answer changes; `slices` and `trace` read what
the file itself puts out: one decision per slice, and the states of its liquid neurons.  What each shows and what it
does not: ``docs/explanations.md``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.manifest import Manifest, Wiring
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.presentation import grid_of, positions, resized, view_of


@dataclass(frozen=True, eq=False)
class Occlusion:
    """How much each part of a scan speaks for a label.

    map: (slices, rows, columns) or (rows, columns) of the scan, by how much the log-odds of the label fall if what is
        here is hidden, averaged over the patches that cover it.  Below 0: what is here speaks against the label.  0
        beyond a field of view.
    baseline, hidden: the label's calibrated probability for the whole scan, and with the patch hidden that lowers it
        most.
    patch, stride: size of a patch and the distance between two, in points of the model's grid.
    fill: the value put in a patch's place, in the units of the model's input.
    patches, tried: how many patches there are, and how many of them hid anything.
    """

    map: NDArray[np.float32]
    label: str
    baseline: float
    hidden: float
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    fill: float
    patches: int
    tried: int

    @property
    def peak(self) -> tuple[int, ...]:
        """Where in the scan the map is farthest from 0: what to show first."""
        return tuple(map(int, np.unravel_index(np.abs(self.map).argmax(), self.map.shape)))

    @property
    def strongest(self) -> float:
        """How far from 0 that is."""
        return float(np.abs(self.map[self.peak]))


@dataclass(frozen=True, eq=False)
class SliceContribution:
    """What each slice adds to a decision that is the mean of one decision per slice.

    probabilities: (slices, classes), the model's answer for each resized slice alone, in the order of its labels.
    contribution: (slices,), what each adds to the label's logit; they sum to it.  Of several classes: to what the
        label's logit is above the mean of all, for the softmax ignores that mean.
    positions: (slices,), where they lie among the scan's own slices, counted from 0.
    """

    label: str
    probabilities: NDArray[np.float64]
    contribution: NDArray[np.float64]
    positions: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NeuronTrace:
    """The states of one liquid layer while it read a scan.

    states: (steps, neurons), in the order of `wiring.neurons`.
    positions: (steps,), the scan's slices that the steps read, counted from 0; None where a step is not a slice.
    """

    states: NDArray[np.float32]
    wiring: Wiring
    positions: NDArray[np.float64] | None


def occlusion(
    predictor: Predictor,
    scan: Scan,
    *,
    patch: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
    batch_size: int = 16,
    target: str | None = None,
    say: Callable[[int, int], None] | None = None,
) -> Occlusion:
    """Occlusion sensitivity (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014).

    Patches are filled with what stands for nothing: 0 in a mask, the low end of the window in Hounsfield units, the
    scan's darkest value in a grey image.  Patches that hold nothing else are not run: hiding them changes nothing.
    The change is measured in log-odds, log(p / (1 - p)), which do not saturate as probabilities do.

    patch, stride: points of the model's grid (`manifest.input.size`) along each axis; by default 1/4 and 1/8 of the
        axes of a volume, 1/8 and 1/16 of those of an image.
    target: a label; by default the last one of a binary model, and of others the likeliest.
    say: is called with the number of patches done and to do, after each batch.
    Raises LiquidLensError as `on_grid` does, if there is no such label, and if the answer is not a number.
    """
    manifest = predictor.manifest
    pixels = grid_of(manifest, scan)
    size = manifest.input.size
    share = 4 if len(size) == 3 else 8
    patch = _extent(patch, size, share, "patch")
    stride = _extent(stride, size, 2 * share, "stride")
    outputs = predictor.run(pixels[None])
    which = _target(manifest, outputs["probabilities"][0], target)
    whole = _log_odds(manifest, outputs["logits"], which)[0]
    if not np.isfinite(whole):
        raise LiquidLensError(f"{manifest.model}'s answer is not a number, so it cannot be explained.")

    fill = _nothing(manifest, pixels)
    places = list(_windows(size, patch, stride))
    tried = [place for place in places if (pixels[place] != fill).any()]
    drops = np.zeros(size)
    lowest = whole
    for start in range(0, len(tried), batch_size):
        batch = tried[start : start + batch_size]
        hidden = np.repeat(pixels[None], len(batch), 0)
        for i, place in enumerate(batch):
            hidden[i][place] = fill
        found = _log_odds(manifest, predictor.run(hidden)["logits"], which)
        for place, log_odds in zip(batch, found, strict=True):
            drops[place] += whole - log_odds
        lowest = min(lowest, *found)
        if say is not None:
            say(min(start + batch_size, len(tried)), len(tried))
    covered = np.zeros(size)
    for place in places:
        covered[place] += 1
    return Occlusion(
        map=_in_scan(manifest, scan, (drops / covered).astype(np.float32)),
        label=manifest.labels[which],
        baseline=float(metrics.sigmoid(whole)),
        hidden=float(metrics.sigmoid(lowest)),
        patch=patch,
        stride=stride,
        fill=fill,
        patches=len(places),
        tried=len(tried),
    )


def slices(predictor: Predictor, scan: Scan, target: str | None = None) -> SliceContribution | None:
    """What every slice contributes; None where the model does not decide by slice.  target: as of `occlusion`.

    Raises LiquidLensError as `on_grid` does, and if there is no such label.
    """
    manifest = predictor.manifest
    outputs = predictor.run(grid_of(manifest, scan)[None])
    if "slice_logits" not in outputs:
        return None
    which = _target(manifest, outputs["probabilities"][0], target)
    logits = outputs["slice_logits"][0].astype(np.float64)  # (slices, K)
    if logits.shape[1] == 1:
        decisive = logits[:, 0] if which == 1 else -logits[:, 0]
    else:
        decisive = logits[:, which] - (0 if manifest.task == "multi-label" else logits.mean(1))
    return SliceContribution(
        label=manifest.labels[which],
        probabilities=metrics.probabilities(logits, manifest.task == "multi-label"),
        contribution=decisive / len(logits),
        positions=_slices_at(manifest, scan, len(logits)),
    )


def trace(predictor: Predictor, scan: Scan) -> list[NeuronTrace]:
    """The states of every liquid layer while it read the scan; empty for models without any.

    Raises LiquidLensError as `on_grid` does.
    """
    manifest = predictor.manifest
    outputs = predictor.run(grid_of(manifest, scan)[None])
    found = []
    for wiring in manifest.wiring:
        states = outputs[wiring.output][0]
        by_slice = len(manifest.input.size) == 3 and len(states) == manifest.input.size[0]
        where = _slices_at(manifest, scan, len(states)) if by_slice else None
        found.append(NeuronTrace(states, wiring, where))
    return found


def _in_scan(manifest: Manifest, scan: Scan, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of the points of the model's grid as those of the scan's pixels, 0 beyond a field of view."""
    view = view_of(manifest, scan)
    if view is not None:
        return view.laid_back(values)
    return resized(values, scan.pixels.shape[: len(manifest.input.size)])


def _slices_at(manifest: Manifest, scan: Scan, points: int) -> NDArray[np.float64]:
    """Where the slices of the model's grid lie among the scan's own, not beyond its ends."""
    view, length = view_of(manifest, scan), scan.pixels.shape[0]
    return positions(length, points) if view is None else view.positions[0].clip(0, length - 1)


def _target(manifest: Manifest, probabilities: NDArray[np.float32], label: str | None) -> int:
    if label is not None:
        if label not in manifest.labels:
            raise LiquidLensError(f"{manifest.model} knows no label {label!r}; it knows {', '.join(manifest.labels)}.")
        return manifest.labels.index(label)
    binary = len(manifest.labels) == 2 and manifest.task == "classes"
    return 1 if binary else int(probabilities.argmax())


def _log_odds(manifest: Manifest, logits: NDArray, which: int) -> NDArray[np.float64]:
    """log(p / (1 - p)) of one label, of logits (batch, K): (batch,)."""
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        return logits[:, 0] if which == 1 else -logits[:, 0]
    if manifest.task == "multi-label":
        return logits[:, which]
    return logits[:, which] - np.logaddexp.reduce(np.delete(logits, which, 1), 1)


def _nothing(manifest: Manifest, pixels: NDArray[np.float32]) -> float:
    """The value on the grid that stands for nothing being there."""
    if manifest.input.values == "mask":
        return 0.0
    return float(manifest.input.window[0] if manifest.input.window is not None else pixels.min())


def _extent(given: Sequence[int] | None, size: tuple[int, ...], share: int, name: str) -> tuple[int, ...]:
    extent = tuple(math.ceil(points / share) for points in size) if given is None else tuple(given)
    if len(extent) != len(size) or not all(1 <= e <= points for e, points in zip(extent, size, strict=False)):
        grid = " x ".join(map(str, size))
        raise LiquidLensError(f"A {name} has a whole number of points along each axis of the model's {grid} grid.")
    return extent


def _windows(size: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Patches in rows and columns, about `stride` apart and evenly spread, such that they cover the whole grid."""
    starts = []
    for points, wide, step in zip(size, patch, stride, strict=True):
        room = points - wide
        steps = max(math.ceil(room / step), math.ceil(room / wide)) + 1
        starts.append(np.unique(np.linspace(0, room, steps).round().astype(int)))
    for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(size)):
        yield tuple(slice(int(at), int(at) + wide) for at, wide in zip(corner, patch, strict=True))
