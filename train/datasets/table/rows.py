"""From the cells of a table to rows: which scan, which label, whose, in which split, and where in it to look."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from liquidlens.errors import LiquidLensError, unknown
from liquidlens.imaging.points import POINT, POINT_MM, point_of
from liquidlens.imaging.read import split
from liquidlens.train.datasets.dataset import Task
from liquidlens.train.datasets.reading import Reading
from liquidlens.train.datasets.table.sheet import Sheet

#: The columns that mean something, by the names that they have unless `Reading.columns` gives others.
COLUMNS = ("path", "label", "patient", "split", "mask", *POINT, *POINT_MM)
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Row:
    """One scan of one's own, before it is read.

    name: as it is written, relative to the table or the folder; where: what an error calls it.  source: what
    `imaging.read` reads.  labels: its class alone, or of several labels at once those that it has.
    patient, split, mask: None where nothing is said.  point: the voxel to look at (slice, row, column); point_mm: the
    same in the patient's coordinates (x, y, z).
    """

    name: str
    where: str
    source: Path
    labels: tuple[str, ...]
    patient: str | None = None
    split: str | None = None
    mask: Path | None = None
    point: tuple[float, ...] | None = None
    point_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Listed:
    """The rows of a table with their classes, and sentences about the rows that were left out."""

    rows: tuple[Row, ...]
    label_names: tuple[str, ...]
    task: Task
    notes: tuple[str, ...]


def list_rows(sheet: Sheet, reading: Reading) -> Listed:
    """What a table lists.  Raises LiquidLensError, naming column or row, for what makes no sense."""
    at = _columns(sheet, reading)
    findings = () if "label" in at else _findings(sheet, at, reading)
    rows, notes, unlabelled = [], [], 0
    for number, cells in sheet.rows:
        where = f"{sheet.path.name}, row {number}"
        said = {meaning: cells[column] for meaning, column in at.items()}
        if not said["path"]:
            raise LiquidLensError(f"{where}: the path is missing.")
        if findings:
            labels = _found(where, {name: cells[column] for name, column in findings})
        else:
            labels = (said["label"],) if said["label"] else None
        if labels is None:
            unlabelled += 1
            continue
        rows.append(
            Row(
                name=said["path"],
                where=where,
                source=_existing(sheet.path.parent, said["path"], where, "path"),
                labels=labels,
                patient=said.get("patient") or None,
                split=_split(said.get("split", ""), where),
                mask=_existing(sheet.path.parent, said["mask"], where, "mask") if said.get("mask") else None,
                point=point_of([said.get(name, "") for name in POINT], POINT, where),
                point_mm=point_of([said.get(name, "") for name in POINT_MM], POINT_MM, where),
            )
        )
    if unlabelled:
        notes.append(f"{unlabelled} rows have no label and were left out.")
    if findings:
        names = tuple(name for name, _ in findings)
        _check_positive(names, reading, multi_label=True)
        return Listed(_checked(rows), names, "multi-label", tuple(notes))
    names = class_names([row.labels[0] for row in rows], [row.where for row in rows], reading)
    kept = [row for row in rows if row.labels[0] in names]
    if len(kept) < len(rows):
        others = sorted({row.labels[0] for row in rows} - set(names))
        notes.append(f"{len(rows) - len(kept)} rows of other labels ({', '.join(others)}) were left out.")
    return Listed(_checked(kept), names, "classes", tuple(notes))


def class_names(labels: Sequence[str], where: Sequence[str], reading: Reading) -> tuple[str, ...]:
    """The classes in their order: those of `Reading.labels`, or else all, sorted; the positive one of two last.

    labels, where: of each scan.  Raises LiquidLensError where two labels differ in case alone, where a wanted one does
    not occur, and for fewer than two.
    """
    found = set(labels)
    wanted = dict.fromkeys(reading.labels or sorted(found))
    for name in wanted:
        if name not in found:
            alike = next((label for label in found if label.lower() == name.lower()), None)
            if alike:
                raise LiquidLensError(f"--labels names {name!r}, and the table has {alike!r}: write them alike.")
            raise unknown("label", name, sorted(found))
    first: dict[str, int] = {}
    for i, label in enumerate(labels):
        before = first.setdefault(label.lower(), i)
        if labels[before] != label and {label, labels[before]} & wanted.keys():
            raise LiquidLensError(
                f"{where[i]}: the label {label!r} and {labels[before]!r} of {where[before]} differ in case alone; "
                "write them alike."
            )
    names = tuple(wanted)
    if len(names) < 2:
        raise LiquidLensError(f"There is one class ({', '.join(names) or 'none'}); it takes two.")
    _check_positive(names, reading)
    if reading.positive:
        names = (*(name for name in names if name != reading.positive), reading.positive)
    return names


def _check_positive(names: tuple[str, ...], reading: Reading, multi_label: bool = False) -> None:
    if not reading.positive:
        return
    if multi_label or len(names) != 2:
        raise LiquidLensError(f"--positive names one of two classes, and there are {', '.join(names)}.")
    if reading.positive not in names:
        raise unknown("label", reading.positive, names)


def _columns(sheet: Sheet, reading: Reading) -> dict[str, int]:
    """Where each meaning stands.  Names may be written in any case."""
    here = {name.lower(): column for column, name in reversed(list(enumerate(sheet.header)))}
    at = {}
    for meaning, name in reading.columns.items():
        if meaning not in COLUMNS:
            raise unknown("meaning of a column", meaning, COLUMNS)
        if name.lower() not in here:
            raise unknown(f"column of {sheet.path.name}", name, filter(None, sheet.header))
        at[meaning] = here[name.lower()]
    for meaning in COLUMNS:
        if meaning in here and here[meaning] not in at.values():
            at.setdefault(meaning, here[meaning])
    if "path" not in at:
        raise LiquidLensError(
            f"{sheet.path.name} has no column 'path' ({', '.join(filter(None, sheet.header))}); name the one with the "
            "files: --column path=NAME."
        )
    return at


def _findings(sheet: Sheet, at: dict[str, int], reading: Reading) -> tuple[tuple[str, int], ...]:
    """The columns of 0 and 1 of a table without a column of labels, by name and place."""
    free = {name: i for i, name in enumerate(sheet.header) if name and i not in at.values()}
    for name in reading.labels:
        if name not in free:
            raise unknown(f"column of {sheet.path.name}", name, free)
    if reading.labels:
        return tuple((name, free[name]) for name in reading.labels)
    said = {name: {cells[i] for _, cells in sheet.rows} - {""} for name, i in free.items()}
    found = tuple((name, i) for name, i in free.items() if said[name] and said[name] <= {"0", "1"})
    if len(found) < 2:
        raise LiquidLensError(
            f"{sheet.path.name} has no column 'label' ({', '.join(filter(None, sheet.header))}), nor two of 0 and 1; "
            "name the one with the labels: --column label=NAME."
        )
    return found


def _found(where: str, cells: dict[str, str]) -> tuple[str, ...] | None:
    """Which labels a row has, of columns of 0 and 1; None if it says nothing."""
    if not any(cells.values()):
        return None
    for name, text in cells.items():
        if text not in ("0", "1"):
            raise LiquidLensError(f"{where}: {name} is {text!r}, and a label that is one of several is 0 or 1.")
    return tuple(name for name, text in cells.items() if text == "1")


def _existing(folder: Path, written: str, where: str, column: str) -> Path:
    """A scan that a table names, relative to its folder; Windows's slashes are taken, too."""
    for spelling in (written, PureWindowsPath(written).as_posix()):
        source = folder / spelling
        if split(str(source))[0].exists():
            return source
    raise LiquidLensError(f"{where}: there is no file {folder / written} ({column}).")


def _split(text: str, where: str) -> str | None:
    if not text:
        return None
    if text.lower() not in SPLIT_NAMES:
        raise LiquidLensError(f"{where}: the split {text!r} is none of train, val and test.")
    return SPLIT_NAMES[text.lower()]


def _checked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows.  Raises LiquidLensError if a scan is listed twice and not with different points or masks, if some rows
    have a split and others none, and if a patient is in two splits."""
    if not rows:
        raise LiquidLensError("No row of the table has a label that was asked for.")
    listed: dict[tuple, Row] = {}
    for row in rows:
        before = listed.setdefault((row.source, row.point, row.point_mm, row.mask), row)
        if before is not row:
            raise LiquidLensError(f"{row.where}: {row.name} was listed before, in {before.where}; list each scan once.")
    without = next((row for row in rows if row.split is None), None)
    if without is not None and any(row.split for row in rows):
        raise LiquidLensError(f"{without.where}: the split is missing; give every row one, or leave the column out.")
    split_of: dict[str, Row] = {}
    for row in rows:
        if row.patient is not None and row.split is not None:
            before = split_of.setdefault(row.patient, row)
            if before.split != row.split:
                raise LiquidLensError(
                    f"{row.where}: the patient {row.patient} is in the split {row.split} here, and in {before.split} "
                    f"in {before.where}: figures would flatter; give each patient one split, or leave the column out."
                )
    return tuple(rows)
