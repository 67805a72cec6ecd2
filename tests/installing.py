"""The wheel, and fresh environments that hold it and nothing but what it asks for.

Nothing is downloaded: the other packages are those of the environment at hand, linked into the new one.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path

import nibabel
import numpy as np
from packaging.requirements import Requirement

from liquidlens.imaging import phantoms

ROOT = Path(__file__).parents[1]
#: Packages of a user's own, beside which the installed one has to live.
TAKEN = ("models", "train", "serve", "export", "imaging", "tests", "scripts", "benchmarks")


def copy_of_the_sources(folder: Path) -> Path:
    """What git knows of the checkout, or would: no environments, and nothing that an earlier build left."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not one that is about to be removed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def python_of(page: str) -> list[str]:
    """The Python blocks of a page."""
    found = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"{page} shows no Python"
    return found


def fill(home: Path) -> None:
    """What the pages' examples read: a scan, a folder of scans, and their labels."""
    drawn = phantoms.vessel3d(splits={"test": 8})
    (home / "study").mkdir()
    lines = ["path,label"]
    for i, (pixels, (label,)) in enumerate(zip(drawn["test_images"], drawn["test_labels"], strict=True)):
        np.save(home / "study" / f"{i}.npy", pixels)
        lines.append(f"study/{i}.npy,{label}")
    (home / "labels.csv").write_text("\n".join(lines) + "\n")
    nibabel.save(nibabel.Nifti1Image(drawn["test_images"][0], np.eye(4)), home / "scan.nii.gz")


def build(kind: str, sources: Path, out: Path) -> Path:
    """Build the ``wheel`` or ``sdist`` of a folder, with the setuptools at hand."""
    code = f"import sys; from setuptools.build_meta import build_{kind} as build; build(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, out], cwd=sources, check=True, capture_output=True)
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@dataclass(frozen=True)
class Environment:
    """path: its folder.  home: a folder beside packages of a user's own, in which its commands are run."""

    path: Path
    home: Path

    def run(self, *command: str | Path) -> str:
        """What a command of the environment, such as ``python``, prints."""
        line = [str(self.path / "bin" / command[0]), *map(str, command[1:])]
        done = subprocess.run(line, cwd=self.home, env=self.variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LIQUIDLENS"))}
        return {**kept, "PATH": f"{self.path / 'bin'}{os.pathsep}{kept['PATH']}"}


def install(wheel: Path, extras: str, folder: Path) -> Environment:
    """A fresh environment with ``wheel[extras]``."""
    path, home = folder / "environment", folder / "home"
    venv.create(path, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(path)}))
    ours = PathDistribution(zipfile.Path(wheel, f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/"))
    for needed in _needed(ours, ours, frozenset(extras.split(",")), set()):
        for top in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():  # some share a folder
                (packages / top).symlink_to(Path(str(needed.locate_file(top))))
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "--python", path / "bin" / "python", "install", *options, wheel]
    subprocess.run(command, check=True, capture_output=True)
    for name in TAKEN:
        (home / name).mkdir(parents=True)
        (home / name / "__init__.py").write_text(f"raise ImportError('{name} is a package of my own')\n")
    return Environment(path, home)


def _needed(
    ours: Distribution, of: Distribution, extras: frozenset[str], known: set[tuple[str, frozenset[str]]]
) -> Iterator[Distribution]:
    """The distributions that one needs with some extras, and those that they need."""
    for requirement in map(Requirement, of.requires or ()):
        wanted = (requirement.name.lower(), frozenset(requirement.extras))
        marker = requirement.marker
        if wanted in known or not (marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))):
            continue
        known.add(wanted)
        if wanted[0] == "liquidlens":
            yield from _needed(ours, ours, wanted[1], known)
            continue
        found = _installed(requirement.name)
        if of is ours:
            assert requirement.specifier.contains(found.version), f"{requirement}, and not {found.version}"
        yield found
        yield from _needed(ours, found, wanted[1], known)


def _installed(name: str) -> Distribution:
    """onnxruntime and onnxruntime-gpu are the same module: either stands for the other."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        if name != "onnxruntime":
            raise
        return distribution("onnxruntime-gpu")
