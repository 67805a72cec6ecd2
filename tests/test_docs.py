"""The docs say what the code does: tables are those of the code, every command is explained, and Python blocks run."""

import importlib
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer

from liquidlens.commands import app
from liquidlens.imaging import phantoms
from scripts.options import DOCS, TABLES, written
from tests.installing import ROOT

COMMANDS = list(typer.main.get_command(app).commands)
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A folder with what the examples read: a scan, a folder of scans, and their labels."""
    drawn = phantoms.vessel3d(splits={"test": 8})
    (tmp_path / "study").mkdir()
    lines = ["path,label"]
    for i, (pixels, (label,)) in enumerate(zip(drawn["test_images"], drawn["test_labels"], strict=True)):
        np.save(tmp_path / "study" / f"{i}.npy", pixels)
        lines.append(f"study/{i}.npy,{label}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    nibabel.save(nibabel.Nifti1Image(drawn["test_images"][0], np.eye(4)), tmp_path / "scan.nii.gz")
    shutil.copy(tmp_path / "scan.nii.gz", tmp_path / "vessel.nii.gz")
    shutil.make_archive(str(tmp_path / "upload"), "zip", tmp_path, "scan.nii.gz")
    shutil.copytree(ROOT / "models" / "pretrained" / "vessel", tmp_path / "bundle")
    shutil.copy(tmp_path / "bundle" / "model.onnx", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_tables_are_those_of_the_code():
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found |= set(re.findall(r"<!-- from the code: ([\w ]+) -->", text))
        assert written(text) == text, f"{page.name} differs from the code: `make docs`"
    assert found == set(TABLES)


def test_the_recipe_fields_are_all_there():
    from liquidlens.train.recipes import Training

    fields = set(Training.model_fields) - {"recipe", "about"}
    assert set(re.findall(r"^\| `(\w+)`", "".join(TABLES["recipe fields"]()), re.MULTILINE)) == fields


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_explained_by_a_person(command):
    by_hand = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name not in ("commands.md", "api.md"))
    assert re.search(rf"liquidlens {command}\b", by_hand), f"no page shows `liquidlens {command}`"


def test_every_command_has_its_function():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [command for command, _ in rows] == COMMANDS
    for command, functions in rows:
        for place in re.findall(r"`(liquidlens\.[\w.]+)`", functions):
            room, _, name = place.rpartition(".")
            if name == "run_server":
                continue  # the device's: tests.device.test_wheel starts it
            assert getattr(importlib.import_module(room), name), f"{command}: {place}"


@pytest.mark.parametrize(
    "page", ["README.md", "docs/api.md", "docs/explanations.md", "docs/exported-file.md", "docs/scans.md"]
)
def test_its_python_runs(page, workplace):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    if page == "docs/api.md":
        shutil.rmtree(workplace / "bundle")  # it makes its own
    names: dict = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # noqa: S102 (our own docs)
