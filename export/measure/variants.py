"""Precision variants of a file, measured against fp32, and the choice between them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.cores import usable_cores
from liquidlens.export.facts import Choice, Precision, Variant
from liquidlens.export.measure.accuracy import Split, accuracy_at, interval
from liquidlens.manifest import InputContract, Manifest
from liquidlens.serve import bench
from liquidlens.train.datasets import Scans
from liquidlens.train.loop.prepare import feeds

#: The rule of the choice; all AUCs and accuracies are those of the validation scans.
FASTER = 1.2
SMALLER = 1.5
NOT_SLOWER = 1.1
#: How often each batch size is timed: the choice goes by the first, the others are for people to see.
TIMED = {1: 50, 8: 3, 32: 3}
#: So many scans at a time: what larger batches need no longer fits into the processor's caches.
CHUNK = 8
#: By how much a larger share of the validation scans a variant may call out-of-distribution than fp32 does.
FLAGGED = 0.05


@dataclass(frozen=True)
class Candidate:
    """A variant that was converted: its file (None if nothing changed) and what became of its operators."""

    precision: Precision
    file: Path | None
    converted: dict[str, int]
    left: dict[str, tuple[int, str]]


def compare(
    candidates: list[Candidate], manifest: Manifest, splits: Mapping[str, Split], auc_budget: float
) -> tuple[tuple[Variant, ...], Choice]:
    """Run every candidate, fp32 first, over validation and test scans, time them in turn, and choose.

    auc_budget: by how much the validation AUC of the recommended variant may lie below that of fp32.
    """
    files = [candidate.file for candidate in candidates if candidate.file]
    rows = bench.measure(files, tuple(TIMED), repeats=TIMED, providers=[bench.CPU])
    outputs = _outputs(files, splits, manifest.input)
    runs = {
        c.precision: _Run(c.file, [row for row in rows if row.file == c.file], outputs[c.file])
        for c in candidates
        if c.file
    }
    variants = [
        _measured(candidate, runs[candidate.precision], runs["fp32"], manifest, splits)
        if candidate.file
        else _nothing_changed(candidate)
        for candidate in candidates
    ]
    choice = choose(variants, auc_budget)
    return tuple(replace(v, recommended=v.precision == choice.recommended) for v in variants), choice


class _Run:
    """A file that was run over some splits: its timings and, by split, its logits, probabilities and scores."""

    def __init__(self, file: Path, times: list[bench.Row], outputs: Mapping[str, dict[str, NDArray]]):
        self.file, self.times = file, times
        self.logits = {name: output["logits"] for name, output in outputs.items()}
        self.probabilities = {name: output["probabilities"] for name, output in outputs.items()}
        self.ood = {name: output["ood"] for name, output in outputs.items()}

    def flagged(self, manifest: Manifest) -> float:
        """Share of the validation scans that it calls out-of-distribution."""
        return float((self.ood["val"] > manifest.out_of_distribution.threshold).mean())


def _measured(
    candidate: Candidate, run: _Run, reference: _Run, manifest: Manifest, splits: Mapping[str, Split]
) -> Variant:
    accuracy = _accuracy(manifest)
    pairs = [(run.probabilities[name], reference.probabilities[name]) for name in splits]
    return Variant(
        precision=candidate.precision,
        file=run.file.name,
        bytes=run.file.stat().st_size,
        converted=candidate.converted,
        left=candidate.left,
        rejected=why_rejected(manifest, splits["val"].labels, reference.probabilities["val"], run.probabilities["val"])
        or why_flagged(run.flagged(manifest), reference.flagged(manifest)),
        load_milliseconds=run.times[0].load_milliseconds,
        milliseconds={row.batch_size: row.p50_milliseconds for row in run.times},
        fastest_milliseconds=run.times[0].fastest_milliseconds,
        figures={
            name: {
                "auc": interval(metrics.auc, split.labels, run.probabilities[name]),
                "accuracy": interval(accuracy, split.labels, run.probabilities[name]),
            }
            for name, split in splits.items()
        },
        max_logit_difference=max(
            float(np.abs(run.logits[name] - split.logits / manifest.temperature).max())
            for name, split in splits.items()
        ),
        max_probability_difference=max(float(np.abs(ours - fp32).max()) for ours, fp32 in pairs),
        changed_labels=sum(int((_decided(manifest, ours) != _decided(manifest, fp32)).sum()) for ours, fp32 in pairs),
        ood_share=run.flagged(manifest),
    )


def choose(variants: list[Variant], auc_budget: float) -> Choice:
    """The recommended variant, with a sentence for each of them; fp32 is the first."""
    fp32 = variants[0]
    rule = (
        f"Of the variants whose validation AUC is at most {auc_budget:g} below that of fp32: the fastest, if it is at "
        f"least {FASTER:g} times as fast at batch 1; else the smallest, if it is at least {SMALLER:g} times smaller "
        f"and takes at most {NOT_SLOWER:g} times as long; else fp32."
    )
    reasons, eligible = [], []
    for variant in variants[1:]:
        speed, size = fp32.fastest_milliseconds / variant.fastest_milliseconds, fp32.bytes / max(variant.bytes, 1)
        lost = _auc(fp32) - _auc(variant) if variant.figures else np.nan
        measured = f"{size:.2f}x smaller, {speed:.2f}x the speed (fastest runs), AUC {-lost:+.4f}"
        if variant.rejected:
            reasons.append(f"{variant.precision}: rejected, {variant.rejected}.")
        elif not lost <= auc_budget:  # NaN is not, either
            reasons.append(f"{variant.precision}: {measured}: costs more AUC than allowed.")
        else:
            reasons.append(f"{variant.precision}: {measured}.")
            eligible.append((variant.precision, speed, size))
    best: Precision = "fp32"
    faster = [(speed, precision) for precision, speed, _ in eligible if speed >= FASTER]
    smaller = [(size, precision) for precision, speed, size in eligible if size >= SMALLER and speed >= 1 / NOT_SLOWER]
    if faster or smaller:
        best = max(faster or smaller)[1]
        reasons.append(f"{best} is recommended: {'the fastest' if faster else 'the smallest that is not slower'}.")
    elif eligible:
        reasons.append("fp32 is recommended: no other variant is enough faster, or enough smaller and not slower.")
    else:
        reasons.append("fp32 is recommended.")
    return Choice(best, rule, tuple(reasons))


def _auc(variant: Variant) -> float:
    return variant.figures["val"]["auc"].value


def _nothing_changed(candidate: Candidate) -> Variant:
    why = "; ".join(f"{count} {operator}: {reason}" for operator, (count, reason) in candidate.left.items())
    rejected = f"nothing was converted ({why or 'there is nothing to convert'})"
    return Variant(precision=candidate.precision, left=candidate.left, rejected=rejected)


def why_rejected(manifest: Manifest, labels: NDArray, reference: NDArray, answer: NDArray) -> str | None:
    """A variant is rejected if its answers are no numbers, or its accuracy is clearly below that of fp32."""
    if not np.isfinite(answer).all():
        return "its probabilities are not numbers"
    low, high = metrics.paired_bootstrap(_accuracy(manifest), labels, reference, answer)
    if high < 0:
        return f"its accuracy on validation is between {-low:.3f} and {-high:.3f} below that of fp32"
    return None


def why_flagged(share: float, usual: float) -> str | None:
    """A variant is rejected if it flags many more of the validation scans than fp32 does: shares 0..1."""
    if share > usual + FLAGGED:
        return f"it calls {share:.0%} of the validation scans unlike the training scans, and fp32 {usual:.0%}"
    return None


def _accuracy(manifest: Manifest):
    return partial(accuracy_at, threshold=manifest.operating.threshold, multi_label=manifest.task == "multi-label")


def _decided(manifest: Manifest, probabilities: NDArray) -> NDArray:
    return metrics.decided(probabilities, manifest.operating.threshold, manifest.task == "multi-label")


def _outputs(
    files: list[Path], splits: Mapping[str, Split], contract: InputContract
) -> dict[Path, dict[str, dict[str, NDArray]]]:
    """File -> split -> what it answers; files run side by side, for each uses one core well and two badly."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        of = {
            file: {name: pool.submit(_answers, file, split.scans, contract) for name, split in splits.items()}
            for file in files
        }
        return {file: {name: asked.result() for name, asked in by_split.items()} for file, by_split in of.items()}


def _answers(file: Path, scans: Scans, contract: InputContract) -> dict[str, NDArray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=[bench.CPU])
    names = ["logits", "probabilities", "ood"]
    batches = [session.run(names, feed) for feed in feeds(scans, contract, CHUNK)]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*batches, strict=True), strict=True)}
