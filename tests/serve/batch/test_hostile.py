"""500 broken and hostile files among 5,000 good ones: 5,000 answers, 500 errors that name their files."""

import gzip
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from liquidlens import commands
from liquidlens.errors import LiquidLensError, printable
from liquidlens.imaging import Budget
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.engine import Options
from liquidlens.serve.batch.inputs import Inputs
from liquidlens.serve.batch.job import run
from tests.imaging.dicoms import image, save

GOOD, EACH = 5_000, 50


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def claims(shape: tuple[int, ...]) -> bytes:
    """An array of a few bytes that says it is large."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + b"\0" * 64


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "../"), content)
    return buffer.getvalue()


def volume(rng: np.random.Generator) -> bytes:
    values = rng.integers(0, 255, (9, 9, 9), np.uint8)
    return nibabel.Nifti1Image(values, np.eye(4)).to_bytes()


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit in the first 100 bytes of a deflated stream is another."""
    at = int(rng.integers(20, min(100, len(content))))
    return content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]


def aborting() -> bytes:
    """A lossless JPEG without its Huffman table, on which GDCM ends the whole process."""
    whole = Path(pydicom.__file__).parent / "data" / "test_files" / "SC_rgb_jpeg_gdcm.dcm"
    return whole.read_bytes().replace(b"\xff\xc4", b"\xce\xc4", 1)


#: Endings, and what makes the content of a file.
KINDS: dict[str, Callable[[np.random.Generator], bytes]] = {
    "cut.npy": lambda rng: npy(np.ones((9, 9, 9)))[: int(rng.integers(0, 1000))],
    "pickled.npy": lambda rng: b"\x93NUMPY" + pickle.dumps({"a": 1}),
    "objects.npy": lambda rng: npy(np.array([{}, {}])),
    "claims.npy": lambda rng: claims((2**20, 2**20, 2**20)),
    "nan.npy": lambda rng: npy(np.full((3, 3, 3), np.nan, np.float32)),
    "bomb.npz": lambda rng: archive(**{"a.npy": claims((3, 2**12, 2**12)) + b"\0" * 2**25})[:-200],
    "outside.zip": lambda rng: archive(**{"__scan.npy": npy(np.ones((3, 3, 3)))}),
    "flipped.nii.gz": lambda rng: flipped(gzip.compress(volume(rng), mtime=0), rng),
    "cut.nii": lambda rng: volume(rng)[: int(rng.integers(0, 1000))],
    "image.png": lambda rng: b"\x89PNG\r\n\x1a\n" + rng.bytes(100),
}


@pytest.fixture
def study(tmp_path, vessels) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "study"
    folder.mkdir()
    good = [npy(vessel) for vessel in vessels]
    for i in range(GOOD):
        (folder / f"{i:04}.npy").write_bytes(good[i % len(good)])
    for kind, content in KINDS.items():
        for i in range(EACH):
            (folder / f"{int(rng.integers(GOOD)):04}-{i}-{kind}").write_bytes(content(rng))
    return folder


def test_500_hostile_files_among_5000(predictor, study, tmp_path):
    summary = run(predictor, Inputs([str(study)], 3), tmp_path / "out.csv", Options(readers=2))
    assert (summary.scans, summary.errors) == (GOOD + EACH * len(KINDS), EACH * len(KINDS))
    previous = ""
    for row in tables.rows(tmp_path / "out.csv"):
        name = Path(row["path"]).name
        assert previous < name
        previous = name
        if name.count("-"):
            assert row["error"].startswith(f"{row['path']}: ") or row["error"].startswith(f"{row['path']}#")
            assert row["error"].endswith(".")
            assert "\n" not in row["error"]
        else:
            assert row["error"] is None


@pytest.mark.parametrize("name", ["out.csv.partial", "out.csv.journal", "out.csv", "out.csv.parts"])
def test_links_beside_the_table_are_not_followed(predictor, tmp_path, vessels, name):
    """Somebody who may write to the folder lays one there, to something of whoever runs the job."""
    np.save(tmp_path / "scan.npy", vessels[0])
    private = tmp_path / "private"
    private.mkdir()
    (private / "file").write_text("precious")
    (tmp_path / name).symlink_to(private if name.endswith("parts") else private / "file")
    with suppress(LiquidLensError):
        run(
            predictor, Inputs([str(tmp_path / "scan.npy")], 3), tmp_path / "out.csv", Options(readers=1), overwrite=True
        )
    assert (private / "file").read_text() == "precious"
    assert [path.name for path in private.iterdir()] == ["file"]
    assert name.endswith(("journal", "parts")) or len(list(tables.rows(tmp_path / "out.csv"))) == 1


NAMES = ["=1+1.npy", "a\x1b[2Jb.npy", "a\nb.npy", "\u202egpj.npy", "b\udcff.npy", "caf\u00e9 \u202fx.npy"]


@pytest.mark.skipif(os.name == "nt", reason="needs names that Windows has not")
def test_names_steer_no_terminal_and_no_spreadsheet(tmp_path, vessels, capsys, monkeypatch):
    """Neither what is printed nor any table holds a control character; each scan has its row."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        np.save(io.BytesIO(), vessels[0])
        Path(name).write_bytes(npy(vessels[0]))
        Path(f"no-{name}").write_bytes(b"no scan")
    with zipfile.ZipFile("z.zip", "w") as file:
        file.writestr("x\x1b[31m\u2028.npy", npy(vessels[0]))
    for ending in tables.FORMATS:
        out = f"out{ending}"
        sources = [*NAMES, *(f"no-{name}" for name in NAMES), "z.zip"]
        monkeypatch.setattr(sys, "argv", ["liquidlens", "batch", "vessel", *sources, "--out", out])
        with suppress(SystemExit):
            commands.main()
        printed = "".join(capsys.readouterr())
        rows = list(tables.rows(Path(out)))
        assert len(rows) == len(sources)
        shown = [value for row in rows for value in row.values() if isinstance(value, str)]
        assert all(printable(line) == line for line in [*printed.splitlines(), *shown])
        assert "\x1b" not in printed
        assert rows[5]["path"] == NAMES[5], "spaces of all kinds are letters of names"
    cells = [line.split(",")[3] for line in Path("out.csv").read_text().splitlines()]
    assert "'=1+1.npy" in cells


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_files_that_hang_or_kill_their_reader_cost_only_themselves(predictor, tmp_path, vessels):
    folder = tmp_path / "study"
    folder.mkdir()
    for i in range(40):
        np.save(folder / f"{i:02}.npy", vessels[i])
    for i in (3, 17):
        os.mkfifo(folder / f"{i:02}-pipe.npy")  # whoever opens it waits for somebody who writes
    for i in (5, 30):
        (folder / f"{i:02}").mkdir()
        (folder / f"{i:02}" / "aborts.dcm").write_bytes(aborting())
        save(image(np.ones((5, 6), np.uint8)), folder / f"{i:02}" / "other.dcm")
    options = Options(readers=2, budget=Budget(seconds=20))
    summary = run(predictor, Inputs([str(folder)], 3), tmp_path / "out.csv", options)
    errors = {row["path"].rpartition("/")[2]: row["error"] for row in tables.rows(tmp_path / "out.csv") if row["error"]}
    assert summary.scans - summary.errors == 40
    assert set(errors) == {"03-pipe.npy", "17-pipe.npy", "05", "30"}
