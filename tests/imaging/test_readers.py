"""Many places by worker processes: all scans, in order, whatever some files do to their readers."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Budget, Scan
from liquidlens.imaging.budget import DEFAULT
from liquidlens.imaging.collection import Found, Place, each
from liquidlens.imaging.readers import read_many

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and a shell")

PYTHON = sys.executable
#: A worker whose decoders die as broken ones do, or answer what they like: the first pixel of a scan, or the name of
#: its place, says how.
TRAPS = r"""
import os, signal, sys, time
from liquidlens.imaging import collection, worker
from liquidlens.imaging.formats import arrays, items

plain, kind_of_file, limit_time = arrays.to_float32, collection.kind_of_file, worker._limit_time
later = []

def die(name):
    os.kill(os.getpid(), getattr(signal, "SIG" + name))

def say(text):
    os.write(1, text)
    time.sleep(1000)

def to_float32(array):
    match int(array.flat[0]):
        case 201: die("SEGV")
        case 202: die("KILL")
        case 203: time.sleep(1000)
        case 204: time.sleep(0.3)
        case 205: later.append("KILL")
        case 206: os.unlink(os.environ["GONE"]); die("SEGV")
        case 211: say(b"no answer\n")
        case 212: say(b"[" * 300_000 + b"\n")
        case 213: say(b" " * 3_000_000)
        case 214: say(b'[null, null, {"shape": [-3, -3], "spacing": null, "window": null, "notes": []}]\n')
        case 215: say(b'[null, null, {"shape": [3, 3], "spacing": ["wide"], "modality": null, "units": null, '
                      b'"oriented": true, "window": null, "notes": []}]\n' + bytes(36))
        case 216: say(b'["not a checksum", "an error", null]\n')
        case 217: say(b'[null, "an error", null]\n[0, 1, "another"]\n')
        case 218: say(b'[null, "an error", null]\n[7, 3, 1]\n')
    return plain(array)

def kind_of(path):
    if "SEGV" in path.name: die("SEGV")
    return kind_of_file(path)

def limit(budget):
    if later: die(later[0])
    limit_time(budget)

arrays.to_float32 = items.to_float32 = to_float32
collection.kind_of_file, worker._limit_time = kind_of, limit
worker._main()
"""


@pytest.fixture
def traps(tmp_path, monkeypatch) -> None:
    """Workers with `TRAPS`."""
    (tmp_path / "traps.py").write_text(TRAPS)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/traps.py"\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def stack(path: Path, *first: int, size: int = 3) -> Place:
    """A stack of images, by their first pixels."""
    array = np.zeros((len(first), size, size), np.uint8)
    array[:, 0, 0] = first
    np.save(path, array)
    return Place(str(path))


def read_all(*places: Place, workers: int = 2, budget: Budget = DEFAULT) -> list[tuple[int, Found]]:
    return list(read_many(enumerate(places), workers, budget, axes=2))


def told(found: list[tuple[int, Found]]) -> list[tuple[int, str, int | str]]:
    """Which place, which item, and its first pixel or the error without the file's folder."""
    return [
        (key, scan.item, int(scan.scan.pixels[0, 0]) if isinstance(scan.scan, Scan) else str(scan.scan).split("/")[-1])
        for key, scan in found
    ]


def children() -> list[int]:
    """The processes that this one has started, those that are dead and not waited for included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # has just ended
                continue
            if parent == os.getpid():
                found.append(int(entry.name))
    return found


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """No process, thread or open file is left behind."""

    def state() -> tuple[list[int], int, int]:
        return sorted(children()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    before = state()
    yield
    assert state() == before


@pytest.mark.parametrize("workers", [1, 3])
def test_all_scans_in_order(tmp_path, workers):
    places = [stack(tmp_path / f"{i}.npy", *range(i)) for i in range(7)]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for i in range(7):
            archive.write(tmp_path / f"{i}.npy", f"{i}.npy")
    places += [Place(str(tmp_path / name)) for name in ("none.npy", "all.zip", "6.npy#2")]
    places += [Place(str(tmp_path / "6.npy"), "2"), Place(str(tmp_path / "6.npy"), first=1, step=2, end=4)]
    found = read_all(*places, workers=workers)
    here = [(key, item.read()) for key, place in enumerate(places) for item in each(place, axes=2)]
    assert told(found) == told(here)
    for (_, there), (_, scan) in zip(found, here, strict=True):
        assert vars(there) | {"scan": 0} == vars(scan) | {"scan": 0}
        if isinstance(scan.scan, Scan) and isinstance(there.scan, Scan):
            assert np.array_equal(there.scan.pixels, scan.scan.pixels)
            assert vars(there.scan) | {"pixels": 0} == vars(scan.scan) | {"pixels": 0}


def test_no_places():
    assert read_all() == []


@needs_signals
@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("workers", [1, 3])
def test_slow_and_fast_places(tmp_path, workers):
    places = [stack(tmp_path / f"{i}.npy", 204 if i % 4 == 0 else i) for i in range(16)]
    assert [what for _, _, what in told(read_all(*places, workers=workers))] == [
        204 if i % 4 == 0 else i for i in range(16)
    ]


@needs_signals
@linux
@pytest.mark.usefixtures("traps", "nothing_is_left")
@pytest.mark.parametrize("workers", [1, 3])
def test_scans_that_end_their_reader(tmp_path, workers):
    """In the middle of a stack, of an archive, and at the opening of a file: one error each, all others are right."""
    places = [
        stack(tmp_path / "a.npy", 0, 1),
        stack(tmp_path / "b.npy", 201, 2, 202, 3, 201),
        stack(tmp_path / "SEGV.npy", 4, 5),
        stack(tmp_path / "c.npy", 6),
        stack(tmp_path / "d.npy", 202),
        stack(tmp_path / "e.npy", 7, 8),
    ]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in "bae":
            archive.write(tmp_path / f"{name}.npy", f"{name}.npy")
    places.append(Place(str(tmp_path / "all.zip")))
    places.append(Place(str(tmp_path / "b.npy"), first=2, step=2))
    crashed = (
        "the reader crashed on this file (SIGSEGV), which may be damaged or made to do so; or it needs more than the "
        "budget of 6,442,450,944 bytes ('memory_bytes')."
    )
    killed = "the reader was killed, most likely for its memory (budget 6,442,450,944 bytes)."
    found = told(read_all(*places, workers=workers))
    died = {0: crashed, 2: killed, 4: crashed}
    members: list[tuple[str, list[int | str]]]
    members = [("b", [crashed, 2, killed, 3, crashed]), ("a", [0, 1]), ("e", [7, 8])]
    zipped = [(f"{name}.npy#{i}", what) for name, scans in members for i, what in enumerate(scans)]
    assert found == [
        *((0, str(i), i) for i in range(2)),
        *((1, str(i), f"b.npy#{i}: {died[i]}" if i in died else 2 + i // 2) for i in range(5)),
        (2, "", f"SEGV.npy: {crashed}"),
        (3, "0", 6),
        (4, "0", f"d.npy#0: {killed}"),
        *((5, str(i), 7 + i) for i in range(2)),
        *((6, item, f"all.zip#{item}: {what}" if isinstance(what, str) else what) for item, what in zipped),
        (7, "2", f"b.npy#2: {killed}"),
        (7, "4", f"b.npy#4: {crashed}"),
    ]


@needs_signals
@linux
@pytest.mark.usefixtures("traps", "nothing_is_left")
def test_a_reader_that_hangs(tmp_path):
    places = [stack(tmp_path / "a.npy", 1, 203, 2), stack(tmp_path / "b.npy", 3)]
    hung = "reading took longer than the budget of 10 seconds; raise 'seconds' if you trust the file."
    found = read_all(*places, workers=1, budget=Budget(seconds=10))
    assert told(found) == [(0, "0", 1), (0, "1", f"a.npy#1: {hung}"), (0, "2", 2), (1, "0", 3)]


@needs_signals
@pytest.mark.usefixtures("traps")
def test_a_reader_that_dies_between_two_scans(tmp_path):
    """Nothing is lost and nothing comes twice; the scans are larger than what a worker holds back."""
    places = [stack(tmp_path / "a.npy", 1, 205, 2, 205, size=200), stack(tmp_path / "b.npy", 3, size=200)]
    assert [what for _, _, what in told(read_all(*places, workers=1))] == [1, 205, 2, 205, 3]


@needs_signals
@pytest.mark.usefixtures("traps")
def test_a_place_that_cannot_be_opened_again(tmp_path, monkeypatch):
    monkeypatch.setenv("GONE", str(tmp_path / "a.npy"))
    found = told(read_all(stack(tmp_path / "a.npy", 1, 206, 2, 3), stack(tmp_path / "b.npy", 4), workers=1))
    assert [what for _, _, what in found[::3]] == [1, 4]
    assert [str(what).startswith("a.npy") for _, _, what in found] == [False, True, True, False]
    assert found[2][2] == "a.npy: there is no such file."


@needs_signals
@pytest.mark.usefixtures("traps")
@pytest.mark.parametrize("mark", [211, 212, 213, 214, 215, 216, 217, 218])
def test_a_reader_that_was_taken_over(tmp_path, mark):
    """What it says of other scans is not believed, and it cannot fill the memory or stop the job."""
    found = told(read_all(stack(tmp_path / "a.npy", 1, mark, 2), stack(tmp_path / "b.npy", 3), workers=1))
    error = found.pop(1)
    assert error[:2] == (0, "1")
    assert "an error" in str(error[2]) if mark in (217, 218) else "makes no sense" in str(error[2])
    assert found == [(0, "0", 1), (0, "2", 2), (1, "0", 3)]


def test_questions_that_do_not_fit_into_a_pipe(tmp_path):
    """A worker that is busy with an answer of a megabyte does not read them."""
    large = [stack(tmp_path / f"{i}.npy", i, size=600) for i in range(3)]
    long = Place("x" * 300_000)
    found = read_all(large[0], long, large[1], long, large[2], workers=1)
    assert [key for key, _ in found] == [0, 1, 2, 3, 4]
    assert [scan.scan.pixels[0, 0] for _, scan in found[::2] if isinstance(scan.scan, Scan)] == [0, 1, 2]
    assert all(isinstance(scan.scan, LiquidLensError) for _, scan in found[1::2])


@linux
def test_workers_stop_while_nothing_is_taken(tmp_path):
    """By how far they have come in their file."""
    place = stack(tmp_path / "stack.npy", *(i % 200 for i in range(4000)), size=64)
    before = set(children())
    found = read_many([(0, place)], 1, axes=2, ahead=2**18)
    next(found)
    [worker] = set(children()) - before

    def position() -> int:
        for file in Path(f"/proc/{worker}/fd").iterdir():
            if os.readlink(file) == place.path:
                return int(Path(f"/proc/{worker}/fdinfo/{file.name}").read_text().split()[1])
        raise AssertionError("the file is not open")

    last = -1
    while (now := position()) != last:
        last = now
        time.sleep(0.5)
    assert now < 200 * 64 * 64
    assert sum(1 for _ in found) == 3999


@linux
@pytest.mark.usefixtures("nothing_is_left")
def test_places_are_asked_for_a_few_dozen_ahead(tmp_path):
    place, asked = stack(tmp_path / "scan.npy", 7), []

    def places() -> Iterator[tuple[int, Place]]:
        for i in range(2000):
            asked.append(i)
            yield i, place

    found = read_many(places(), 2, axes=2)
    assert next(found)[0] == 0
    last = -1
    while len(asked) != last:
        last = len(asked)
        time.sleep(0.5)
    assert last < 200
    assert [key for key, _ in found] == list(range(1, 2000))


@linux
def test_errors_do_not_fill_the_memory(tmp_path):
    """A stack of scans that are none."""
    np.save(tmp_path / "none.npy", np.full((20_000, 16, 16), np.nan, np.float32))
    before = set(children())
    found = read_many([(0, Place(str(tmp_path / "none.npy")))], 1, axes=2, ahead=2**18)
    next(found)
    [worker] = set(children()) - before

    def position() -> int:
        return max(
            int(file.read_text().split()[1]) for file in Path(f"/proc/{worker}/fdinfo").iterdir() if int(file.name) > 2
        )

    last = -1
    while (now := position()) != last:
        last = now
        time.sleep(0.5)
    assert now < 5_000 * 16 * 16 * 4
    found.close()  # type: ignore[attr-defined]


@linux
@pytest.mark.usefixtures("nothing_is_left")
def test_the_caller_stops(tmp_path):
    places = [stack(tmp_path / f"{i}.npy", *range(50), size=200) for i in range(3)]
    found = read_many(enumerate(places), 3, axes=2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        _ = [1 / (key - 1) for key, _ in read_many(enumerate(places), 3, axes=2)]


@linux
@needs_signals
@pytest.mark.usefixtures("traps", "nothing_is_left")
def test_the_caller_stops_while_readers_hang(tmp_path):
    found = read_many(enumerate([stack(tmp_path / "a.npy", 1, 203), stack(tmp_path / "b.npy", 203)]), 2, axes=2)
    next(found)
    found.close()  # type: ignore[attr-defined]


@linux
@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("error", [ValueError, SystemExit, LiquidLensError])
def test_an_error_among_the_places(tmp_path, error):
    def places() -> Iterator[tuple[int, Place]]:
        yield 0, stack(tmp_path / "a.npy", *range(9))
        yield 1, stack(tmp_path / "b.npy", 9)
        raise error("no more")

    seen: list[int] = []
    with pytest.raises(error, match="no more"):
        seen.extend(found.number for _, found in read_many(places(), 2, axes=2))
    assert seen == [*range(9), 0]


def test_places_that_wait_for_what_was_found(tmp_path):
    """Scans are given back while the next place is waited for."""
    taken = threading.Event()

    def places() -> Iterator[tuple[int, Place]]:
        yield 0, stack(tmp_path / "a.npy", 0)
        yield 1, stack(tmp_path / "b.npy", 1 if taken.wait(60) else 2)

    pixels = []
    for _, found in read_many(places(), 2, axes=2):
        assert isinstance(found.scan, Scan)
        pixels.append(found.scan.pixels[0, 0])
        taken.set()
    assert pixels == [0, 1]


@linux
@pytest.mark.usefixtures("nothing_is_left")
def test_small_files_are_closed(tmp_path):
    place = stack(tmp_path / "scan.npy", 7)
    before = set(children())
    found = read_many(((i, place) for i in range(1500)), 1, axes=2)
    for key, _ in found:
        if key == 1400:
            [worker] = set(children()) - before
            assert len(os.listdir(f"/proc/{worker}/fd")) < 10


def program(code: str) -> subprocess.Popen[str]:
    """A program in a process group of its own, whose workers are those of this one."""
    code = f"import sys\nsys.executable = {sys.executable!r}\n{code}"
    return subprocess.Popen(
        [PYTHON, "-c", code],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


@linux
@pytest.mark.usefixtures("traps")
def test_a_caller_that_is_killed_leaves_no_reader(tmp_path):
    """Not even one that hangs."""
    place = stack(tmp_path / "a.npy", 1, 203)
    code = f"""
from liquidlens.imaging.collection import Place
from liquidlens.imaging.readers import read_many
from tests.imaging.test_readers import children
found = read_many([(i, Place({place.path!r})) for i in range(2)], 2, axes=2)
next(found)
print(*children(), flush=True)
next(found)
"""
    with program(code) as caller:
        assert caller.stdout is not None
        workers = caller.stdout.readline().split()
        caller.kill()
    assert len(workers) == 2

    def gone(worker: str) -> bool:
        try:
            return "(zombie)" in Path(f"/proc/{worker}/status").read_text()
        except OSError:
            return True

    wait_until(lambda: all(map(gone, workers)))


@linux
@pytest.mark.usefixtures("traps")
def test_ctrl_c_is_for_the_caller(tmp_path):
    """A caller that goes on gets all scans."""
    place = stack(tmp_path / "a.npy", *range(5), size=200)
    code = f"""
import signal
from liquidlens.imaging.collection import Place
from liquidlens.imaging.readers import read_many
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
found = read_many([(i, Place({place.path!r})) for i in range(30)], 2, axes=2)
next(found)
print("ready", flush=True)
while not caught:
    signal.sigtimedwait([], 0.1)
print(*(int(scan.scan.pixels[0, 0]) for _, scan in found))
"""
    with program(code) as caller:
        assert caller.stdout is not None
        assert caller.stderr is not None
        assert caller.stdout.readline() == "ready\n"
        os.killpg(caller.pid, signal.SIGINT)
        assert caller.stdout.read().split() == [str(i % 5) for i in range(1, 150)]
        assert caller.stderr.read() == ""
