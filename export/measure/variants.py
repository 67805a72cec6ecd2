"""Precision variants of a file, measured against fp32, and the choice between them."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.export.facts import Choice, Precision, Variant
from liquidlens.export.measure.accuracy import Arrays, accuracy_at, interval
from liquidlens.manifest import Manifest
from liquidlens.serve import bench
from liquidlens.train.datasets import Scans
from liquidlens.train.loop.prepare import chunks

#: The rule of the choice; all AUCs and accuracies are those of the validation scans.
FASTER = 1.2
SMALLER = 1.5
NOT_SLOWER = 1.1
BATCH_SIZES = (1, 8, 32)
#: By how much a larger share of the validation scans a variant may call strange than fp32 does.
STRANGE = 0.05


@dataclass(frozen=True)
class Candidate:
    """A variant that was converted: its file (None if nothing changed) and what became of its operators."""

    precision: Precision
    file: Path | None
    converted: dict[str, int]
    left: dict[str, tuple[int, str]]


def compare(
    candidates: list[Candidate], manifest: Manifest, scans: dict[str, Scans], labels: Arrays, auc_budget: float
) -> tuple[tuple[Variant, ...], Choice]:
    """Run every candidate, fp32 first, over validation and test scans, time them in turn, and choose.

    auc_budget: by how much the validation AUC of the recommended variant may lie below that of fp32.
    """
    files = [candidate.file for candidate in candidates if candidate.file]
    rows = bench.measure(files, BATCH_SIZES, providers=[bench.CPU])
    times = {file: [row for row in rows if row.file == file] for file in files}
    answers, strange = {}, {}
    for file in files:
        outputs = {split: _outputs(file, scans[split]) for split in labels}
        answers[file] = {split: outputs[split]["probabilities"] for split in labels}
        strange[file] = float((outputs["val"]["ood"] > manifest.out_of_distribution.threshold).mean())
    reference, usual = answers[files[0]], strange[files[0]]
    variants = []
    for candidate in candidates:
        if candidate.file is None:
            variants.append(_nothing_changed(candidate))
            continue
        answer = answers[candidate.file]
        variants.append(
            Variant(
                precision=candidate.precision,
                file=candidate.file.name,
                bytes=candidate.file.stat().st_size,
                converted=candidate.converted,
                left=candidate.left,
                rejected=why_rejected(manifest, labels["val"], reference["val"], answer["val"])
                or why_strange(strange[candidate.file], usual),
                recommended=False,
                load_milliseconds=times[candidate.file][0].load_milliseconds,
                milliseconds={row.batch_size: row.p50_milliseconds for row in times[candidate.file]},
                fastest_milliseconds=times[candidate.file][0].fastest_milliseconds,
                figures={
                    split: {
                        "auc": interval(metrics.auc, labels[split], answer[split]),
                        "accuracy": interval(_accuracy(manifest), labels[split], answer[split]),
                    }
                    for split in labels
                },
                max_probability_difference=max(
                    float(np.abs(answer[split] - reference[split]).max()) for split in labels
                ),
                changed_labels=sum(
                    int((_decided(manifest, answer[split]) != _decided(manifest, reference[split])).sum())
                    for split in labels
                ),
                ood_share=strange[candidate.file],
            )
        )
    choice = choose(variants, auc_budget)
    return tuple(replace(v, recommended=v.precision == choice.recommended) for v in variants), choice


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
        elif not lost <= auc_budget:  # nor is an AUC that is no number
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
    return Variant(
        precision=candidate.precision,
        file=None,
        bytes=0,
        converted={},
        left=candidate.left,
        rejected=f"nothing was converted ({why or 'there is nothing to convert'})",
        recommended=False,
        load_milliseconds=float("nan"),
        milliseconds={},
        fastest_milliseconds=float("nan"),
        figures={},
        max_probability_difference=float("nan"),
        changed_labels=0,
        ood_share=float("nan"),
    )


def why_rejected(manifest: Manifest, labels: NDArray, reference: NDArray, answer: NDArray) -> str | None:
    """A variant is rejected if its answers are no numbers, or its accuracy is clearly below that of fp32."""
    if not np.isfinite(answer).all():
        return "its probabilities are not numbers"
    low, high = metrics.paired_bootstrap(_accuracy(manifest), labels, reference, answer)
    if high < 0:
        return f"its accuracy on validation is between {-low:.3f} and {-high:.3f} below that of fp32"
    return None


def why_strange(share: float, usual: float) -> str | None:
    """A variant is rejected if it calls many more of the validation scans strange than fp32 does: shares 0..1."""
    if share > usual + STRANGE:
        return f"it calls {share:.0%} of the validation scans unlike the training scans, and fp32 {usual:.0%}"
    return None


def _accuracy(manifest: Manifest):
    return partial(accuracy_at, threshold=manifest.operating.threshold, multi_label=manifest.task == "multi-label")


def _decided(manifest: Manifest, probabilities: NDArray) -> NDArray:
    return metrics.decided(probabilities, manifest.operating.threshold, manifest.task == "multi-label")


def _outputs(file: Path, scans: Scans) -> Arrays:
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    names = ["probabilities", "ood"]
    batches = [session.run(names, {"scan": batch}) for batch in chunks(scans)]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*batches, strict=True), strict=True)}
