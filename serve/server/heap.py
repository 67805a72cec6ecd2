"""What glibc keeps of freed memory: with a heap for each, a server's threads would hold hundreds of MiB of it."""

import ctypes
from contextlib import suppress

#: As in malloc.h, and how many heaps all threads share; more of them made the server of a siege half as large again.
_ARENA_MAX, HEAPS = -8, 2


def share_heaps() -> None:
    """Let all threads share `HEAPS` heaps.  To be called before there are threads: a heap that is there stays."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Hand freed memory back to the system."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
