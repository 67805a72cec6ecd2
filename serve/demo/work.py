"""What takes long, in turns: reading uploads has slots of its own, so that slow files keep no model waiting."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from liquidlens.imaging import Scan
from liquidlens.serve.demo import uploads
from liquidlens.serve.demo.case import read_upload
from liquidlens.serve.demo.turns import Turns
from liquidlens.serve.settings import Settings

#: Scans that are read at once, each by a process of its own.
READERS = 4
#: Requests of the queue that wait in threads for a turn.
WAITING = 16
#: A scan of more voxels is worked on alone: a model takes some 16 bytes for each while it resizes them.
LARGE = 2**25


class Work:
    """The turns of one server.  visitor: a page's session, or that of a program."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._reading, self._models = Turns(READERS), Turns(settings.concurrency)

    def read(self, files: Sequence[str], visitor: str | None, colour: bool, item: str) -> tuple[Scan, str]:
        """The scan that uploads hold, and what to call it, as `read_upload`; raises LiquidLensError as well if they are
        no uploads."""
        uploads.check(files)
        with self._reading.of(str(visitor)):
            return read_upload(files, self._settings.budget, colour, item)

    @contextmanager
    def on(self, scan: Scan, visitor: str | None) -> Iterator[None]:
        """A turn to run models on a scan, or to draw it in 3D."""
        with self._models.of(str(visitor), self._settings.concurrency if scan.pixels.size > LARGE else 1):
            yield
