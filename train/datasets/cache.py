"""What was found in one's own scans, and made of them, kept for the next start: it then opens none of their files.

A folder of plain files for the user alone: it holds patients' pixels, cut and resized as a network reads them, but no
names, IDs or paths.  An entry begins with the SHA-256 of what follows; one that was damaged is as good as none.
Nothing is unpickled.
"""

import functools
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.read import split

#: Where the folder lies, or "off"; and how many GB it may have.
FOLDER, SIZE = "LIQUIDLENS_CACHE", "LIQUIDLENS_CACHE_GB"
GIGABYTES = 10.0
#: Raised when an entry means something else than before within a release.
VERSION = 5
#: So much is left when the oldest entries went.
KEPT = 0.9
_DIGEST = hashlib.sha256().digest_size
#: How the names of entries begin that are being written, or never were to their end.
_PARTIAL = "partial-"


class Cache:
    """Entries by key; those that were not used for longest go when there is too much.

    folder: made if it is missing, readable by its owner alone.  limit: bytes of all entries together.
    Raises LiquidLensError if the folder cannot be made, or is somebody else's.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self._size: int | None = None  # known after the first entry was written
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
                raise LiquidLensError(f"{folder} is not a folder of your own: {FOLDER} names another one, or is 'off'.")
            folder.chmod(0o700)
        except OSError as error:
            raise LiquidLensError(f"{folder}: no cache can be made ({error.strerror}): {FOLDER}=off.") from error

    def get(self, key: str) -> bytes | None:
        """What was put in under this key, if that is there and whole."""
        path = self._path(key)
        with suppress(OSError):
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
                os.utime(path)  # used just now
                return content[_DIGEST:]
            path.unlink()
        return None

    def put(self, key: str, content: bytes) -> None:
        """Keep this.  Where it cannot be written, it is not kept."""
        path = self._path(key)
        with suppress(OSError):
            path.parent.mkdir(0o700, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)  # for the owner alone
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                os.replace(partial, path)
            finally:
                Path(partial).unlink(missing_ok=True)
            if self._size is None:
                self._size = sum(size for _, size, _ in self._entries())
            else:
                self._size += len(content)
            if self._size > self.limit:
                self._size = self._remove_oldest()

    def clear(self) -> tuple[int, int]:
        """Remove everything; returns how many entries and bytes that were."""
        entries = self._entries()
        for _, _, path in entries:
            with suppress(OSError):
                path.unlink()
        return len(entries), sum(size for _, size, _ in entries)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _entries(self) -> list[tuple[int, int, Path]]:
        """When each was used last, its bytes, and where it is."""
        found = []
        for path in self.folder.glob("??/*"):
            if re.fullmatch(f"[0-9a-f]{{64}}|{_PARTIAL}.*", path.name):
                with suppress(OSError):
                    state = path.lstat()
                    found.append((state.st_mtime_ns, state.st_size, path))
        return found

    def _remove_oldest(self) -> int:
        """Remove the oldest entries; returns the bytes of the others."""
        entries = sorted(self._entries())
        size = sum(each for _, each, _ in entries)
        for _, each, path in entries:
            if size <= KEPT * self.limit:
                break
            with suppress(OSError):
                path.unlink()
                size -= each
        return size


def opened() -> Cache | None:
    """The cache that the environment asks for; None if it is off, or, said on stderr, not to be had.

    Raises LiquidLensError for a size that is no number.
    """
    named = os.environ.get(FOLDER, "")
    if named == "off":
        return None
    gigabytes = os.environ.get(SIZE, str(GIGABYTES))
    try:
        limit = round(float(gigabytes) * 1e9)
    except (ValueError, OverflowError) as error:
        raise LiquidLensError(f"{SIZE} is a number of gigabytes, not {gigabytes!r}.") from error
    try:
        return Cache(_folder(named), limit)
    except LiquidLensError as error:
        print(f"Note: {error}", file=sys.stderr)
        return None


def turn_off() -> None:
    """Keep nothing and look for nothing in this process, and in those that it starts."""
    os.environ[FOLDER] = "off"


def _folder(named: str) -> Path:
    if not named:
        import pooch

        named = pooch.os_cache("liquidlens")
    return Path(named).absolute() / "scans"  # which may be made private, whatever else lies beside it


def key_of(*parts: Any) -> str:
    """One key for all that determines an entry: numbers, texts, lists of them."""
    return hashlib.sha256(json.dumps([VERSION, _release(), *parts]).encode()).hexdigest()


@functools.cache
def _release() -> str:
    return metadata.version("liquidlens")


def state_of(source: Path) -> list[Any]:
    """What changes with the content of a file, or of all files of a folder, without a look into them: names, sizes,
    times and numbers on the disk.  source: as `imaging.read` takes it."""
    path, selection = split(str(source))
    return [os.path.realpath(path), selection, *_states(path)]


def content_of(source: Path) -> str:
    """A digest of a file, or of the names and contents of all files of a folder.  Raises OSError."""
    path, _ = split(str(source))
    return key_of(*([state[0], _digest(path / state[0], state)] for state in _states(path)))


def _states(path: Path) -> list[tuple]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    states = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    return [(name, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino) for name, at in states]


@functools.lru_cache(64)  # many scans may lie in one file
def _digest(file: Path, state: tuple) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
