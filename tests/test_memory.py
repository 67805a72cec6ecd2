"""What glibc keeps of freed memory, in a process of its own: these are settings of the whole process."""

import subprocess
import sys

import pytest

HELD = """
import sys
import numpy as np
from liquidlens import memory

def held():  # MiB
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

memory.share_heaps()
getattr(memory, sys.argv[1])()
before = held()
blocks = [np.ones(2**17) for _ in range(32)]  # 1 MiB each
del blocks
print(held() - before)
block = np.ones(40 * 2**17)
del block
print(held() - before)
memory.give_back()
print(held() - before)
"""


def held(keep: str) -> list[float]:
    """MiB after small blocks were freed, after a large one was, and when all was given back."""
    done = subprocess.run([sys.executable, "-c", HELD, keep], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_small_blocks_are_kept_until_they_are_given_back_and_large_ones_never():
    small, large, given_back = held("keep_freed")
    assert small > 24
    assert large < small + 8
    assert given_back < 8


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_training_keeps_large_blocks_too():
    _, large, given_back = held("keep_all")
    assert large > 32
    assert given_back < 8
