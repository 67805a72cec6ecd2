"""What is kept of one's own scans: the second start opens no file, damage is mended, and nobody else can look."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from liquidlens import train
from liquidlens.commands import app
from liquidlens.errors import LiquidLensError
from liquidlens.imaging.phantoms import nodules
from liquidlens.manifest import InputContract
from liquidlens.train import datasets
from liquidlens.train.datasets import cache, readers
from liquidlens.train.datasets.cache import Cache, key_of, opened
from liquidlens.train.datasets.table import inquiry
from liquidlens.train.loop.prepare import prepare

CONTRACT = InputContract("hu", (8, 8, 8), (-1000.0, 400.0))
SCANS = 16
opened_files: list[str] = []


def _note(event: str, arguments: tuple) -> None:
    if event == "open":
        opened_files.append(str(arguments[0]))
    elif event == "subprocess.Popen":
        opened_files.append("a worker process")


sys.addaudithook(_note)  # it cannot be taken back; it only notes


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    return tmp_path / "cache" / "scans"


@pytest.fixture(params=["nifti", "dicom"])
def table(request, tmp_path) -> Path:
    """Scans and masks; the patients of DICOM are known from the files alone."""
    written = nodules.write_lung_nodules(tmp_path / "set", SCANS, request.param)
    if request.param == "dicom":
        lines = [line.split(",") for line in written.read_text().splitlines()]
        written.write_text("\n".join(",".join(line[:2] + line[3:]) for line in lines))
    return written


def inputs_of(table: Path) -> tuple[datasets.Dataset, torch.Tensor]:
    dataset = datasets.load(str(table))
    return dataset, torch.cat([prepare(dataset.scans[split], CONTRACT) for split in datasets.SPLITS])


def touched(table: Path) -> list[str]:
    """The scans that were opened since this was asked last."""
    found = [name for name in opened_files if name.startswith((f"{table.parent}/", "a worker")) and name != str(table)]
    opened_files.clear()
    return found


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_second_start_opens_no_scan_and_finds_the_same(table, folder):
    touched(table)
    first, inputs = inputs_of(table)
    assert len(set(touched(table))) >= 2 * SCANS, "scans and masks"
    second, again = inputs_of(table)
    assert touched(table) == []
    assert torch.equal(inputs, again)
    assert (first.md5, first.origins, first.notes) == (second.md5, second.origins, second.notes)
    assert np.array_equal(first.scans["test"][0], second.scans["test"][0])


def test_training_twice_opens_no_scan(tmp_path, folder):
    table = nodules.write_lung_nodules(tmp_path / "set", SCANS)
    how = {"recipe": "quick", "changes": {"max_epochs": 2}, "size": (8, 28, 28), "progress": False}
    train.train("LiqExp1N2", str(table), runs=tmp_path / "first", **how)
    touched(table)
    train.train("LiqExp1N2", str(table), runs=tmp_path / "second", **how)
    assert touched(table) == []


def test_what_was_read_before_an_interruption_is_kept(table, folder, monkeypatch):
    read, asked = inquiry.facts_of, []

    def interrupted(row):
        asked.append(row)
        if len(asked) == SCANS - 3:
            raise KeyboardInterrupt
        return read(row)

    monkeypatch.setattr(inquiry, "facts_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        datasets.load(str(table))
    monkeypatch.setattr(inquiry, "facts_of", lambda row: asked.append(row) or read(row))
    asked.clear()
    datasets.load(str(table))
    assert len(asked) == 4


def test_what_changed_is_read_and_nothing_else(table, folder):
    first, _ = inputs_of(table)
    touched(table)
    prepare(first.scans["train"], InputContract("hu", (9, 8, 8), (-1000.0, 400.0)))
    assert touched(table), "for another size"
    mask = table.parent / "mask" / "scan-003.nii.gz"
    nodules.write_nifti(mask, np.ones(first.origins["train"][0].facts.shape, np.uint8), (1, 1, 1))
    with pytest.raises(LiquidLensError, match=r"row 4: the mask .*scan-003\.nii\.gz is of"):
        inputs_of(table)
    headers = ".dcm"  # are looked at again for who is who among what is left
    assert all("scan-003" in name or name.endswith(headers) for name in touched(table))


def test_a_copy_elsewhere_is_looked_at_and_not_prepared_again(tmp_path, folder):
    first, inputs = inputs_of(nodules.write_lung_nodules(tmp_path / "set", SCANS))
    before = len(entries(folder))
    second, again = inputs_of(nodules.write_lung_nodules(tmp_path / "copy", SCANS))
    assert torch.equal(inputs, again)
    assert first.md5 == second.md5
    assert len(entries(folder)) == before + SCANS, "facts by the place, what was prepared by the content"


def test_damaged_entries_are_made_anew(table, folder):
    _, inputs = inputs_of(table)
    for i, path in enumerate(sorted(entries(folder))):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content) if i % 3 else b"" if i % 2 else bytes(content[:40]))
    _, again = inputs_of(table)
    assert torch.equal(inputs, again)
    touched(table)
    inputs_of(table)
    assert touched(table) == []


def test_it_is_for_its_owner_and_names_nobody(table, folder):
    old = os.umask(0)
    try:
        inputs_of(table)
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in entries(folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        assert b"P001" not in content
        assert b"scan-001" not in content
        assert not content[cache._DIGEST :].startswith(b"\x80"), "no pickle"
    folder.chmod(0o755)
    opened()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_oldest_go_first(tmp_path):
    kept = Cache(tmp_path / "cache", 1000)
    keys = [key_of("entry", i) for i in range(10)]
    for i, key in enumerate(keys):
        kept.put(key, bytes(100))
        os.utime(kept._path(key), (i, i))
        kept.get(keys[0])  # always the last one that was used
    found = [i for i, key in enumerate(keys) if kept.get(key)]
    assert found[0] == 0
    assert found[1:] == list(range(10))[-len(found) + 1 :]
    assert 4 <= len(found) <= 7
    assert sum(path.stat().st_size for path in entries(kept.folder)) <= 1000


def test_it_can_be_turned_off(table, folder, monkeypatch):
    monkeypatch.setenv(cache.FOLDER, "off")
    _, inputs = inputs_of(table)
    touched(table)
    _, again = inputs_of(table)
    assert len(touched(table)) >= SCANS
    assert torch.equal(inputs, again)
    assert not folder.exists()


def test_a_folder_that_will_not_do_is_a_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    table = nodules.write_lung_nodules(tmp_path / "set", SCANS)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "scans").symlink_to(tmp_path / "set")
    for name in ("file", "link"):
        monkeypatch.setenv(cache.FOLDER, str(tmp_path / name))
        datasets.load(str(table))
        assert "LIQUIDLENS_CACHE" in capsys.readouterr().err
    monkeypatch.setenv(cache.SIZE, "much")
    with pytest.raises(LiquidLensError, match="LIQUIDLENS_CACHE_GB is a number of gigabytes, not 'much'"):
        opened()


def test_the_command_clears_it(table, folder, monkeypatch):
    inputs_of(table)
    count = len(entries(folder))
    said = CliRunner().invoke(app, ["data", "--clear-cache"], catch_exceptions=False).output
    assert f"{count} entries of" in said
    assert entries(folder) == []
    monkeypatch.setenv(cache.FOLDER, str(folder.parent))  # put back after --no-cache has changed it
    command = ["data", str(table), "--no-cache", "--out", str(table.parent / "page.html")]
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert entries(folder) == []


def test_workers_read_the_same_and_say_the_same(tmp_path, folder, monkeypatch):
    table = nodules.write_lung_nodules(tmp_path / "set", 2 * readers.EACH)
    monkeypatch.setenv(cache.FOLDER, "off")
    monkeypatch.setattr(readers, "usable_cores", lambda: 1)
    first, inputs = inputs_of(table)
    monkeypatch.setattr(readers, "usable_cores", lambda: 2)
    touched(table)
    second, again = inputs_of(table)
    assert touched(table).count("a worker process") == 2
    assert first.md5 == second.md5
    assert torch.equal(inputs, again)
    (table.parent / "image" / "scan-005.nii.gz").write_bytes(b"\x1f\x8b and nothing")
    with pytest.raises(LiquidLensError, match=r"row 6: .*scan-005\.nii\.gz"):
        datasets.load(str(table))


def test_progress_is_said_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(readers, "_LINE", -1)
    assert list(readers.each([1, 2], str, "reading set")) == ["1", "2"]
    assert capsys.readouterr().err == "reading set: 1 of 2\nreading set: 2 of 2\n"


def test_progress_is_a_bar_on_a_terminal():
    code = "from liquidlens.train.datasets.readers import each; print(list(each(range(3), str, 'reading scans')))"
    shown, terminal = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=terminal, check=True)
    os.close(terminal)
    assert done.stdout == b"['0', '1', '2']\n"
    assert b"reading scans" in os.read(shown, 4096)
    os.close(shown)
