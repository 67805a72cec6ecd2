"""Arrivals: every image is filed under its series, and a series that is complete is handed on."""

import threading
import time
from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

from pydicom import uid
from pydicom.dataset import Dataset

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.budget import DEFAULT, Budget
from liquidlens.imaging.formats import dicom
from liquidlens.serve.node.journal import Journal, Series, State
from liquidlens.serve.node.settings import Node
from liquidlens.serve.node.spool import Spool, hashed, named

#: Why a series failed of which some images never came.
CUT_OFF = "its sender was cut off, an image was refused, or more were announced, and the rest never came: send it again"

_NAMES = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"


class Identity(NamedTuple):
    """The UIDs of an image, and how many images its series is to have, if it says so."""

    study: str
    series: str
    image: str
    announced: int | None

    @property
    def key(self) -> str:
        return hashed(self.study, self.series)

    def check(self) -> None:
        """Raises LiquidLensError if one of them is missing or no UID."""
        for name, value in zip(_NAMES, (self.study, self.series, self.image), strict=True):
            if not uid.UID(value).is_valid:
                raise LiquidLensError(f"an image: its {name} is missing or no UID.")


class Arrivals:
    """What arrives and what is settled: the one place that moves a series to and from its end, under one lock, so that
    no image is overlooked that arrives at that moment."""

    def __init__(self, journal: Journal, spool: Spool, node: Node):
        self.journal, self.spool, self._node = journal, spool, node
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._last: dict[str, float] = {}  # key -> when its last image came
        # Who has not hung up -> what it brings, and whether its end makes that whole, as no other was cut off since.
        self._senders: dict[Hashable, dict[str, bool]] = defaultdict(dict)
        # Key -> names of images that were offered and not kept, and when.  On a full disk the journal lacks some.
        self._lost = journal.refused()

    def take(self, file: Path, sender: Hashable, announced: int | None = None) -> Identity:
        """File an image that lies in `Spool.incoming`; when this returns it is on the disk and in the journal.

        sender: whoever says with `hung_up` that it brings no more.  announced: how many images the series has.
        Raises LiquidLensError if it is no image of a series, and OSError if the disk is full; then its series is not
        whole until the image came after all.
        """
        own = identify(file)
        name = named(own.image)
        with self._lock:
            try:
                own.check()
                if not self.spool.has_room(0):
                    raise OSError("the disk is nearly full")
                self.journal.arrive(own.key, own.study, own.series, announced or own.announced)
                self._senders[sender].setdefault(own.key, True)
                self.spool.add(file, own.key, own.image)
            except (LiquidLensError, OSError):
                if name not in self.spool.images(own.key):
                    self._lost.setdefault(own.key, {})[name] = time.time()
                    self.journal.refuse(own.key, name)
                raise
            if self._lost.get(own.key, {}).pop(name, None):
                self.journal.forget_refused(own.key, name)
            self._last[own.key] = time.monotonic()
        return own

    def hung_up(self, sender: Hashable, properly: bool) -> None:
        """A sender brings no more; properly: it said so, and was not cut off."""
        with self._lock:
            for key, vouches in self._senders.pop(sender, {}).items():
                others = [brought for brought in self._senders.values() if key in brought]
                if vouches or not properly:
                    for brought in others:
                        brought[key] = properly
                if properly and vouches and not others and not self._lacks(key):
                    self.journal.let_go(key)

    def due(self) -> list[str]:
        """Move series that are complete to that state, and those that were cut off for too long to their failure;
        returns the keys of the former."""
        now, complete = time.monotonic(), []
        with self._lock:
            under_way = set().union(*self._senders.values())
            for series in self.journal.all_in("arriving"):
                silent = now - self._last.get(series.key, self._began)
                if self._is_complete(series, silent):
                    self.journal.move(series.key, "arriving", "complete")
                    self._last.pop(series.key, None)
                    complete.append(series.key)
                elif series.key not in under_way and silent >= self._node.interrupted_seconds:
                    self.settle(series.key, "arriving", "failed", self.spool.images(series.key), CUT_OFF)
        return complete

    def settle(self, key: str, old: State, new: State, judged: list[str], reason: str = "") -> bool:
        """End a series, unless more images came than those that were `judged`: then it goes on arriving.  Images stay
        only of what failed.  Returns whether it ended."""
        with self._lock:
            more = set(self.spool.images(key)) - set(judged)
            self.journal.move(key, old, "arriving" if more else new, "" if more else reason)
            if not more:
                self._forget_lost(key)
                if new != "failed":
                    self.spool.drop(key)
        return not more

    def recover(self) -> list[str]:
        """After a start: remove what is over, and file what the journal does not know.  Returns the keys of the series
        that were complete."""
        self.spool.forget_incoming()
        for key in self.spool.held():
            series = self.journal.find(key)
            if series is None:
                for name in self.spool.images(key):  # `take` has checked them
                    own = identify(self.spool.images_of(key) / name)
                    self.journal.arrive(own.key, own.study, own.series, own.announced)
            elif series.state in ("sent", "ignored"):
                self.spool.drop(key)
        return [series.key for series in self.journal.all_in("complete")]

    def sweep(self) -> None:
        """Remove images of series that failed long ago and what senders that were cut off left of one, and forget what
        was refused of series of which nothing came since."""
        self.spool.forget_incoming(older=2 * self._node.silent_seconds)
        with self._lock:
            arriving = {series.key for series in self.journal.all_in("arriving")}
            recent = time.time() - self._node.interrupted_seconds
            for key in [key for key, lost in self._lost.items() if max(lost.values(), default=recent) <= recent]:
                if key not in arriving:
                    self._forget_lost(key)
            for series in self.journal.all_in("failed"):
                if time.time() - series.since >= 86_400 * self._node.keep_days:
                    self.spool.drop(series.key)

    def _lacks(self, key: str) -> bool:
        """Whether an image of this series was refused and is not here by now."""
        return not self._lost.get(key, {}).keys() <= set(self.spool.images(key))

    def _forget_lost(self, key: str) -> None:
        if self._lost.pop(key, None):
            self.journal.forget_refused(key)

    def _is_complete(self, series: Series, silent: float) -> bool:
        if series.announced is not None and len(self.spool.images(series.key)) >= series.announced:
            return True
        return series.whole and series.announced is None and silent >= self._node.idle_seconds


def identify(file: Path, budget: Budget = DEFAULT) -> Identity:
    """The UIDs of a DICOM file as they stand there.  Raises LiquidLensError, in which nothing of the file is quoted."""
    with reading("an image", "DICOM"), dicom.quiet(), file.open("rb") as opened:
        header = dicom.header(opened, budget)
        study, series, image = (str(header.get(name) or "") for name in _NAMES)
        return Identity(study, series, image, _announced(header))


def _announced(header: Dataset) -> int | None:
    number = header.get("NumberOfSeriesRelatedInstances")
    return number if isinstance(number, int) and number > 0 else None
