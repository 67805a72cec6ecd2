"""The spool: images that wait to be judged, and reports that wait to be sent, in folders for the node's user alone.

    incoming/            an image while it arrives
    series/KEY/images/   its images, each under the SHA-256 of its SOP Instance UID
    series/KEY/results/  what is to be sent

What stands there under its own name is whole and on the disk: files are linked or renamed to it once they are synced.
"""

import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from liquidlens.errors import LiquidLensError

#: Letters of a SHA-256 that a name has.
_LETTERS = 32


class Spool:
    """folder: of the node.  reserve: bytes of the disk to leave free."""

    def __init__(self, folder: Path, reserve: int):
        self.folder, self._reserve = folder, reserve
        self.incoming, self._series = folder / "incoming", folder / "series"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            for inner in (self.incoming, self._series):
                inner.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LiquidLensError(f"{folder}: the node's folder cannot be used ({error.strerror}).") from error

    def forget_incoming(self, older: float = 0) -> None:
        """Remove what was arriving when its sender was cut off or the node was killed: nobody was told that it had
        arrived.  older: only what was not written to for so many seconds."""
        for file in self.incoming.iterdir():
            with suppress(FileNotFoundError):  # by now it was filed
                if time.time() - file.stat().st_mtime >= older:
                    file.unlink()

    def has_room(self, size: int) -> bool:
        """Whether so many bytes leave the reserve untouched."""
        return shutil.disk_usage(self.folder).free - size >= self._reserve

    def add(self, file: Path, key: str, uid: str) -> None:
        """Take a file of `incoming` for the image with this SOP Instance UID; of two with one UID the first one counts.
        When this returns, it is on the disk.  Raises OSError."""
        sync(file)
        images = self.images_of(key)
        if not images.is_dir():
            images.mkdir(mode=0o700, parents=True)
            sync(self._series)
            sync(images.parent)
        target = images / named(uid)
        if not target.exists():
            os.link(file, target)
        sync(images)

    def images_of(self, key: str) -> Path:
        return self._series / key / "images"

    def results_of(self, key: str) -> Path:
        return self._series / key / "results"

    def images(self, key: str) -> list[str]:
        """The names of the images of a series that are here, sorted."""
        folder = self.images_of(key)
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def put_results(self, key: str, files: dict[str, bytes]) -> None:
        """Put files in the place of all earlier results of a series."""
        folder = self.results_of(key)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        for name, content in files.items():
            with (folder / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync(folder)
        sync(folder.parent)

    def results(self, key: str) -> list[Path]:
        """The files that are to be sent, sorted by name."""
        folder = self.results_of(key)
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def drop(self, key: str) -> None:
        """Remove all that is here of a series."""
        shutil.rmtree(self._series / key, ignore_errors=True)

    def held(self) -> list[str]:
        """The series that have a folder."""
        return sorted(path.name for path in self._series.iterdir())


def named(uid: str) -> str:
    """The name of the file of the image with this SOP Instance UID."""
    return f"{hashed(uid)}.dcm"


def hashed(*uids: str) -> str:
    """A name for what has these UIDs."""
    return hashlib.sha256("\0".join(uids).encode()).hexdigest()[:_LETTERS]


def sync(path: Path) -> None:
    """Have what was written to a file or folder on the disk.  Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
