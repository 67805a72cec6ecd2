"""Where the files of a dataset are found, and how they are fetched.

They are looked for in ``--data-root``, ``$LIQUIDLENS_DATA`` and MedMNIST's default folder, each also in the subfolders
``medmnist``, ``vision``, ``cxr`` and ``lidc``, and are downloaded from their official address into the default folder
otherwise.
"""

import os
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets.dataset import DataUnavailableError, Scans, md5_of_file


def _medmnist() -> tuple[str | None, dict]:
    """Default folder and facts of medmnist, without its package, which imports torch, pandas and scikit-learn.

    None and nothing if it is not installed: it asks for torchvision, so the extra `train` leaves it out.
    """
    package = find_spec("medmnist")
    if package is None or package.origin is None:
        return None, {}
    info = runpy.run_path(str(Path(package.origin).with_name("info.py")))
    return info["DEFAULT_ROOT"], info["INFO"]


DEFAULT_ROOT, INFO = _medmnist()

SUBFOLDERS = ("medmnist", "vision", "cxr", "lidc")

#: A whole dataset under MedMNIST's keys: ``train_images``, ``train_labels``, ``val_images``, ...
Arrays = Mapping[str, Scans]


@dataclass(frozen=True)
class File:
    """One file of a dataset.  name: with `/` where it has a folder of its own; url: None if there is no download;
    md5: None if only the content is checked (`train.datasets.registry.Source.content_md5`)."""

    name: str
    md5: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Container:
    """One form in which a dataset's content is kept: its files, and what reads them (one path per file)."""

    files: tuple[File, ...]
    read: Callable[..., Arrays]

    @property
    def downloadable(self) -> bool:
        return all(file.url for file in self.files)


def find(containers: Sequence[Container], data_root: str | Path | None) -> tuple[Container, list[Path]] | None:
    """The first container whose files lie together in one of the folders, and their paths."""
    for folder in _folders(data_root):
        for container in containers:
            paths = [folder / file.name for file in container.files]
            if all(path.is_file() for path in paths):
                return container, paths
    return None


def obtain(
    name: str, containers: Sequence[Container], data_root: str | Path | None, instead: str
) -> tuple[Container, list[Path]]:
    """The container of the dataset `name` that is on this machine, or else its official one after the download.

    instead: what a person can use where there is none.
    Raises DataUnavailableError, which names the folders that were searched, and LiquidLensError for a damaged file.
    """
    found = look(name, containers, data_root, instead)
    if found is None:
        found = _download(_absent(name, containers, data_root), containers, instead)
    for file, path in zip(found[0].files, found[1], strict=True):
        if file.md5 and md5_of_file(path) != file.md5:
            raise LiquidLensError(
                f"{path} is not the official {name} file (MD5 {file.md5}): it may be truncated; "
                "remove it and try again."
            )
    return found


def look(
    name: str, containers: Sequence[Container], data_root: str | Path | None, instead: str
) -> tuple[Container, list[Path]] | None:
    """As `find`; None if it is to be downloaded.  Raises DataUnavailableError if it cannot be."""
    found = find(containers, data_root)
    if found is None and not any(container.downloadable for container in containers):
        absent = _absent(name, containers, data_root)
        raise DataUnavailableError(f"{absent} and cannot be downloaded: {instead}.")
    return found


def _absent(name: str, containers: Sequence[Container], data_root: str | Path | None) -> str:
    missing = " or ".join(container.files[0].name for container in containers)
    return f"{name} is not on this machine ({missing} was looked for in {_looked(data_root)})"


def find_own(name: str, data_root: str | Path | None) -> Path:
    """The image folder of ``folder:NAME`` or the table of ``table:NAME``, by its path or by its name in one of the
    folders.  Raises DataUnavailableError."""
    kind, _, own = name.partition(":")
    path = Path(own).expanduser()
    candidates = [path] if path.is_absolute() else [folder / path for folder in _folders(data_root)]
    for candidate in candidates:
        if own and (candidate.is_file() if kind == "table" else candidate.is_dir()):
            return candidate
    where = "" if path.is_absolute() else f" in {_looked(data_root)}"
    what = "table" if kind == "table" else "image folder"
    raise DataUnavailableError(f"There is no {what} {own!r}{where}: point --data-root to the folder that has it.")


def _roots(data_root: str | Path | None) -> Iterator[Path]:
    for origin, root in (("--data-root", data_root), ("LIQUIDLENS_DATA", os.environ.get("LIQUIDLENS_DATA"))):
        if root:
            if not Path(root).is_dir():
                raise LiquidLensError(f"{origin} names {root}, which is not a folder.")
            yield Path(root)
    if DEFAULT_ROOT is not None:  # there is no medmnist, or it could not make ~/.medmnist
        yield Path(DEFAULT_ROOT)


def _folders(data_root: str | Path | None) -> Iterator[Path]:
    for root in _roots(data_root):
        yield root
        yield from (root / folder for folder in SUBFOLDERS)


def _looked(data_root: str | Path | None) -> str:
    roots = ", ".join(map(str, _roots(data_root))) or "no folder at all"
    return f"{roots}, each also in its subfolders {', '.join(SUBFOLDERS)}"


def _download(absent: str, containers: Sequence[Container], instead: str) -> tuple[Container, list[Path]]:
    """Fetch the official files into MedMNIST's default folder (pooch's, if there is none); medmnist's own download
    needs torchvision."""
    import pooch

    container = next(container for container in containers if container.downloadable)

    folder = Path(DEFAULT_ROOT or pooch.os_cache("liquidlens"))
    paths = []
    for file in container.files:
        path = folder / file.name
        try:
            pooch.retrieve(file.url, known_hash=f"md5:{file.md5}", fname=path.name, path=path.parent)
        except (OSError, ValueError) as error:
            raise DataUnavailableError(
                f"{absent} and could not be downloaded from {file.url} ({type(error).__name__}): point --data-root or "
                f"LIQUIDLENS_DATA to the folder that has it, or {instead}."
            ) from error
        paths.append(path)
    return container, paths
