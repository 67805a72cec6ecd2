"""Parity: the exported file against the torch model it came from, on real scans."""

import itertools
from collections.abc import Iterator

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.facts import Parity
from liquidlens.export.graph.step import StepModel
from liquidlens.manifest import InputContract
from liquidlens.train.datasets import Scans
from liquidlens.train.loop.prepare import Feed, feeds, tensors

TOLERANCE = 1e-4
OOD_TOLERANCE = 1e-3
#: A distance of 40 needs no four decimals, nor the logit of a slice that counts for the whole volume and is 100.
UNBOUNDED = ("ood", "slice_logits")
BATCH_SIZES = (1, 2, 7, 64)


class AuditError(LiquidLensError):
    """The exported file is not what it should be."""

    exit_code = 1


class Comparison:
    """The largest differences between a file's outputs and torch's, batch by batch."""

    def __init__(self, model: CompleteModel, threshold: float = 0.5):
        self.multi_label, self.threshold = model.multi_label, threshold
        self.worst: dict[str, float] = {}
        self.changed = 0
        self.sizes: set[tuple[int, ...]] = set()
        self.batch_sizes: set[int] = set()

    def add(self, found: dict[str, NDArray], expected: dict[str, torch.Tensor], size: tuple[int, ...]) -> None:
        """Compare the outputs for one batch of scans of one size."""
        self.sizes.add(size)
        self.batch_sizes.add(len(found["logits"]))
        for name, tensor in expected.items():
            ours, theirs = found[name], tensor.numpy()
            if ours.shape != theirs.shape:
                raise AuditError(f"Its output {name} is {ours.shape} where torch gives {theirs.shape}.")
            difference = np.abs(ours - theirs)
            if name in UNBOUNDED:
                difference /= np.maximum(1, np.abs(theirs))
            self.worst[name] = float(np.maximum(self.worst.get(name, 0.0), difference.max()))  # keeps NaN
        decisions = (
            metrics.decided(outputs, self.threshold, self.multi_label)
            for outputs in (found["probabilities"], expected["probabilities"].numpy())
        )
        self.changed += int((next(decisions) != next(decisions)).sum())

    def conclude(self, scans: int, file: str) -> Parity:
        """The result for `scans` different scans.

        Raises AuditError if a logit or a state differs by more than 1e-4, the logit of a slice by more than 1e-4 of
        itself where it exceeds 1, an out-of-distribution score likewise by more than 1e-3, or if a label changes.
        """
        broken = [
            f"{name} differs by up to {worst:.2g} (allowed: {_tolerance(name):.0e})"
            for name, worst in self.worst.items()
            if not worst <= _tolerance(name)
        ]
        if self.changed:
            broken.append(f"{self.changed} labels change")
        if broken:
            raise AuditError(f"{file} disagrees with torch: {', '.join(broken)}. Nothing was written.")
        return Parity(
            scans=scans,
            sizes=tuple(sorted(self.sizes)),
            batch_sizes=tuple(sorted(self.batch_sizes)),
            max_logit_difference=self.worst["logits"],
            max_difference=self.worst,
            changed_labels=self.changed,
        )


def check(
    content: bytes, model: CompleteModel, scans: Scans, threshold: float = 0.5, file: str = "The exported file"
) -> Parity:
    """Compare a file that reads whole scans with the unfolded torch model on all of `scans`, raw.

    Every scan goes through in batches of up to 64; batches of 1, 2 and 7 follow, and a batch of 2 enlarged to
    twice and reduced to half its size; of a field of view in millimetres also the defaults, points near the borders,
    outside the scan, and other spacings.  On these the states of liquid layers are compared, too, with those of the
    folded model: the unfolded one does not give them.  Raises AuditError as `Comparison.conclude`.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    model.eval()
    twin = model.folded()
    comparison = Comparison(model, threshold)
    contract = model.front.contract
    whole = ((feed, model) for feed in feeds(scans, contract, BATCH_SIZES[-1]))
    others = ((feed, twin) for feed in _other_batches(scans, contract))
    for feed, reference in itertools.chain(whole, others):
        with torch.no_grad():
            expected = model(**tensors(feed))
            if reference is twin:
                expected = twin(**tensors(feed)) | expected
        names = list(expected)
        found = dict(zip(names, session.run(names, feed), strict=True))
        comparison.add(found, expected, feed["scan"].shape[1:])
    return comparison.conclude(len(scans), file)


def check_step(content: bytes, model: CompleteModel, scans: Scans, threshold: float = 0.5) -> Parity:
    """Feed all `scans`, raw, slice by slice, and compare the last answer with the unfolded torch model's.

    A scan of another number of slices than the model was trained on is thinned or repeated to that many first.  Raises
    AuditError as `Comparison.conclude`.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    module = StepModel(model.folded())
    contract = model.front.contract
    depth = contract.size[0]
    comparison = Comparison(model, threshold)
    for batch in (feed["scan"] for feed in feeds(scans, contract)):
        volumes = batch[:, np.linspace(0, batch.shape[1] - 1, depth).round().astype(int)]
        memory = {name: tensor.numpy() for name, tensor in module.start(len(volumes)).items()}
        if module.takes_largest:
            memory["largest"] = volumes.max((1, 2, 3))
        found = {}
        for pixels in volumes.swapaxes(0, 1):
            names = [output.name for output in session.get_outputs()]
            found = dict(zip(names, session.run(names, {"slice": pixels, **memory}), strict=True))
            memory |= {name: found[f"next_{name}"] for name in ("state", "sum", "count")}
        with torch.no_grad():
            expected = model(torch.from_numpy(volumes))
        compared = {name: expected[name] for name in ("logits", "probabilities")}
        comparison.add(found, compared, volumes.shape[1:])
    return comparison.conclude(len(scans), "The file of the profile step")


def _tolerance(output: str) -> float:
    return OOD_TOLERANCE if output == "ood" else TOLERANCE


def _other_batches(scans: Scans, contract: InputContract) -> Iterator[Feed]:
    """Batches of 1, 2 and 7, and a batch of 2 enlarged to twice and reduced to half its size."""
    first = next(feeds(scans, contract, BATCH_SIZES[2]))
    if len(first["scan"]) < BATCH_SIZES[2]:
        first = {name: np.repeat(values[:1], BATCH_SIZES[2], 0) for name, values in first.items()}
    for size in BATCH_SIZES[:-1]:
        yield {name: values[:size] for name, values in first.items()}
    axes = range(1, 1 + len(contract.size))
    enlarged = first["scan"][:2]
    for axis in axes:
        enlarged = enlarged.repeat(2, axis)
    reduced = first["scan"][(slice(0, 2), *[slice(None, None, 2)] * len(axes))]
    if contract.spacing is None:
        yield from ({"scan": enlarged}, {"scan": reduced})
        return
    nowhere = np.full((2, 3), np.nan, np.float32)
    yield {"scan": enlarged, "spacing": first["spacing"][:2] / np.float32(2), "centre": nowhere}
    yield {"scan": reduced, "spacing": nowhere, "centre": nowhere}
    shape, own = np.array(enlarged.shape[1:]), np.array([contract.spacing, contract.spacing[::-1]])
    for spacing in ((0.6, 1.7, 0.9), (5.0, 0.7, 2.5)):
        corners, outside = np.stack([0 * shape, shape - 1]), np.stack([-shape, shape * (0.1, 0.9, 0.5)])
        for centre in (corners, outside):
            yield {"scan": enlarged, "spacing": (own * spacing).astype(np.float32), "centre": centre.astype(np.float32)}
