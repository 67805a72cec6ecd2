"""The journal: what survives a kill."""

from dataclasses import replace

import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.collection import Place
from liquidlens.serve.batch.journal import Job, Journal

JOB = Job("LiqExp1N2", "ab" * 32, "cd" * 32, "1/1")
WINDOWS = [
    ([{"input": 0}, {"input": 1, "number": 0}], (1, 1)),
    ([{"input": 1, "number": 1}], (1, 2)),
    ([{"input": 1, "number": 2}, {"input": 2}], (3, 0)),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.csv.journal"
    journal = Journal(path, JOB)
    for window in WINDOWS:
        journal.append(*window)
    journal.close()
    return path


def test_cut_off_anywhere_it_keeps_all_whole_windows(path):
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = max(0, sum(end <= length for end in ends) - 1)
        journal = Journal(path, JOB)
        assert list(journal.read()) == [row for rows, _ in WINDOWS[:kept] for row in rows]
        assert journal.rows == len(list(journal.read()))
        for window in WINDOWS[kept:]:
            journal.append(*window)
        journal.close()
        assert path.read_bytes() == whole


def test_it_knows_what_is_left(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    journal = Journal(path, JOB)
    assert journal.left(0, Place("a")) is None
    assert journal.left(1, Place("b", "x")) == Place("b", "x", first=2)
    assert journal.left(2, Place("c", first=1, step=3)) == Place("c", first=1, step=3)
    journal.close()


def test_it_can_be_begun_anew(path):
    journal = Journal(path, JOB, anew=True)
    assert journal.rows == 0
    assert journal.left(0, Place("a")) == Place("a")
    journal.close()


def test_another_job(path):
    for other, sentence in (
        (replace(JOB, model_sha256="ef" * 32), "holds rows of another model: LiqExp1N2, SHA-256 abababab"),
        (replace(JOB, inputs="ef" * 32), "holds rows of other inputs: some came, went, or were named in another way"),
        (replace(JOB, shard="1/2"), "holds rows of another part of the scans: 1/1, not 1/2"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            Journal(path, other)
    assert Journal(path, JOB).rows == 5


def test_no_journal(path):
    for content in (b"path,label\n", b"precious", b"{}\n", b"\x00\xff\n"):
        path.write_bytes(content)
        with pytest.raises(LiquidLensError, match="is no journal of a batch; move it out of the way"):
            Journal(path, JOB)
        assert path.read_bytes() == content
    path.write_bytes(b"")
    assert Journal(path, JOB).rows == 0


def test_damage_in_the_middle_is_found(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\x00" * 20 + b"\n", *lines[2:]]))
    with pytest.raises(LiquidLensError, match="line 2 is damaged"):
        Journal(path, JOB)


def test_only_one_process_may_have_it(path):
    journal = Journal(path, JOB)
    with pytest.raises(LiquidLensError, match="another process is at work on it"):
        Journal(path, JOB)
    journal.close()
    Journal(path, JOB).close()
