"""Two hundred studies to a node that is killed ten times, with an archive that is stopped twice: what is left of them.

    .venv-serve/bin/python -m benchmarks.node [--studies 200 --kills 10 --stops 2 --seed 0]

Needs Orthanc and dcmtk.  Exit code 1 unless the archive holds one report for each study, and the journal says so.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.device.node.test_nothing_lost import siege


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("studies", 200), ("kills", 10), ("stops", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    told = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = siege(Path(folder), told.studies, told.kills, told.stops, told.seed)
    print(
        f"{told.studies} studies, {told.kills} kills, {told.stops} stops, {time.monotonic() - started:.0f} s: {found}"
    )
    sys.exit(found != {"reports": told.studies, "studies": told.studies, "sent": told.studies})


if __name__ == "__main__":
    main()
