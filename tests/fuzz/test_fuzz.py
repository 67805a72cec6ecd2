"""A short run of each fuzz target, the same every time, and every input that once broke a promise.

`python -m tests.fuzz` runs for long, steered by coverage; here valid files are changed blindly, which needs no atheris.
"""

import itertools
import random
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.fuzz import child, mutate, seeds
from tests.fuzz.__main__ import Result, judge
from tests.fuzz.targets import TARGETS
from tests.serve.batch.test_hostile import aborting

INPUTS = 200
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*/*"))
#: Its decoders may end the process, which is why the product runs them in another one.
DEADLY = ("dicom",)


def target(name: str):
    if not TARGETS[name].here:
        pytest.skip(f"needs {TARGETS[name].needs}")
    return TARGETS[name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in DEADLY])
def test_changed_files_end_in_a_scan_or_a_sentence(name):
    run = target(name).run
    for data in itertools.islice(child.changed(list(target(name).seeds()), seed=0), INPUTS):
        run(data)


@pytest.mark.parametrize("name", DEADLY)
def test_changed_files_whose_decoders_may_crash(name, tmp_path):
    """Seeded as above, in a process of its own: an input that ends it is tried again in the reader's worker."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(tmp_path), "--blindly", "--inputs", str(INPUTS)]
    code = subprocess.run(command, cwd=seeds.ROOT, capture_output=True, check=False).returncode
    assert not list(tmp_path.glob("findings/*"))
    died = list(tmp_path.glob("deaths/*"))
    assert bool(died) == bool(code)
    contained = TARGETS[name].contained
    for path in died:
        assert contained is not None
        contained(path.read_bytes())


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_what_ends_the_process_is_no_finding_if_a_worker_contains_it(tmp_path):
    """GDCM ends it (see `aborting`)."""
    (tmp_path / "death").write_bytes(aborting())
    result = Result()
    judge("dicom", tmp_path / "death", result)
    assert (result.contained, result.findings) == (1, []), result.notes
    judge("lists", tmp_path / "nothing", result)  # which has no worker, and here no input
    assert (result.contained, len(result.findings)) == (1, 1)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_promise(path):
    """As the product takes it: what decoders may not survive, in a worker."""
    chosen = target(path.parent.name)
    (chosen.contained or chosen.run)(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_accepted(name):
    """Else the targets would try little more than how files are refused."""
    for data in target(name).seeds():
        assert target(name).run(data), data[:100]


def test_the_seeds_and_their_changes_are_the_same_every_time():
    def first(number: int) -> list[bytes]:
        return list(itertools.islice(child.changed(seeds.dicoms() + seeds.zips(), number), 40))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_changes_reach_inside_containers():
    """What was changed in a member has the right checksum."""
    rng = random.Random(0)  # noqa: S311
    whole = seeds.archive({"a.npy": b"A" * 50, "b": b"B" * 50})
    changed = {mutate.mutated(whole, rng, lambda data: data.replace(b"A", b"X").replace(b"B", b"Y")) for _ in range(60)}
    contents = []
    for data in changed:
        with zipfile.ZipFile(BytesIO(data)) as file:
            contents.append(tuple(file.read(name)[:1] for name in file.namelist()))
    assert {(b"X", b"B"), (b"A", b"Y")} < set(contents) | {(b"A", b"B")}


@pytest.mark.parametrize(
    ("broken", "finding"), [(lambda data: 1 / 0, "ZeroDivisionError"), (lambda data: int("x"), "ValueError")]
)
def test_a_broken_promise_is_kept_once(tmp_path, broken, finding):
    keep = child.keeper(broken, tmp_path)
    for data in (b"one", b"two"):
        keep(data)
    assert [path.read_bytes() for path in tmp_path.glob("findings/*") if path.suffix != ".txt"] == [b"one"]
    assert finding in next(tmp_path.glob("findings/*.txt")).read_text()
