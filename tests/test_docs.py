"""The docs say what the code does: tables are those of the code, every command is explained, and Python blocks run."""

import contextlib
import importlib.util
import pkgutil
import re
import shutil

import pytest
import typer

from liquidlens.commands import app
from liquidlens.serve.predict import pretrained
from scripts.options import DOCS, TABLES, written
from tests.installing import ROOT, fill, python_of
from tests.test_imports import ROOMS

COMMANDS = list(typer.main.get_command(app).commands)
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]


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


def test_the_architecture_names_what_there_is():
    names = re.findall(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)`", (DOCS / "architecture.md").read_text(encoding="utf-8"))
    assert len(names) > 20
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):  # what it lies in is no package
            if importlib.util.find_spec(f"liquidlens.{name}"):
                continue
        pkgutil.resolve_name(f"liquidlens.{name}")  # AttributeError if there is no such thing


def test_every_command_has_its_function():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [command for command, _ in rows] == COMMANDS
    for command, functions in rows:
        for place in re.findall(r"`(liquidlens\.[\w.]+)`", functions):
            room, _, name = place.rpartition(".")
            if name in ("run_server", "run_node"):
                continue  # the device's, whose tests start them
            assert getattr(importlib.import_module(room), name), f"{command}: {place}"


@pytest.mark.parametrize("page", ["README.md", "docs/explanations.md", "docs/exported-file.md", "docs/scans.md"])
def test_its_python_runs(page, tmp_path, monkeypatch):
    """That of docs/api.md is run where the wheel is installed: `test_wheel`."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    shutil.copy(tmp_path / "scan.nii.gz", tmp_path / "vessel.nii.gz")
    shutil.make_archive("upload", "zip", tmp_path, "scan.nii.gz")
    shutil.copytree(pretrained.find("vessel").parent, tmp_path / "bundle")
    shutil.copy(pretrained.find("vessel"), tmp_path)
    names: dict = {}
    for block in python_of(page):
        exec(compile(block, page, "exec"), names)  # noqa: S102 (our own docs)
