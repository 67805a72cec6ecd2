"""What glibc keeps of freed memory: the blocks of one run, or of one step of training, for the next one.

A run, or a step, takes and frees hundreds of blocks.  glibc by itself hands what lies together free back to the system
after each, and takes it anew, page by page, for the next one.  ONNX Runtime's own arena would keep the blocks, too, but
all that the largest scan needed, for good.

These are settings of the whole process: for programs, not for libraries.
"""

import ctypes
from contextlib import suppress

#: As in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
#: Bytes that each heap keeps free, and from which on a block is never kept.
KEPT, LARGE = 64 * 2**20, 32 * 2**20
#: The largest that glibc takes.
_MOST = 2**31 - 1
#: How many heaps all threads share; with one for each, the server of a siege was half as large again.
HEAPS = 2


def keep_freed() -> None:
    """Keep what is freed, until `give_back`, but for the blocks of large scans."""
    _set(_TRIM_THRESHOLD, KEPT)
    _set(_MMAP_THRESHOLD, LARGE)


def keep_all() -> None:
    """Keep blocks of any size: every step of a training takes the same ones."""
    _set(_TRIM_THRESHOLD, _MOST)
    _set(_MMAP_THRESHOLD, _MOST)


def share_heaps() -> None:
    """Let all threads share `HEAPS` heaps.  To be called before there are threads: a heap that is there stays."""
    _set(_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Hand freed memory back to the system."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _set(parameter: int, value: int) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(parameter, value)
