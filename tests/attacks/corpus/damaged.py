"""Files of every format that end too early, or in which one bit is another.

Cuts hope for readers that go on with what happens to be in memory, or wait for more; flips for lengths, offsets and
counts that nobody checks.  Most formats have no checksum, so what can still be read is read; but no such file may crash
its reader.
"""

from functools import partial
from pathlib import Path

import numpy as np

from tests.attacks.attack import Attack, Survived
from tests.attacks.formats import Format, formats

CUTS, FLIPS = 12, 24


def make(whole: Format, folder: Path) -> Path:
    """A dozen cuts, from nothing to all but one byte, and two dozen flips, half of them in the first 400 bytes.

    Each lies in a folder of its own, so that DICOM files are no series.
    """
    places = [len(whole.content) * cut // CUTS for cut in range(CUTS - 1)] + [len(whole.content) - 1]
    damaged = [whole.content[:place] for place in places]
    rng = np.random.default_rng(len(whole.content))
    for number in range(FLIPS):
        content = bytearray(whole.content)
        at = int(rng.integers(min(400, len(content)) if number % 2 else len(content)))
        content[at] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(content))
    for number, content in enumerate(damaged):
        (folder / f"{number:02}").mkdir()
        (folder / f"{number:02}" / f"scan{whole.ending}").write_bytes(content)
    return folder


#: All cuts but one are refused: what stands behind the pixels may be nothing that is needed.
ENDS = Survived(CUTS + FLIPS, refused=CUTS - 1)
ATTACKS = tuple(Attack(f"damaged: *{whole.ending}", whole.opener, partial(make, whole), ENDS) for whole in formats())
