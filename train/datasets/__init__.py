"""The datasets by name: MedMNIST, the sets of the other papers, phantoms, and your own scans.

`train.datasets.registry` lists them, `train.datasets.places` says where their files are looked for, and
`train.datasets.table` and `train.datasets.folders` how a table or a folder of scans becomes a dataset.
"""

import functools
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError, unknown
from liquidlens.manifest import TrainedOn
from liquidlens.train.datasets import folders, places, table
from liquidlens.train.datasets.dataset import (
    HELD_OUT,
    POSE,
    SPLITS,
    Dataset,
    DataUnavailableError,
    Origin,
    Scans,
    Task,
    joined,
    md5_of,
    picked,
)
from liquidlens.train.datasets.places import Arrays
from liquidlens.train.datasets.reading import PLAIN, Reading
from liquidlens.train.datasets.registry import PHANTOM, SOURCES, Source

__all__ = [
    "HELD_OUT", "PHANTOM", "POSE", "SPLITS", "DataUnavailableError", "Dataset", "Listing", "Origin", "Reading", "Scans",
    "Task", "collect", "joined", "load", "names", "own", "picked", "sources",
]  # fmt: skip

#: How names of one's own scans begin that are looked for where the other datasets are.
NAMED = ("folder:", "table:")
#: What NumPy, gzip and tarfile raise for a file that is not what its name says.
_DAMAGED = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error)


@dataclass(frozen=True)
class Listing:
    """One line about a registered dataset.  where: a path on this machine, "made on the fly", "download", or "not on
    this machine" for what cannot be downloaded either."""

    name: str
    size: str
    label_names: tuple[str, ...]
    licence: str
    note: str
    where: str


def names() -> list[str]:
    return list(SOURCES)


def sources(data_root: str | Path | None = None) -> list[Listing]:
    """Every registered dataset and where it is, found by looking for its files alone: nothing is read."""
    return [
        Listing(source.name, source.size, source.label_names, source.licence, source.note, _where(source, data_root))
        for source in SOURCES.values()
    ]


def note(name: str) -> str:
    """What to know of a registered dataset before results are compared; empty if that is nothing, or for others."""
    return SOURCES[name].note if name in SOURCES else ""


def trained_on(name: str) -> TrainedOn | None:
    """Which kind of scans a registered dataset holds, held out or not; None if that is not known, and for others."""
    source = SOURCES.get(name.removesuffix(HELD_OUT))
    return source.trained_on if source else None


def own(name: str) -> bool:
    """Whether a name means scans of one's own, a table or a folder, and no registered dataset."""
    name = name.removesuffix(HELD_OUT)
    return name not in SOURCES and (name.startswith(NAMED) or Path(name).is_dir() or table.is_table(Path(name)))


def collect(
    name: str,
    data_root: str | Path | None = None,
    skip_bad: bool = False,
    reading: Reading = PLAIN,
    with_failures: bool = False,
) -> table.Collection:
    """One's own scans, listed and read once: the path of a table or of a folder, or ``table:NAME`` or ``folder:NAME``,
    which are looked for where the other datasets are.

    skip_bad: leave out the scans that cannot be read (the notes say which); otherwise the first of them is an error.
    with_failures: the same, and what is then no dataset any more is no error: to be looked at, not trained on.
    Raises LiquidLensError for what is no dataset, and its subclass DataUnavailableError if there is nothing.
    """
    path = (places.find_own(name, data_root) if name.startswith(NAMED) else Path(name)).resolve()
    if table.is_table(path):
        if with_failures:
            return table.survey_table(path, reading)
        return table.collect_table(path, reading, skip_bad)
    if not path.is_dir():
        raise DataUnavailableError(f"There is no image folder and no table {name}.")
    return folders.survey_folder(path, reading) if with_failures else folders.collect_folder(path, reading, skip_bad)


def check(name: str, data_root: str | Path | None = None) -> None:
    """Raise as `load` does, as far as that shows before anything is read or fetched."""
    name = name.removesuffix(HELD_OUT)
    if name in SOURCES:
        source = SOURCES[name]
        if source.make is None:
            places.look(source.name, source.containers, data_root, source.instead)
    elif name.startswith(NAMED):
        places.find_own(name, data_root)
    elif not own(name):
        if "mnist" in name and not places.INFO:
            raise DataUnavailableError(f"{name} needs the package medmnist: pip install --no-deps medmnist.")
        if not set("/\\.") & set(name):
            raise unknown("dataset", name, names())
        raise DataUnavailableError(f"There is no image folder and no table {name}.")


def load(name: str, data_root: str | Path | None = None, skip_bad: bool = False, reading: Reading = PLAIN) -> Dataset:
    """Load a dataset.

    name: a registered name, or one's own scans (see `collect`), read as `reading` says; each of them with ``+held-out``
        behind it for `Dataset.held_out`.
    skip_bad: leave out the images of one's own that cannot be read (`Dataset.notes` says which); otherwise the first
        of them is an error.

    Raises LiquidLensError for an unknown name, for a file that is not the official one and for folders that are no
    dataset, and its subclass DataUnavailableError if there is none to be had.
    """
    if name.endswith(HELD_OUT):
        return load(name.removesuffix(HELD_OUT), data_root, skip_bad, reading).held_out()
    if name in SOURCES:
        _check_no_reading(name, reading)
        source = SOURCES[name]
        return _make(name) if source.make else _read(source, data_root)
    check(name, data_root)
    return dataset_of(collect(name, data_root, skip_bad, reading), reading)


def dataset_of(collection: table.Collection, reading: Reading) -> Dataset:
    """The dataset of scans that were collected."""
    return collection.dataset(reading, name_of(collection))


def name_of(collection: table.Collection) -> str:
    where = collection.where
    return f"folder:{where.name}" if where.is_dir() else f"table:{where.stem}"


def _check_no_reading(name: str, reading: Reading) -> None:
    said = sorted(reading.model_dump(exclude_defaults=True))
    if said:
        raise LiquidLensError(f"{name} is read as it is, and --{said[0]} is for tables and folders of your own scans.")


@functools.lru_cache(maxsize=4)  # they take seconds to make, and nobody writes to them
def _make(name: str) -> Dataset:
    source = SOURCES[name]
    assert source.make is not None
    arrays = source.make()
    return _dataset(source, _content_md5(arrays), arrays)


def _read(source: Source, data_root: str | Path | None) -> Dataset:
    container, paths = places.obtain(source.name, source.containers, data_root, source.instead)
    try:
        arrays = container.read(*paths)
    except _DAMAGED as error:
        raise LiquidLensError(f"{paths[0]} cannot be read as a file of {source.name} ({error}).") from error
    # A single file that everybody has is known by its own checksum; otherwise the same content has the same one,
    # whichever container it came from.
    md5 = container.files[0].md5 if len(source.containers) == len(container.files) == 1 else None
    md5 = md5 or _content_md5(arrays)
    if source.content_md5 not in (None, md5):
        raise LiquidLensError(f"{paths[0]} does not hold the official {source.name}; remove it and try again.")
    return _dataset(source, md5, arrays)


def _dataset(source: Source, md5: str, arrays: Arrays) -> Dataset:
    return Dataset(
        name=source.name,
        label_names=source.label_names,
        values=source.values,
        md5=md5,
        scans={split: arrays[f"{split}_images"] for split in SPLITS},
        labels={split: _labels(source.task, np.asarray(arrays[f"{split}_labels"])) for split in SPLITS},
        task=source.task,
        channels=source.channels,
        window=source.window,
        normalisation=source.normalisation,
    )


def _labels(task: Task, stored: NDArray) -> NDArray[Any]:
    return stored.ravel().astype(np.int64) if task == "classes" else stored.astype(np.float32)  # MedMNIST: a column


def _content_md5(arrays: Arrays) -> str:
    return md5_of(np.asarray(arrays[f"{split}_{kind}"]).tobytes() for split in SPLITS for kind in ("images", "labels"))


def _where(source: Source, data_root: str | Path | None) -> str:
    if source.make:
        return "made on the fly"
    found = places.find(source.containers, data_root)
    if found:
        paths = found[1]
        return str(paths[0] if len(paths) == 1 else paths[0].parent)
    return "download" if any(container.downloadable for container in source.containers) else "not on this machine"
