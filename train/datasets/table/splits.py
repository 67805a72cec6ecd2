"""Which scans are for training, validation and test: by patient, and with the classes in about the same shares."""

import warnings

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets.dataset import SPLITS
from liquidlens.train.datasets.reading import Reading
from liquidlens.words import counted

#: Of five parts of the patients, one is for testing and one for validation.
PARTS = 5
Members = dict[str, NDArray[np.int64]]


def members_of(
    labels: NDArray,
    label_names: tuple[str, ...],
    patients: NDArray[np.str_],
    given: list[str | None],
    reading: Reading,
    where: str,
) -> Members:
    """The scans of each split, in their order; the same table always gives the same ones.

    labels: (n,) class numbers, or (n, K) of 0 and 1.  patients, given: of each scan, the latter the split that was
    given, if any.  where: what an error calls the data.
    Without folds: the given splits; a missing validation split is a fifth of the training patients; without any, a
    fifth of all patients is for testing and a fifth for validation.  With folds: the fold that is asked for is for
    testing, a fifth of the other patients for validation; without a fold, every split has all scans.
    Raises LiquidLensError if a class has too few patients, or a split lacks a class.
    """
    everything = np.arange(len(labels))
    if reading.folds is not None:
        if reading.fold is None:
            return dict.fromkeys(SPLITS, everything)
        parts = parts_of(labels, label_names, patients, reading.folds, where)
        rest = np.flatnonzero(parts != reading.fold)
        fewest = min(patients_of_each(labels[rest], len(label_names), patients[rest]))
        inner_parts = max(2, min(PARTS, fewest))  # few patients: more of them validate, so that every class does
        inner = parts_of(labels[rest], label_names, patients[rest], inner_parts, f"{where} without a fold")
        return {
            "train": rest[inner != 0],
            "val": rest[inner == 0],
            "test": np.flatnonzero(parts == reading.fold),
        }
    if set(given) == {None}:
        parts = parts_of(labels, label_names, patients, PARTS, where)
        splits = np.where(parts == 0, "test", np.where(parts == 1, "val", "train"))
    else:
        splits = np.array(given)
        for split in ("train", "test"):
            if split not in given:
                raise LiquidLensError(f"{where} has no scan in the split {split}.")
        if "val" not in given:
            training = splits == "train"
            parts = parts_of(labels[training], label_names, patients[training], PARTS, f"{where} (split train)")
            splits[training] = np.where(parts == 0, "val", "train")
    members = {split: np.flatnonzero(splits == split) for split in SPLITS}
    for split in SPLITS:
        absent = [name for i, name in enumerate(label_names) if labels.ndim == 1 and i not in labels[members[split]]]
        if absent:
            raise LiquidLensError(f"{where}: the split {split} has no image of the class {absent[0]}.")
    return members


def patients_of_each(labels: NDArray, classes: int, patients: NDArray[np.str_]) -> list[int]:
    """How many patients have scans of each class, or label."""
    of_each = [labels == k if labels.ndim == 1 else labels[:, k] > 0 for k in range(classes)]
    return [len(set(patients[of_it])) for of_it in of_each]


def parts_of(
    labels: NDArray, label_names: tuple[str, ...], patients: NDArray[np.str_], parts: int, where: str
) -> NDArray[np.int64]:
    """The part of each scan, from 0: parts share no patient, and have the classes in about the same shares (of several
    labels at once: their combinations).  Raises LiquidLensError if a class has fewer patients than there are parts."""
    from sklearn.model_selection import StratifiedGroupKFold

    for name, count in zip(label_names, patients_of_each(labels, len(label_names), patients), strict=True):
        if count < parts:
            raise LiquidLensError(
                f"The class {name} in {where} has images of {counted(count, 'patient')}; "
                f"to split it by patient takes {parts}."
            )
    strata = labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    if np.bincount(strata).max() < parts:  # of many labels at once, every combination may be rare
        strata = np.zeros(len(labels), np.int64)
    found = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a rare combination of labels
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=0).split(labels, strata, patients)
        for part, (_, members) in enumerate(folds):
            found[members] = part
    return found
