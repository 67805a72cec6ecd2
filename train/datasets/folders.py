"""A folder of scans as a dataset: one folder per class, with or without folders for the splits above them.

``xrays/normal/a.png`` and ``xrays/pneumonia/b.png``, or ``xrays/train/normal/a.png`` and ``xrays/test/normal/b.png``:
the folders' names, sorted, are the labels.  Every kind of file that `imaging.read` reads will do, images or volumes,
and a folder inside a class folder that holds DICOM files is a scan, its series.

It is a table that nobody had to write: what is done with its rows, `train.datasets.table` says.
"""

from pathlib import Path

from liquidlens.errors import LiquidLensError, printable
from liquidlens.imaging.formats.kinds import kind_by_content
from liquidlens.imaging.read import kind_of
from liquidlens.train.datasets.reading import Reading
from liquidlens.train.datasets.table.collection import Collection, collect, survey
from liquidlens.train.datasets.table.rows import SPLIT_NAMES, Listed, Row, class_names


def collect_folder(folder: Path, reading: Reading, skip_bad: bool = False) -> Collection:
    """Read an image folder, every file of it once.

    Raises LiquidLensError, naming the folder or the file, for what is no dataset, and, unless `skip_bad`, for a file
    that cannot be read.
    """
    return collect(folder, list_folder(folder, reading), skip_bad)


def survey_folder(folder: Path, reading: Reading) -> Collection:
    """The same, with the sentences about scans that cannot be read and no error about them."""
    return survey(folder, list_folder(folder, reading))


def list_folder(folder: Path, reading: Reading) -> Listed:
    """The scans of all classes, sorted, with sentences about the files of unknown kinds."""
    if reading.columns:
        raise LiquidLensError(f"{folder} is a folder, which has no columns: --column is for tables.")
    top = _folders(folder)
    has_splits = any(path.name.lower() in SPLIT_NAMES for path in top)
    rows: list[Row] = []
    unknown: list[str] = []
    of_part: dict[Path, set[str]] = {}
    for part in _split_folders(folder, top) if has_splits else [folder]:
        classes = _folders(part)
        if not classes:
            raise LiquidLensError(f"{part} has no folders; make one for each class, with its images in it.")
        if len(classes) == 1:
            raise LiquidLensError(f"{part} has one class folder ({classes[0].name}); it takes two classes.")
        for path in classes:
            known, others = _scans(path)
            if not known:
                what = "only files of unknown kinds" if others else "no images"
                raise LiquidLensError(f"The class folder {path} has {what}.")
            split = SPLIT_NAMES[part.name.lower()] if has_splits else None
            for scan in known:
                name = printable(scan.relative_to(folder).as_posix())  # names of files need not be text, and tables are
                rows.append(Row(name, "", scan, (path.name,), split=split))
            unknown += [f"{file}: this kind of file cannot be read." for file in others]
        of_part[part] = {path.name for path in classes}
    every = set().union(*of_part.values())
    for part, classes_there in of_part.items():
        if every - classes_there:
            raise LiquidLensError(f"{part} has no folder for the class {min(every - classes_there)}.")
    names = class_names([row.labels[0] for row in rows], [str(row.source) for row in rows], reading)
    kept = tuple(row for row in rows if row.labels[0] in names)
    if len(kept) < len(rows):
        unknown.append(f"{len(rows) - len(kept)} scans of other classes were left out.")
    return Listed(kept, names, "classes", tuple(unknown))


def _scans(folder: Path) -> tuple[list[Path], list[Path]]:
    """The scans of a class folder, sorted, and the files that are none.  Of the folders in it, one with DICOM files is
    a scan, and others are looked into."""
    known: list[Path] = []
    others: list[Path] = []
    for path in sorted(path for path in folder.iterdir() if not _hidden(path)):
        if path.is_dir():
            if any(_is_dicom(file) for file in path.iterdir() if file.is_file() and not _hidden(file)):
                known.append(path)
                continue
            deeper, strange = _scans(path)
            known += deeper
            others += strange
        elif path.is_file():
            (known if kind_of(path) or _is_dicom(path) else others).append(path)
    return known, others


def _is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file, by its ending or, if that says nothing, by its content."""
    kind = kind_of(path)
    if kind is None:
        with path.open("rb") as file:
            kind = kind_by_content(file)
    return kind == "DICOM"


def _split_folders(folder: Path, top: list[Path]) -> list[Path]:
    """The folders of the splits.  Raises LiquidLensError if they are not train, test and perhaps val."""
    strangers = [path.name for path in top if path.name.lower() not in SPLIT_NAMES]
    if strangers:
        raise LiquidLensError(f"{folder} has folders for splits, and beside them {strangers[0]}.")
    found = [SPLIT_NAMES[path.name.lower()] for path in top]
    for split in ("train", "val", "test"):
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
