"""A folder of images as a dataset: one folder per class, with or without folders for the splits above them.

``xrays/normal/a.png`` and ``xrays/pneumonia/b.png``, or ``xrays/train/normal/a.png`` and ``xrays/test/normal/b.png``:
the folders' names, sorted, are the labels.  Every kind of file that `imaging.read` reads will do, images or volumes.

Where the folder has no splits, its files are split by patient, a fifth for testing, a fifth for validation; where it
has no validation folder, a fifth of the training patients is taken.  The same files always give the same splits.
The file name tells patients apart (`PATIENT`); a file whose name has no patient is a patient of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liquidlens import imaging
from liquidlens.errors import LiquidLensError
from liquidlens.imaging.read import kind_of
from liquidlens.train.datasets.dataset import SPLITS, Dataset, Decoded, md5_of, md5_of_file
from liquidlens.words import counted

#: How file names give the patient: person123_bacteria_4, IM-0115-0001, NORMAL2-IM-1427-0001, LIDC-IDRI-0001_R_1,
#: patient_12_slice_3, sub-01_T1w.
PATIENT = re.compile(
    r"(?<![a-z0-9])(person\d+|(?:normal2-)?im-\d+(?=-)|lidc-idri-\d+|patient[-_]?\d+|sub-[a-z0-9]+)", re.IGNORECASE
)
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
#: Of five parts of the patients, one is for testing and one for validation.
PARTS = 5


@dataclass(frozen=True)
class _File:
    path: Path
    label: str
    split: str | None


def load(folder: Path, skip_bad: bool = False) -> Dataset:
    """Read an image folder, every file of it once, and split it.

    The scans are decoded again when they are asked for: float32 grey values, (rows, columns) or (slices, rows,
    columns), which may differ in size; colour has become grey.

    Raises LiquidLensError, naming the folder or the file, for what is no dataset, and, unless `skip_bad`, for a file
    that cannot be read.
    """
    folder = folder.resolve()
    files, skipped = _listing(folder)
    files, bad, ranges = _readable(files, skip_bad)
    label_names = tuple(sorted({file.label for file in files}))
    if len(label_names) < 2:
        raise LiquidLensError(f"{folder} has one class with readable images ({label_names[0]}); it takes two.")
    labels = np.array([label_names.index(file.label) for file in files], np.int64)
    splits = _splits(folder, files, labels, label_names)
    members = {split: np.flatnonzero(splits == split) for split in SPLITS}
    for split in SPLITS:
        absent = sorted(set(label_names) - {files[i].label for i in members[split]})
        if absent:
            raise LiquidLensError(f"{folder}: the split {split} has no image of the class {absent[0]}.")
    return Dataset(
        name=f"folder:{folder.name}",
        label_names=label_names,
        values="grey",
        md5=md5_of(
            f"{file.path.relative_to(folder).as_posix()}\0{md5_of_file(file.path)}\n".encode() for file in files
        ),
        scans={split: Decoded([files[i].path for i in members[split]], read_grey) for split in SPLITS},
        labels={split: labels[members[split]] for split in SPLITS},
        notes=(*skipped, *bad, *_shared_patients(files, splits), *ranges),
    )


def _shared_patients(files: Sequence[_File], splits: NDArray[np.str_]) -> list[str]:
    """A sentence about patients that are in two of the folder's own splits, if there are any."""
    patients = {
        split: {patient_of(file.path) for file, own in zip(files, splits, strict=True) if own == split}
        for split in SPLITS
    }
    shared = sorted((patients["train"] | patients["val"]) & patients["test"])
    if not shared:
        return []
    names = ", ".join([*shared[:3], "..."] if len(shared) > 3 else shared)
    count = counted(len(shared), "patient")
    return [f"By file names, the test split shares {count} with another one ({names}): its figures will be too good."]


def patient_of(path: Path) -> str:
    """The patient in a file name, in lower case, or the path itself."""
    found = PATIENT.search(path.name)
    return found.group().lower() if found else str(path)


def read_grey(path: Path) -> NDArray[np.float32]:
    """The pixels of one scan, grey values 0..255 or 0..65535.  Raises LiquidLensError for others, naming the file."""
    pixels = imaging.read(path).pixels
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 65535:
        raise LiquidLensError(
            f"{path} holds values from {low:g} to {high:g}; the images of a folder are grey values from 0 to 255 or "
            "65535: map Hounsfield units and other measurements to them first."
        )
    if 0 < high <= 1 and (pixels % 1).any():
        raise LiquidLensError(f"{path} holds fractions from 0 to 1; the images of a folder are grey values: times 255.")
    return pixels


def _listing(folder: Path) -> tuple[list[_File], list[str]]:
    """The files of all classes, sorted, and sentences about the files of unknown kinds."""
    top = _folders(folder)
    has_splits = any(path.name.lower() in SPLIT_NAMES for path in top)
    files: list[_File] = []
    unknown: list[str] = []
    for part in _split_folders(folder, top) if has_splits else [folder]:
        classes = _folders(part)
        if not classes:
            raise LiquidLensError(f"{part} has no folders; make one for each class, with its images in it.")
        if len(classes) == 1:
            raise LiquidLensError(f"{part} has one class folder ({classes[0].name}); it takes two classes.")
        for path in classes:
            content = sorted(file for file in path.iterdir() if file.is_file() and not _hidden(file))
            known = [file for file in content if kind_of(file)]
            if not known:
                what = "only files of unknown kinds" if content else "no images"
                raise LiquidLensError(f"The class folder {path} has {what}.")
            split = SPLIT_NAMES[part.name.lower()] if has_splits else None
            files += [_File(file, path.name, split) for file in known]
            unknown += [f"{file}: this kind of file cannot be read." for file in content if file not in known]
    every = {file.label for file in files}
    for part in sorted({file.path.parents[1] for file in files}):
        absent = every - {file.label for file in files if file.path.parents[1] == part}
        if absent:
            raise LiquidLensError(f"{part} has no folder for the class {min(absent)}.")
    return files, unknown


def _split_folders(folder: Path, top: list[Path]) -> list[Path]:
    """The folders of the splits.  Raises LiquidLensError if they are not train, test and perhaps val."""
    others = [path.name for path in top if path.name.lower() not in SPLIT_NAMES]
    if others:
        raise LiquidLensError(f"{folder} has folders for splits, and beside them {others[0]}.")
    found = [SPLIT_NAMES[path.name.lower()] for path in top]
    for split in SPLITS:
        if found.count(split) > 1:
            raise LiquidLensError(f"{folder} has two folders for the split {split}.")
    for split in ("train", "test"):
        if split not in found:
            raise LiquidLensError(f"{folder} has folders for splits, but none named {split}.")
    return top


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path))


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def _readable(files: list[_File], skip_bad: bool) -> tuple[list[_File], list[str], list[str]]:
    """The files that can be read, sentences about the others, and sentences about the range of their values.  Raises
    LiquidLensError if images and volumes are mixed, if a class has none left, or, unless `skip_bad`, for the first file
    that cannot be read."""
    good: list[_File] = []
    bad: list[str] = []
    example: dict[int, Path] = {}
    largest: list[float] = []
    for file in files:
        try:
            pixels = read_grey(file.path)
        except LiquidLensError as error:
            if not skip_bad:
                raise LiquidLensError(f"{error} Mend or remove it, or leave out such files with --skip-bad.") from error
            bad.append(str(error))
            continue
        example.setdefault(pixels.ndim, file.path)
        largest.append(float(pixels.max()))
        good.append(file)
    if len(example) == 2:
        raise LiquidLensError(f"{example[2]} is an image and {example[3]} a volume; a dataset is one or the other.")
    lost = sorted({file.path.parent for file in files} - {file.path.parent for file in good})
    if lost:
        raise LiquidLensError(f"No file in the class folder {lost[0]} can be read: {bad[0]}")
    return good, bad, _about_ranges(largest)


def _about_ranges(largest: list[float]) -> list[str]:
    """Sentences about 16-bit files, which the input contract divides by 65535."""
    deep = [value for value in largest if value > 255]
    notes = []
    if deep and len(deep) < len(largest):
        notes.append(
            f"{len(deep)} files have 16-bit values and {len(largest) - len(deep)} have 8-bit ones: brightness, and "
            "perhaps the class, shows in which."
        )
    if deep and max(deep) < 6554:
        notes.append(
            f"The 16-bit values end at {max(deep):g}, a tenth of the range or less, so the network sees them as almost "
            "black: scale them to 0..65535."
        )
    return notes


def _splits(
    folder: Path, files: Sequence[_File], labels: NDArray[np.int64], label_names: tuple[str, ...]
) -> NDArray[np.str_]:
    """The split of each file."""
    given = {file.split for file in files}
    if given >= set(SPLITS):
        return np.array([file.split for file in files])
    patients = np.array([patient_of(file.path) for file in files])
    if given == {None}:
        parts = _parts(folder, patients, labels, label_names)
        return np.where(parts == 0, "test", np.where(parts == 1, "val", "train"))
    splits = np.array([file.split for file in files])
    training = splits == "train"
    parts = _parts(folder / "train", patients[training], labels[training], label_names)
    splits[training] = np.where(parts == 0, "val", "train")
    return splits


def _parts(
    folder: Path, patients: NDArray[np.str_], labels: NDArray[np.int64], label_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """The part 0..4 of each file: parts share no patient, and have the classes in about the same shares."""
    from sklearn.model_selection import StratifiedGroupKFold

    for label, name in enumerate(label_names):
        count = len(set(patients[labels == label]))
        if count < PARTS:
            raise LiquidLensError(
                f"The class {name} in {folder} has images of {counted(count, 'patient')}; "
                f"to split it by patient takes {PARTS}."
            )
    parts = np.zeros(len(labels), np.int64)
    folds = StratifiedGroupKFold(PARTS, shuffle=True, random_state=0).split(labels, labels, patients)
    for part, (_, members) in enumerate(folds):
        parts[members] = part
    return parts
