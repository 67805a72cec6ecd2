"""Reading in a process of its own: the same scan, the same errors, and a caller that survives everything."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Budget, read, read_safely
from liquidlens.imaging.safely import Reader
from tests.imaging.dicoms import enhanced, image, phantom, save


def test_the_worker_gives_the_same_scan(tmp_path):
    path = save(enhanced(phantom(), [2, 0, 3, 1]), tmp_path / "ct.dcm")
    here, there = read(path), read_safely(path)
    assert np.array_equal(here.pixels, there.pixels)
    assert {**vars(here), "pixels": 0} == {**vars(there), "pixels": 0}
    rgb = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    assert np.array_equal(read_safely(save(image(rgb), tmp_path / "rgb.dcm"), colour=True).pixels, rgb)


def test_the_worker_gives_the_same_error(tmp_path):
    np.save(tmp_path / "many.npy", np.zeros((2, 3, 4, 5)))
    for name, budget in (("none.npy", Budget()), ("many.npy", Budget()), ("many.npy#0", Budget(pixels=10))):
        with pytest.raises(LiquidLensError) as here:
            read(tmp_path / name, budget)
        with pytest.raises(LiquidLensError) as there:
            read_safely(tmp_path / name, budget)
        assert str(here.value) == str(there.value)


def test_several_threads_read_at_once(tmp_path):
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.full((2, 3), i))
    with ThreadPoolExecutor(4) as pool:
        scans = list(pool.map(read_safely, [tmp_path / f"{i}.npy" for i in range(4)]))
    assert [scan.pixels[0, 0] for scan in scans] == [0, 1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
def test_memory_over_the_budget(tmp_path):
    with (tmp_path / "large.npy").open("wb") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": (1024, 1024, 1024)}
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 2**30)  # takes no space
    with pytest.raises(LiquidLensError, match=r"large\.npy: there is not enough memory .* 'memory_bytes'"):
        read_safely(tmp_path / "large.npy", Budget(pixels=2**30, memory_bytes=700 * 2**20))


def test_time_over_the_budget(tmp_path):
    np.save(tmp_path / "scan.npy", np.zeros((2, 3)))
    with pytest.raises(LiquidLensError, match=r"scan\.npy: reading took longer than the budget of 0\.01 seconds"):
        read_safely(tmp_path / "scan.npy", Budget(seconds=0.01))


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_real_file_that_aborts_its_decoder(tmp_path):
    """Lossless JPEG without its Huffman table: GDCM 3.2 ends the whole process."""
    whole = Path(pydicom.__file__).parent / "data" / "test_files" / "SC_rgb_jpeg_gdcm.dcm"
    (tmp_path / "scan.dcm").write_bytes(whole.read_bytes().replace(b"\xff\xc4", b"\xce\xc4", 1))
    with pytest.raises(LiquidLensError, match=r"scan\.dcm: (the reader crashed on this file|the pixels .* be decoded)"):
        read_safely(tmp_path / "scan.dcm")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(
    ("death", "sentence"),
    [
        ("SEGV", r"the reader crashed on this file \(SIGSEGV\)"),
        ("ABRT", r"the reader crashed on this file \(SIGABRT\)"),
        ("KILL", "the reader was killed, most likely for its memory"),
        ("XCPU", "reading took longer than the budget of 120 seconds"),
    ],
)
def test_a_worker_that_dies_is_a_sentence(tmp_path, monkeypatch, death, sentence):
    """The interpreter is replaced by a program that dies as a broken decoder does."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "half an answ"\nkill -{death} $$\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(LiquidLensError, match=rf"scan\.npy: {sentence}"):
        read_safely("scan.npy")


def test_the_worker_imports_nothing_large():
    code = "import sys, liquidlens.imaging.worker; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "liquidlens.imaging.read" in loaded
    assert not loaded & {"torch", "gradio", "onnxruntime", "pydicom", "nibabel", "PIL", "highdicom"}


def test_relative_paths_mean_the_callers_folder(tmp_path, monkeypatch):
    np.save(tmp_path / "scan.npy", np.ones((2, 3)))
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    assert read_safely("scan.npy").pixels.shape == (2, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_reader_that_is_interrupted_does_not_mix_up_its_answers(tmp_path, monkeypatch):
    """Ctrl-C comes while the first answer is waited for, as the interpreter is slow to start."""
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full((2, 3), i))
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nsleep 1\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o700)
    with Reader() as reader:
        with monkeypatch.context() as slow:
            slow.setattr(sys, "executable", str(program))
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                reader.read(tmp_path / "0.npy")
        assert [reader.read(tmp_path / f"{i}.npy").pixels[0, 0] for i in (1, 2)] == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_reader_keeps_its_worker_and_outlives_it(tmp_path, monkeypatch):
    """The interpreter is replaced by one that dies of one of the scans."""
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", np.full((2, 3), i))
    (tmp_path / "dies.py").write_text(
        "import os, sys\n"
        "from liquidlens.imaging import worker\n"
        "read = worker._read\n"
        "worker._read = lambda source, *rest: os.abort() if source.endswith('2.npy') else read(source, *rest)\n"
        "print(os.getpid(), file=open(sys.argv[0] + '.started', 'a'))\n"
        "worker._main()\n"
    )
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/dies.py"\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with Reader() as reader:
        assert [reader.read(tmp_path / f"{i}.npy").pixels[0, 0] for i in (0, 1)] == [0, 1]
        with pytest.raises(LiquidLensError, match=r"2\.npy: the reader crashed on this file \(SIGABRT\)"):
            reader.read(tmp_path / "2.npy")
        with pytest.raises(LiquidLensError, match=r"none\.npy: there is no such file"):
            reader.read(tmp_path / "none.npy")
        assert [reader.read(tmp_path / f"{i}.npy").pixels[0, 0] for i in (3, 4)] == [3, 4]
    assert len((tmp_path / "dies.py.started").read_text().split()) == 2
