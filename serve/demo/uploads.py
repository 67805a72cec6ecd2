"""Files that visitors upload: where they lie, and whose they are.

The path of an upload is a secret between the server and who uploaded it: a folder of its own with a random name, under
a folder that holds nothing else.  Who names another file, of this server or of another visitor, is refused.
"""

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradio.route_utils import GradioMultiPartParser, GradioUploadFile
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

from liquidlens.errors import LiquidLensError


def folder() -> Path:
    """Where uploads lie, apart from the files that the page offers; Gradio keeps both under $GRADIO_TEMP_DIR."""
    return Path(os.environ["GRADIO_TEMP_DIR"], "uploads")


class UploadParser(GradioMultiPartParser):
    """Gradio's parser, which names the folder of an upload after its content, holds all files of a form open until the
    last one has arrived, and keeps what it has of a form that breaks off, is too large, or fills the disk."""

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:  # also that the client went away
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is None:  # it would be kept in memory, however large it is
            raise MultiPartException("An upload holds files and nothing else.")
        part.file = _Upload(part.file.file, size=0, filename=part.file.filename, headers=part.file.headers)


class _Upload(GradioUploadFile):
    """A file on its way: under a name that nobody can guess, and open no longer than it takes to arrive."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.sha = _Secret()

    async def seek(self, offset: int) -> None:
        """Called when it is complete, to be read; here nobody reads on."""
        await self.close()


class _Secret:
    """In the place of a file's hash."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(16)

    def update(self, _: bytes) -> None:
        """The content says nothing about the name."""

    def hexdigest(self) -> str:
        return self._name


def check(files: Sequence[str]) -> None:
    """Raise LiquidLensError if one of these is anything but a file that was uploaded, and not yet read."""
    place = folder().resolve()
    for file in map(Path, files):
        if file.parent.parent.resolve() != place or file.parent.is_symlink():
            raise LiquidLensError(f"{file.name}: this is no file that you uploaded; upload it.")
        try:
            plain = stat.S_ISREG(file.lstat().st_mode)
        except OSError:
            raise LiquidLensError(
                f"{file.name}: this upload is gone, as it was read already; upload it again."
            ) from None
        if not plain:
            raise LiquidLensError(f"{file.name}: this is no plain file; upload one.")


def delete(files: Sequence[str]) -> None:
    """Delete uploads that are not read.  What is no upload stays."""
    with suppress(LiquidLensError):
        check(files)
        for file in files:
            Path(file).unlink(missing_ok=True)
