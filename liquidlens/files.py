"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liquidlens.errors import LiquidLensError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end that file takes its place.

    If anything fails before, `path` is as it was, and nothing is left beside it.  Raises LiquidLensError, which names
    `path`, if the disk is full or read-only.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise LiquidLensError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if partial.is_file():  # also False below a file, where unlink would fail
            partial.unlink()
