"""Failure under way: the disk fills up or is read-only.  Nothing is half-written, and what was there is as it was.

The disks are real ones, of a few kilobytes of memory, mounted for one process and its children.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing
from liquidlens.imaging import phantoms
from liquidlens.serve.predict import pretrained
from liquidlens.train.run import RunFolder

MODEL = pretrained.find("vessel")

# Mounts a disk of so many kilobytes on a folder, puts something on it, runs a command, and keeps what is left there.
MOUNT = """
disk=$1 size=$2 options=$3 before=$4 after=$5; shift 5
mount -t tmpfs -o size=${size}k none "$disk" && cp -a "$before/." "$disk" || exit 77
mount -o remount,$options "$disk" || exit 77
"$@"; code=$?
cp -a "$disk/." "$after"
exit $code
"""


class Disk:
    """A small disk at `path`, which only commands that are run on it see."""

    def __init__(self, folder: Path):
        self.path, self.before, self.after = (folder / name for name in ("disk", "before", "after"))
        for path in (self.path, self.before, self.after):
            path.mkdir()

    def run(self, *command, kilobytes: int, options: str = "rw") -> str:
        """Run `liquidlens` with the disk, of which `after` is a copy in the end; returns the sentence it fails with."""
        mount = ("unshare", "-rm", "sh", "-c", MOUNT, "sh", self.path, kilobytes, options, self.before, self.after)
        command = (*mount, sys.executable, "-m", "liquidlens", *command)
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode in (1, 77) and "Error" not in done.stderr:
            pytest.skip(f"needs to mount a disk of its own: {done.stderr.strip()}")
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.after)) for path in self.after.rglob("*") if path.is_file())


@pytest.fixture
def disk(tmp_path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, phantoms.vessel3d(splits={"test": 1})["test_images"][0])
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_met_a_full_disk_goes_on(disk, tmp_path):
    """And ends as one that did not."""
    made = phantoms.vessel3d(splits={"train": 40})
    for i, (volume, label) in enumerate(zip(made["train_images"], made["train_labels"][:, 0], strict=True)):
        (tmp_path / "vessels" / str(label)).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "vessels" / str(label) / f"{i}.npy", volume)
    train = ("train", "CNNExp2N4", tmp_path / "vessels", "--recipe", "quick", "--epochs", 2, "--runs")
    error = disk.run(*train, disk.path, kilobytes=330)  # for one epoch's checkpoint, and not for the next beside it
    name = "vessels-CNNExp2N4-quick+max_epochs=2-seed0"
    full = disk.path / name / "unfinished.ckpt"
    assert error.splitlines()[-1] == f"Error: {full}: cannot be written (No space left on device)."
    assert disk.left() == [
        f"{name}/{file}"
        for file in ("history.csv", "recipe.json", "split.csv", "unfinished.ckpt", "weights.safetensors")
    ]
    for runs in (disk.after, tmp_path / "runs"):
        subprocess.run([sys.executable, "-m", "liquidlens", *map(str, (*train, runs))], check=True)
    resumed, whole = RunFolder(disk.after / name), RunFolder(tmp_path / "runs" / name)
    assert resumed.metrics().best == whole.metrics().best
    assert (resumed.path / "weights.safetensors").read_bytes() == (whole.path / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("options", "spare", "why"), [("rw", 40, "No space left on device"), ("ro", 9999, "Read-only file system")]
)
def test_a_bundle_is_replaced_whole_or_not_at_all(disk, liquid_run, liquid_bundle, options, spare, why):
    shutil.copytree(liquid_bundle.path, disk.before / "bundle")
    size = sum(-(-len(file) // 4096) * 4 for file in content(disk.before).values())
    export = ("export", liquid_run.path, "--variants", "", "--out", disk.path / "bundle")
    error = disk.run(*export, kilobytes=size + spare, options=options)
    assert error == f"Error: {disk.path / 'bundle'}: cannot be written ({why}).\n"
    assert content(disk.after) == content(disk.before)


@pytest.mark.parametrize("command", ["audit", "explain", "batch"])
@pytest.mark.parametrize("options", ["rw", "ro"])
def test_a_page_or_table_is_written_whole_or_not_at_all(disk, scan, command, options):
    arguments = {
        "audit": (MODEL, "--html", disk.path / "old.html"),
        "explain": (MODEL, scan, "--out", disk.path / "old.html"),
        "batch": (MODEL, scan, "--overwrite", "--out", disk.path / "old.csv"),
    }
    for name in ("old.html", "old.csv"):
        (disk.before / name).write_text("what was there")
    error = disk.run(command, *arguments[command], kilobytes=8, options=options)
    assert str(arguments[command][-1]) in error
    assert ("No space left on device" if options == "rw" else "Read-only file system") in error
    assert content(disk.after) == content(disk.before)


def test_a_bundle_is_signed_or_not(disk, tmp_path):
    shutil.copytree(MODEL.parent, disk.before / "bundle")
    subprocess.run([sys.executable, "-m", "liquidlens", "keygen", tmp_path / "key.pem"], check=True)
    error = disk.run("sign", disk.path / "bundle", "--key", tmp_path / "key.pem", kilobytes=9999, options="ro")
    assert error == f"Error: {disk.path / 'bundle' / 'model.sig'}: cannot be written (Read-only file system).\n"
    assert content(disk.after) == content(disk.before)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text(f"second {1 / 0}")
    assert path.read_text() == "first"
    with (
        pytest.raises(LiquidLensError, match=r"a\.txt/b: cannot be written \(Not a directory\)\."),
        replacing(path / "b") as partial,
    ):
        partial.write_text("below a file")
    assert content(tmp_path) == {"a.txt": b"first"}
