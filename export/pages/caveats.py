"""The caveats of a model: sentences that follow from the facts of its bundle, the gravest first."""

import math

from liquidlens.export.facts import Document
from liquidlens.export.pages.numbers import clause, extent, percent, shape, span
from liquidlens.words import TRAINED_ON

#: Below this, one scan more or less moves sensitivity by a percent.
FEW_POSITIVES = 100
WIDE_INTERVAL = 0.1


def limits(document: Document) -> list[str]:
    """Sentences in plain text; labels and dataset names in them are not escaped."""
    manifest = document.manifest
    return [*_training(manifest), TRAINED_ON[manifest["input"]["values"]], *_evidence(document), *_inside(document)]


def positives(document: Document, split: str = "test") -> tuple[int, int] | None:
    """How many scans of a split are of the positive class, and how many there are; None if the facts do not say.

    The reliability bins of a binary model hold the share of positive scans, so their sum is exact.
    """
    calibration, manifest = document.calibration, document.manifest
    if calibration is None or split not in calibration.before or not binary(manifest):
        return None
    bins = calibration.before[split].bins
    return round(sum(b.share * b.count for b in bins)), sum(b.count for b in bins)


def binary(manifest: dict) -> bool:
    return len(manifest["labels"]) == 2 and manifest.get("task", "classes") == "classes"


def _training(manifest: dict) -> list[str]:
    provenance = manifest["provenance"]
    dataset = provenance["dataset"]
    notes = []
    if provenance.get("validated_on_test"):
        notes.append(
            "The weights, the temperature and the thresholds were chosen on the test scans, as the paper does. "
            "The test figures are therefore too good, and nothing here shows how it does on unseen scans."
        )
    if provenance.get("cross_validated"):
        notes.append(
            "The temperature and the threshold were chosen on the out-of-fold answers that its figures are of: what "
            "depends on them, as sensitivity and calibration do, is somewhat too good."
        )
    if dataset.startswith("phantom-"):
        notes.append(f"{dataset} is synthetic: its figures show that the software works, nothing about patients.")
    notes.append(
        f"It was trained and tested on one dataset, {dataset}. How it does on scans of other sites, scanners or "
        "populations is unknown, and so is how it does by age, sex or disease stage."
    )
    if provenance.get("dataset_note"):
        notes.append(provenance["dataset_note"])
    return notes


def _evidence(document: Document) -> list[str]:
    """What the test figures do not support."""
    notes = []
    test = document.operating.get("test")
    area = test.figures.get("auc") if test else None
    if test is None or area is None or math.isnan(area.value):
        notes.append("There is no test AUC.")
    elif area.low <= 0.5:
        notes.append(f"Its test AUC is no better than chance: the 95 % interval {span(area)} is not above 0.5.")
    elif area.high - area.low > WIDE_INTERVAL:
        notes.append(f"The test set leaves the AUC uncertain: its 95 % interval is {span(area)}.")
    for figure, whose in (("sensitivity", -1), ("specificity", 0)):
        found_of_them = test.figures.get(figure) if test else None
        if found_of_them and found_of_them.value < 0.5:
            name = document.manifest["labels"][whose]
            notes.append(f"At its threshold it finds only {percent(found_of_them.value)} of the “{name}” test scans.")
    counted = positives(document)
    if counted and counted[1]:
        found, scans = counted
        common, rare = (0, 1) if 2 * found <= scans else (1, 0)
        names, share = document.manifest["labels"], max(found, scans - found) / scans
        fewest = min(found, scans - found)
        if fewest < FEW_POSITIVES:
            notes.append(
                f"Only {fewest:,} of {scans:,} test scans are “{names[rare]}”: figures on those rest on few scans."
            )
        accuracy = test.figures.get("accuracy") if test else None
        if accuracy and accuracy.low <= share:
            better = "clearly better" if accuracy.value > share else "better"
            notes.append(
                f"Always answering “{names[common]}” would be right on {percent(share)} of the test scans; an accuracy "
                f"of {percent(accuracy.value)} ({percent(accuracy.low)} to {percent(accuracy.high)}) is not {better}."
            )
    return notes


def _inside(document: Document) -> list[str]:
    """What the file itself does and does not do."""
    manifest, calibration = document.manifest, document.calibration
    notes = []
    if calibration is None:
        notes.append("Its probabilities were not calibrated.")
    elif "test" in calibration.after and calibration.after["test"].ece > calibration.before["test"].ece:
        notes.append("Its temperature makes the calibration of the scans it is tested on worse.")
    elif calibration.temperature == 1:
        notes.append(f"Its probabilities are those of the network, temperature 1: {clause(calibration.reason)}.")
    if manifest["input"].get("spacing"):
        notes.append(
            f"It sees {extent(manifest['input'])} around a point, and nothing beyond. A scan that does not say how far "
            "its voxels are apart is taken for one of the model's own spacing."
        )
    else:
        notes.append(
            f"Every scan is resized to {shape(manifest['input']['size'])}; the model does not see what that loses."
        )
    flagged = percent(1 - float(manifest["out_of_distribution"]["quantile"]))
    notes.append(
        f"The out-of-distribution flag catches gross mistakes. It flags about {flagged} of suitable scans and misses "
        "unsuitable ones that look alike."
    )
    if changes := manifest["provenance"].get("changes"):
        changed = ", ".join(f"{name} {value}" for name, value in changes.items())
        notes.append(f"The training differed from its recipe: {changed}.")
    return notes
