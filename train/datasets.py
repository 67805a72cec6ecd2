"""The datasets by name: MedMNIST's official 3D files, and phantoms.

A dataset is looked for in ``--data-root``, ``$LIQUIDLENS_DATA``, MedMNIST's default folder (each also in its subfolder
``medmnist``), and is downloaded from its official address otherwise.  Its MD5 must be the official one in every case.
"""

import functools
import hashlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from medmnist.info import DEFAULT_ROOT, INFO
from numpy.typing import NDArray

from imaging import LiquidLensError, phantoms
from imaging.errors import unknown
from models.front import Values

#: MedMNIST name -> what its grey values mean (the input contract's `values`).
MEDMNIST: dict[str, Values] = {"adrenalmnist3d": "mask", "nodulemnist3d": "grey", "vesselmnist3d": "mask"}
PHANTOM = "phantom-vessel3d"
SPLITS = ("train", "val", "test")


class DataUnavailableError(LiquidLensError):
    """A dataset is neither on this machine nor to be had from its official address."""


@dataclass(frozen=True)
class Dataset:
    """Scans with labels, in three splits.

    scans: split -> (n, slices, rows, columns) uint8, raw; labels: split -> (n,) int64, an index into `label_names`.
    md5: of the official file, or of a phantom's pixels and labels.
    """

    name: str
    label_names: tuple[str, ...]
    values: Values
    md5: str
    scans: dict[str, NDArray[np.uint8]]
    labels: dict[str, NDArray[np.int64]]

    @property
    def synthetic(self) -> bool:
        return self.name == PHANTOM


def names() -> list[str]:
    return [*MEDMNIST, PHANTOM]


def load(name: str, data_root: str | Path | None = None, size: int = 28) -> Dataset:
    """Load a dataset; `size` is the official file's voxels per axis, 28 or 64.

    Raises LiquidLensError for an unknown name or a file that is not the official one, and its subclass
    DataUnavailableError if there is none to be had.
    """
    if name == PHANTOM:
        return _phantom()
    if name not in MEDMNIST:
        raise unknown("dataset", name, names())
    facts = INFO[name]
    suffix = "" if size == 28 else f"_{size}"
    md5 = facts[f"MD5{suffix}"]
    path = _find(f"{name}{suffix}.npz", data_root) or _download(f"{name}{suffix}.npz", facts[f"url{suffix}"], md5)
    if _md5(path.read_bytes()) != md5:
        raise LiquidLensError(
            f"{path} is not the official {name} file (MD5 {md5}): it may be truncated; remove it and try again."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise LiquidLensError(f"{path} cannot be read as a MedMNIST file ({error}).") from error
    label_names = tuple(facts["label"][str(i)] for i in range(len(facts["label"])))
    return _dataset(name, label_names, MEDMNIST[name], md5, arrays)


@functools.cache  # they take seconds to make, and nobody writes to them
def _phantom() -> Dataset:
    arrays = phantoms.vessel3d()
    return _dataset(PHANTOM, phantoms.LABELS, "mask", _md5(b"".join(a.tobytes() for a in arrays.values())), arrays)


def _dataset(name: str, label_names, values: Values, md5: str, arrays: dict[str, NDArray]) -> Dataset:
    return Dataset(
        name=name,
        label_names=tuple(label_names),
        values=values,
        md5=md5,
        scans={split: arrays[f"{split}_images"] for split in SPLITS},
        labels={split: arrays[f"{split}_labels"][:, 0].astype(np.int64) for split in SPLITS},
    )


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # MedMNIST's checksum, not a protection


def _roots(data_root: str | Path | None) -> Iterator[Path]:
    for origin, root in (("--data-root", data_root), ("LIQUIDLENS_DATA", os.environ.get("LIQUIDLENS_DATA"))):
        if root:
            if not Path(root).is_dir():
                raise LiquidLensError(f"{origin} names {root}, which is not a folder.")
            yield Path(root)
    if DEFAULT_ROOT is not None:  # medmnist could not make ~/.medmnist
        yield Path(DEFAULT_ROOT)


def _find(file_name: str, data_root: str | Path | None) -> Path | None:
    candidates = (root / folder / file_name for root in _roots(data_root) for folder in (".", "medmnist"))
    return next((path for path in candidates if path.is_file()), None)


def _download(file_name: str, url: str, md5: str) -> Path:
    """Fetch an official file into MedMNIST's default folder (pooch's own, if there is none); medmnist's own download
    needs torchvision."""
    import pooch

    try:
        return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=file_name, path=DEFAULT_ROOT))
    except (OSError, ValueError) as error:
        raise DataUnavailableError(
            f"{file_name} is not on this machine and could not be downloaded from {url}: point --data-root or "
            f"LIQUIDLENS_DATA to the folder that has it, or use the dataset {PHANTOM}. ({type(error).__name__})"
        ) from error
