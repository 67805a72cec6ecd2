"""The log of a running server: what went wrong and where, and no word of what a visitor sent.

Libraries quote what they were given: names of files, which may be names of patients, and bytes that steer a terminal.
So of their records the log keeps the place in the code and the kind of error; of what they print, the place.
"""

import io
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from liquidlens.errors import printable

#: Seconds in which the same line is written once.
PAUSE = 60.0
#: Different lines that are remembered.
REMEMBERED = 1_000
#: Modules through which others print.
_PRINTERS = ("traceback.py", "warnings.py", "threading.py", "__init__.py", "contextlib.py")

logger = logging.getLogger(__name__)


def origin(error: BaseException) -> str:
    """The kind of an error and the line that raised it: its words may quote what a visitor sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class Discreet(logging.Handler):
    """Writes one line for each record, the same one not twice within `PAUSE` seconds: a visitor cannot fill a disk.

    as_json: each line is a JSON object, for what collects the logs of many machines.
    """

    def __init__(self, stream: TextIO, as_json: bool = False):
        super().__init__(logging.INFO)
        self._stream, self._as_json, self._written = stream, as_json, dict[str, float]()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("liquidlens."):  # our own: written for this log
            text = printable(record.getMessage())
        elif record.levelno < logging.WARNING:
            return
        else:
            text = f"{record.name} complained at {record.filename}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({origin(record.exc_info[1])})"
        now = time.monotonic()
        if now - self._written.get(text, -PAUSE) < PAUSE:
            return
        if len(self._written) >= REMEMBERED:
            self._written.clear()
        self._written[text] = now
        with suppress(OSError, ValueError):  # the disk is full, or who read it has ended: what is logged goes on
            self._stream.write(f"{self._json(record, text) if self._as_json else f'{record.levelname}: {text}'}\n")
            self._stream.flush()

    def _json(self, record: logging.LogRecord, text: str) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return json.dumps({"time": moment, "level": record.levelname, "from": record.name, "message": text})


class _Withheld(io.TextIOBase):
    """Takes the place of standard output and error."""

    def write(self, text: str) -> int:
        if text.strip():
            frame = sys._getframe(1)
            while frame.f_back and Path(frame.f_code.co_filename).name in _PRINTERS:
                frame = frame.f_back
            where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            logger.warning("%s printed something, which is withheld", where)
        return len(text)


@contextmanager
def discreet(as_json: bool = False) -> Iterator[None]:
    """While a server runs: nothing but our own log reaches the terminal, or the file in its place."""
    root, own, handler = logging.getLogger(), logging.getLogger("liquidlens"), Discreet(sys.stderr, as_json)
    before, level = root.handlers[:], own.level
    root.handlers[:] = [handler]
    own.setLevel(logging.INFO)
    try:
        with redirect_stdout(_Withheld()), redirect_stderr(_Withheld()):
            yield
    finally:
        root.handlers[:] = before
        own.setLevel(level)
