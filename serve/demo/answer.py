"""The answer, the facts of a scan and the sentences that a person reads, as HTML."""

import base64
import re
from collections.abc import Iterable

from liquidlens.manifest import Manifest
from liquidlens.serve.demo.case import Case
from liquidlens.serve.demo.html import escape
from liquidlens.serve.predict import Prediction
from liquidlens.words import VALID_INPUT

UNLIKE = "The scan is unlike those that the model was trained on. Do not rely on its answer."


def about(manifest: Manifest) -> str:
    """What the model distinguishes, what it may be given, and what it was trained on."""
    contract = manifest.input
    wanted = re.sub(r"[*](.+)[*]", r"<b>\1</b>", VALID_INPUT["colour" if contract.channels == 3 else contract.values])
    auc = manifest.metrics.get("test", {}).get("auc")
    quality = f", test AUC {auc:.3f}" if auc is not None and auc == auc else ""
    more = ""
    if contract.extent is not None:
        more += f" Of a larger scan it looks at {by(contract.extent)} mm around the point that you click."
    if manifest.trained_on is not None:
        more += f" Trained on {escape(str(manifest.trained_on))}."
    return (
        f'<p class="about"><b>{escape(manifest.model)}</b> on {escape(manifest.provenance.dataset)}: '
        f"{escape(' / '.join(manifest.labels))}; {manifest.parameters.trainable:,} parameters{quality}.<br>"
        f"{wanted}{more}</p>"
    )


def message(sentence: str = "") -> str:
    """What went wrong, read out at once by screen readers."""
    return f'<div class="message" role="alert">{escape(sentence)}</div>' if sentence else ""


def answer(case: Case) -> str:
    """The label, its probabilities with the operating threshold, the badges, the time and the device."""
    prediction, manifest = case.prediction, case.predictor.manifest
    operating = manifest.operating
    binary = len(manifest.labels) == 2 and manifest.task == "classes"
    marked = manifest.labels[1:] if binary else manifest.labels if manifest.task == "multi-label" else ()
    bars = "".join(
        _bar(label, p, prediction.threshold if label in marked else None, _is_predicted(prediction, manifest, label))
        for label, p in prediction.probabilities.items()
    )
    badges = []
    if prediction.abstained:
        badges.append(_badge("unsure", "Not sure"))
    if prediction.ood:
        badges.append(_badge("unlike", "Unlike the training data"))
    else:
        badges.append(_badge("fine", "Like the training data"))
    lines = []
    if marked and prediction.threshold is not None:
        name = f"“{manifest.labels[1]}”" if binary else "a label"
        lines.append(f"The mark is the operating threshold: {escape(name)} above {prediction.threshold:.1%}.")
    if operating.abstain is not None:
        low, high = operating.abstain
        lines.append(f"Not sure between {low:.1%} and {high:.1%}.")
    if operating.abstain_margin is not None:
        lines.append(f"Not sure if the two likeliest differ by less than {operating.abstain_margin:.1%}.")
    score, limit = prediction.ood_score, prediction.ood_threshold
    where = "above" if prediction.ood else "within"
    lines.append(f"Distance from the training data {score:.3g}, {where} the limit of {limit:.3g}.")
    warning = f'<p class="warning">{UNLIKE}</p>' if prediction.ood else ""
    times = ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in prediction.milliseconds.items())
    return (
        f'<section class="answer" aria-live="polite">'
        f'<p class="small">{escape(case.model)} says of {escape(case.name)}</p>'
        f'<h2 class="label">{escape(_headline(prediction))}</h2><p class="badges">{"".join(badges)}</p>{warning}'
        f'<div class="bars">{bars}</div><p class="small">{" ".join(lines)}</p>'
        f'<p class="small">{escape(prediction.device)}: {times}.</p></section>'
    )


def facts(case: Case) -> str:
    """Size, spacing, modality and notes of the scan."""
    scan = case.scan
    rows = {"Name": case.name, "Size": " × ".join(map(str, scan.pixels.shape))}  # noqa: RUF001
    rows["Spacing"] = " × ".join(f"{mm:.3g}" for mm in scan.spacing) + " mm" if scan.spacing else "not known"  # noqa: RUF001
    rows["Modality"] = scan.modality or "not known"
    units = "Hounsfield units" if scan.units == "HU" else "as stored"
    rows["Values"] = f"{scan.pixels.min():.6g} to {scan.pixels.max():.6g}, {units}"
    if case.view is not None:
        place = ", ".join(f"{at:g}" for at in case.view.centre)
        rows["Looked at"] = (
            f"{by(case.predictor.manifest.input.extent or ())} mm around the voxel {place} (slice, row, column, from 0)"
        )
    if scan.pixels.ndim == 3 and not scan.oriented:
        rows["Orientation"] = "not known; planes are named as if the slices ran from the feet to the head"
    notes = "".join(f"<li>{escape(note)}</li>" for note in case.prediction.notes)
    return table(rows) + (f'<ul class="notes">{notes}</ul>' if notes else "")


def by(lengths: Iterable[float]) -> str:
    """Lengths along several axes."""
    return " × ".join(f"{length:g}" for length in lengths)  # noqa: RUF001


def table(rows: dict[str, str]) -> str:
    """Names and values; both are escaped."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f'<table class="facts">{cells}</table>'


def download(case: Case) -> str:
    """A link that holds the result itself, so that nothing is written on the server."""
    content = base64.b64encode(case.to_text().encode()).decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"liquidlens-{case.model}.json")
    address = f"data:application/json;base64,{content}"
    return f'<a class="download" download="{name}" href="{address}">Download result (JSON)</a>'


def _badge(kind: str, words: str) -> str:
    return f'<span class="badge {kind}">{words}</span>'


def _headline(prediction: Prediction) -> str:
    """What stands in large type: no label where the model's answer is not to be relied on."""
    if prediction.ood:
        return "Unlike the training data"
    return "Not sure" if prediction.abstained else prediction.label


def _is_predicted(prediction: Prediction, manifest: Manifest, label: str) -> bool:
    if manifest.task == "multi-label":
        return prediction.probabilities[label] > manifest.operating.threshold
    return label == prediction.label


def _bar(label: str, probability: float, threshold: float | None, predicted: bool) -> str:
    mark = f'<span class="mark" style="left:{100 * threshold:.2f}%"></span>' if threshold is not None else ""
    return (
        f'<div class="bar{" predicted" if predicted else ""}">'
        f'<span>{escape(label)}</span><span class="figure">{probability:.1%}</span>'
        f'<span class="track"><span class="fill" style="width:{100 * probability:.2f}%"></span>{mark}</span></div>'
    )
