"""Reading many places at once: worker processes beside the caller, scans in the order of the places, bounded memory.

Each thread here speaks with one worker.  It takes the next place, and puts the scans that it gets into that place's
turn; the caller takes the turns in their order.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import DEFAULT, Budget
from liquidlens.imaging.collection import Found, Place, named
from liquidlens.imaging.worker import Started, Worker, WorkerError

K = TypeVar("K")

#: Bytes of scans that were read and not taken yet.
AHEAD = 64 * 2**20
#: Bytes that a scan takes beside its pixels, or its error.
_EACH = 1024
#: Turns per worker that may be under way, or wait for one.
_TURNS = 64


def read_many(
    places: Iterable[tuple[K, Place]],
    workers: int,
    budget: Budget = DEFAULT,
    *,
    axes: int,
    colour: bool = False,
    ahead: int = AHEAD,
) -> Iterator[tuple[K, Found]]:
    """The scans of all places, in their order, read by so many worker processes (see `imaging.worker`).

    places: each with whatever the caller knows it by, which comes back with its scans.  They are asked for in a thread
        of their own, a few dozen ahead.
    axes, colour, budget: as of `imaging.collection.each`; time and memory are kept as well.  A scan whose reader died
        is one with an error; the worker is replaced, and its other places are not touched by that.
    ahead: workers wait while as many bytes of scans have not been taken yet; only the scan that is to be taken next may
        be more.
    Raises whatever `places` raises, after the scans before it.
    """
    queue = _Queue(ahead, _TURNS * workers)
    speakers = [_Speaker(queue, budget, axes, colour) for _ in range(workers)]
    clock = threading.Thread(target=_watch, args=(speakers, queue, budget.seconds), daemon=True)
    feeder = threading.Thread(target=queue.feed, args=(places,), daemon=True)
    threads = (*speakers, clock, feeder)
    try:
        for thread in threads:
            thread.start()
        yield from queue.scans()
    finally:
        queue.stop()
        for speaker in speakers:
            speaker.interrupt()
        for thread in threads:
            if thread.is_alive():
                # Places that do not come, of a pipe for example, are not waited for.
                thread.join(timeout=1 if thread is feeder else None)


@dataclass(eq=False)
class _Turn:
    """A place on its way.  first: the number of the next scan that is to be read.  went_on: whether a scan was read
    since the place was opened.  scans: those that were read and not taken yet.  ended: there will be no more."""

    key: Any
    place: Place
    first: int
    of: int | None = None
    went_on: bool = False
    scans: deque[Found] = field(default_factory=deque)
    ended: bool = False

    def pass_by(self, started: Started) -> None:
        """Go on after a scan."""
        self.first, self.of, self.went_on = started.number + self.place.step, started.of, True

    def is_over(self, first: int, of: int) -> bool:
        """Whether no scan is meant from number `first` on, if the place holds so many."""
        return first >= (of if self.place.end is None else min(of, self.place.end))


class _Queue:
    """Turns between the places, the speakers and the caller."""

    def __init__(self, ahead: int, turns: int):
        self._ahead, self._limit = ahead, turns
        self._turns: deque[_Turn] = deque()
        self._waiting: deque[_Turn] = deque()  # those that no speaker has taken yet
        self._bytes = 0
        self._complete = False
        self._failure: BaseException | None = None
        lock = threading.Lock()  # of all of this; each of those who wait has a bell of its own
        self._for_feeder, self._for_speakers, self._for_caller = (threading.Condition(lock) for _ in range(3))
        self.stopped = threading.Event()

    def feed(self, places: Iterable[tuple[Any, Place]]) -> None:
        """Make turns of places as long as there is room.  `scans` gives back what they raise."""
        try:
            for key, place in places:
                with self._for_feeder:
                    self._for_feeder.wait_for(lambda: self.stopped.is_set() or len(self._turns) < self._limit)
                    if self.stopped.is_set():
                        return
                    turn = _Turn(key, place, place.first)
                    self._turns.append(turn)
                    self._waiting.append(turn)
                    self._for_speakers.notify_all()
        except BaseException as error:
            self._failure = error
        finally:
            with self._for_caller:
                self._complete = True
                self._for_speakers.notify_all()
                self._for_caller.notify_all()

    def take(self, wait: bool) -> _Turn | None:
        """The turn of the next place; None if there is none, or if it would have to be waited for."""
        with self._for_speakers:
            if wait:
                self._for_speakers.wait_for(lambda: self._waiting or self._complete or self.stopped.is_set())
            return self._waiting.popleft() if self._waiting and not self.stopped.is_set() else None

    def put(self, turn: _Turn, found: Found) -> None:
        """Add a scan to a turn, as soon as there is room."""
        size = _size(found)
        with self._for_speakers:
            self._for_speakers.wait_for(
                lambda: (
                    self.stopped.is_set()
                    or self._bytes + size <= self._ahead
                    or (self._turns[0] is turn and not turn.scans)
                )
            )
            turn.scans.append(found)
            self._bytes += size
            self._for_caller.notify_all()

    def end(self, turn: _Turn) -> None:
        with self._for_caller:
            turn.ended = True
            self._for_caller.notify_all()

    def scans(self) -> Iterator[tuple[Any, Found]]:
        """The scans of all turns, in order."""
        while True:
            with self._for_caller:
                self._for_caller.wait_for(self._ready)
                if not self._turns or self.stopped.is_set():
                    break
                turn = self._turns[0]
                if not turn.scans:
                    self._turns.popleft()
                    self._for_speakers.notify_all()  # the next turn may be more than there is room for
                    if len(self._turns) <= self._limit // 2:
                        self._for_feeder.notify_all()
                    continue
                found = turn.scans.popleft()
                self._bytes -= _size(found)
                self._for_speakers.notify_all()
            yield turn.key, found
        if self._failure is not None:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """Give up: `scans` raises the error at once."""
        self._failure = error
        self.stop()

    def stop(self) -> None:
        with self._for_caller:
            self.stopped.set()
            for condition in (self._for_feeder, self._for_speakers, self._for_caller):
                condition.notify_all()

    def _ready(self) -> bool:
        if self._turns:
            return bool(self._turns[0].scans) or self._turns[0].ended or self.stopped.is_set()
        return self._complete or self.stopped.is_set()


class _Speaker(threading.Thread):
    """Speaks with one worker, which it starts itself (see `Worker`)."""

    def __init__(self, queue: _Queue, budget: Budget, axes: int, colour: bool):
        super().__init__(daemon=True)
        self._queue, self._budget, self._question = queue, budget, {"axes": axes, "colour": colour}
        self._asked: deque[_Turn] = deque()
        self._worker: Worker | None = None

    def run(self) -> None:
        try:
            self._worker = worker = Worker(self._budget)
            while not self._queue.stopped.is_set() and (self._asked or self._take(worker, wait=True)):
                turn = self._asked[0]
                death = self._listen(worker, turn)
                if death is not None and not self._queue.stopped.is_set():
                    worker.end()
                    self._bury(turn, *death)
                    self._worker = worker = Worker(self._budget)
                    for asked in self._asked:
                        self._ask(worker, asked)
        except BaseException as error:
            self._queue.fail(error)
        finally:
            if self._worker is not None:
                self._worker.end()

    def watch(self) -> None:
        """End the worker if it has not answered for too long."""
        if self._worker is not None:
            self._worker.watch()

    def interrupt(self) -> None:
        """End the worker, for which nobody waits any more."""
        if self._worker is not None:
            self._worker.time_out()

    def _take(self, worker: Worker, wait: bool) -> bool:
        """Ask for a further place; False if there is none."""
        turn = self._queue.take(wait)
        if turn is not None:
            self._asked.append(turn)
            self._ask(worker, turn)
        return turn is not None

    def _ask(self, worker: Worker, turn: _Turn) -> None:
        turn.went_on = False
        worker.ask({"place": vars(turn.place) | {"first": turn.first}, **self._question})

    def _listen(self, worker: Worker, turn: _Turn) -> tuple[Started | None, WorkerError] | None:
        """Take one scan into its turn, or its end.  If the worker died: what it was reading, and why."""
        started = None
        try:
            started = worker.started()
            if started is None:
                if turn.of is not None and not turn.is_over(turn.first, turn.of):
                    self._lose(turn, "it could be opened once, but not again.")
                self._end(turn)
                return None
            if started.number != turn.first or (turn.of is not None and started.of > turn.of):
                return None, WorkerError("the reader's answer to this file makes no sense.")
            if len(self._asked) == 1 and turn.is_over(turn.first + turn.place.step, started.of):
                self._take(worker, wait=False)  # so that it goes on while its last answer is looked at
            found = worker.found(started)
        except WorkerError as death:
            return started, death
        turn.pass_by(started)
        self._queue.put(turn, found)
        return None

    def _bury(self, turn: _Turn, started: Started | None, death: WorkerError) -> None:
        """Give the scan that the worker died of an error; if it died of opening the place, the place."""
        if started is not None:
            error = LiquidLensError(f"{named(turn.place.path, started.item)}: {death}")
            self._queue.put(turn, Found(*started, None, error))
            turn.pass_by(started)
        elif not turn.went_on:
            self._lose(turn, str(death))
            turn.of = 0
        if turn.of is not None and turn.is_over(turn.first, turn.of):
            self._end(turn)

    def _lose(self, turn: _Turn, why: str) -> None:
        """Give all that is left of a place one error: another reader might open it."""
        error = LiquidLensError(f"{turn.place}: {why}")
        self._queue.put(turn, Found(turn.first, turn.first + 1, turn.place.selection, None, error))

    def _end(self, turn: _Turn) -> None:
        self._asked.popleft()
        self._queue.end(turn)


def _watch(speakers: list[_Speaker], queue: _Queue, seconds: float) -> None:
    """End workers that have not answered for so long."""
    while not queue.stopped.wait(min(0.5, seconds / 4)):
        for speaker in speakers:
            speaker.watch()


def _size(found: Found) -> int:
    return _EACH + (0 if isinstance(found.scan, LiquidLensError) else found.scan.pixels.nbytes)
