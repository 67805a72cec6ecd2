"""Whose turn it is: slots for work that takes long, shared fairly among visitors."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """So many slots.  A free one goes to the visitor who has the fewest at that moment, and among those to who came
    first: one visitor with many scans delays the others by one of them."""

    def __init__(self, slots: int):
        self._slots, self._free = slots, slots
        self._waiting: list[tuple[str, int]] = []  # visitor and slots that are wanted, in the order of arrival
        self._held: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, visitor: str, slots: int = 1) -> Iterator[None]:
        """Wait for so many slots, at most all, and hold them until the context ends."""
        ticket = (visitor, min(slots, self._slots))
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._next() is ticket and self._free >= ticket[1])
            self._waiting = [other for other in self._waiting if other is not ticket]
            self._free -= ticket[1]
            self._held[visitor] += ticket[1]
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += ticket[1]
                self._held[visitor] -= ticket[1]
                self._held += Counter()  # forgets who holds none
                self._changed.notify_all()

    def _next(self) -> tuple[str, int]:
        return min(self._waiting, key=lambda ticket: self._held[ticket[0]])  # the first of equals
