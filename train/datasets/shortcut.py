"""The shortcut check: how well the label can be told from what should not tell it.

Scans of two classes often come from two places, and show it in their size, their spacing or the kind of file.  A
network finds that as well, and looks good on every test scan that comes from the same two places.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets.dataset import Dataset
from liquidlens.train.datasets.table.facts import Facts
from liquidlens.train.datasets.table.splits import PARTS, parts_of
from liquidlens.train.evidence import Figure, Shortcut

TREES = 200
#: What is looked at, by the name for people.
SIGNS = ("image size", "spacing", "file type", "bit depth", "colour mode", "bytes", "mean value")


def signs_of(facts: Sequence[Facts]) -> dict[str, NDArray[np.float64]]:
    """(n, columns) numbers of each of `SIGNS`; what is no number becomes one, what is not known is -1."""
    axes = max(len(each.shape) for each in facts)  # a set that mixes images and volumes shows it here
    return {
        "image size": np.array([(*each.shape, *(-1,) * axes)[:axes] for each in facts], float),
        "spacing": np.array([(*(each.spacing or ()), *(-1,) * axes)[:axes] for each in facts], float),
        "file type": _codes([each.storage.kind for each in facts]),
        "bit depth": np.array([[each.storage.bits or -1] for each in facts], float),
        "colour mode": _codes([each.storage.mode for each in facts]),
        "bytes": np.array([[each.storage.bytes] for each in facts], float),
        "mean value": np.array([[each.mean] for each in facts], float),
    }


def shortcut_of(dataset: Dataset) -> Shortcut | None:
    """The check on all scans of a dataset; None if it is not of one's own, or a class has too few patients."""
    splits = [split for split in ("train", "val", "test") if split in dataset.origins]
    # Of a dataset that is trained on as a whole, all splits are the same scans; one scan may have several points.
    own = {
        origin.listed: (origin, label)
        for s in splits
        for origin, label in zip(dataset.origins[s], dataset.labels[s], strict=True)
    }
    if not own:
        return None
    origins = [origin for origin, _ in own.values()]
    labels = np.stack([label for _, label in own.values()])
    patients = np.array([origin.patient for origin in origins])
    return shortcut([origin.facts for origin in origins], labels, patients)


def shortcut(facts: Sequence[Facts], labels: NDArray, patients: NDArray[np.str_]) -> Shortcut | None:
    """labels: (n,) class numbers, or (n, K) of 0 and 1.  None if a class has too few patients."""
    found = told(np.hstack(list(signs_of(facts).values())), labels, patients)
    if found is None:
        return None
    masks = [each.mask for each in facts]
    mask = None
    if all(masks):
        mask = told(np.array([[each.volume, each.diameter] for each in masks if each]), labels, patients)
    return Shortcut(auc=found, mask=mask)


def each_sign(facts: Sequence[Facts], labels: NDArray, patients: NDArray[np.str_]) -> dict[str, Figure]:
    """The AUC of each sign alone, the strongest first; without those that are the same for all scans."""
    found = {
        name: figure
        for name, sign in signs_of(facts).items()
        if (sign != sign[0]).any() and (figure := told(sign, labels, patients)) is not None
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def told(signs: NDArray[np.float64], labels: NDArray, patients: NDArray[np.str_]) -> Figure | None:
    """The AUC of a forest that sees these signs (n, columns) alone: every scan is judged by trees that have not seen
    its patient.  None if a class has too few patients."""
    from sklearn.ensemble import RandomForestClassifier

    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    try:
        parts = parts_of(labels, tuple(map(str, range(classes))), patients, PARTS, "")
    except LiquidLensError:
        return None
    answers = np.zeros((len(labels), classes))
    for part in range(PARTS):
        rest = parts != part
        forest = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=0).fit(signs[rest], labels[rest])
        found = forest.predict_proba(signs[~rest])
        # Of several labels at once, a table for each; a label that the rest all have, or all lack, has one column.
        answers[~rest] = np.stack([p[:, -1] for p in found], 1) if labels.ndim == 2 else found
    return Figure(metrics.auc(labels, answers), *metrics.bootstrap(metrics.auc, labels, answers, patients=patients))


def _codes(words: Sequence[str]) -> NDArray[np.float64]:
    return np.unique(words, return_inverse=True)[1].reshape(-1, 1).astype(float)
