"""Imports point one way: imaging < serve < train < export, models < train, and all may use what `liquidlens` shares."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("imaging", "models", "serve", "train", "export")
#: What a room may import of the others.
ALLOWED = {
    "imaging": set(),
    "models": set(),
    "serve": {"imaging"},
    "train": {"models", "imaging"},
    "export": {"models", "imaging", "serve", "train"},
}
#: The rooms inside `serve`, each with what it may import of the others.
SERVE = {
    "settings": set(),
    "predict": set(),
    "bench": {"predict"},
    "doctor": {"predict"},
    "explain": {"predict"},
    "batch": {"predict"},
    "evaluate": {"predict", "batch"},
    "web": {"predict"},
    "demo": {"predict", "explain", "settings"},
    "monitoring": {"predict"},
    "server": {"predict", "demo", "monitoring", "settings"},
    "node": {"predict", "explain", "batch", "monitoring", "server", "settings"},
}
SERVE["commands"] = set(SERVE)
#: And those inside `export`.
EXPORT: dict[str, set[str]] = {"facts": set(), "triton": set(), "complete": {"facts"}}
EXPORT["graph"] = {"facts", "complete"}
EXPORT["checks"] = EXPORT["graph"] | {"graph"}
EXPORT["measure"] = EXPORT["checks"] | {"checks"}
EXPORT["pages"] = EXPORT["measure"] | {"measure"}
EXPORT["options"] = EXPORT["bundle"] = EXPORT["pages"] | {"pages"}
EXPORT["subject"] = EXPORT["options"] | {"options"}
EXPORT["describe"] = EXPORT["subject"] | {"subject"}
EXPORT["module"] = EXPORT["checks"] | {"checks"}
EXPORT["pipeline"] = set(EXPORT) - {"module"}
ROOMS_INSIDE = {"serve": SERVE, "export": EXPORT}
#: What a room must not need, because it is not there where the room is used.
FORBIDDEN = {
    "liquidlens": {"torch", "onnx", "onnxruntime", "ncps", "medmnist"},
    "imaging": {"torch", "onnx", "onnxruntime", "ncps", "medmnist"},
    "serve": {"torch", "onnx", "ncps", "medmnist", "lightning"},
}


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Every module that a file imports, ``from a import b`` as a.b; or only those of its top level."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room):
    for path in files(room):
        for module in imports(path):
            top, _, rest = module.partition(".")
            assert top not in (*ROOMS, "benchmarks", "scripts", "tests"), f"{path} imports {module}"
            assert top not in FORBIDDEN.get(room, ()), f"{path} imports {module}"
            other = rest.split(".")[0]
            if top == "liquidlens" and other in (*ROOMS, "commands"):
                assert other in ALLOWED[room] | {room}, f"{path} imports {module}"


@pytest.mark.parametrize("outer", ROOMS_INSIDE)
def test_the_rooms_inside_are_those_that_are_named_here(outer):
    names = {path.name.removesuffix(".py") for path in (ROOT / outer).iterdir()}
    assert names - {"__init__", "__pycache__"} == set(ROOMS_INSIDE[outer])


@pytest.mark.parametrize(("outer", "room"), [(outer, room) for outer in ROOMS_INSIDE for room in ROOMS_INSIDE[outer]])
def test_inside_no_arrow_runs_back_up(outer, room):
    allowed = ROOMS_INSIDE[outer][room] | {room}
    inside = files(f"{outer}/{room}") if (ROOT / outer / room).is_dir() else [ROOT / outer / f"{room}.py"]
    for path in inside:
        for module in imports(path):
            if module.startswith(f"liquidlens.{outer}."):
                assert module.split(".")[2] in allowed, f"{path} imports {module}"


def test_the_shared_part_imports_no_room_before_it_is_needed():
    for path in files("liquidlens"):
        for module in imports(path, everywhere=path.parent.name == "drawing"):
            top, _, rest = module.partition(".")
            assert top not in FORBIDDEN["liquidlens"], f"{path} imports {module}"
            if path.parent.name != "commands":
                assert not (top == "liquidlens" and rest.split(".")[0] in ROOMS), f"{path} imports {module}"


def test_the_package_and_the_device_room_load_no_library_when_they_are_imported():
    code = "import liquidlens, liquidlens.serve, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    libraries = {"numpy", "onnxruntime", "pydantic", "rich", "typer", "torch", "gradio"}
    assert not libraries & set(done.stdout.split())


@pytest.mark.parametrize("room", ["serve", "export"])
def test_a_room_stays_small_enough_to_be_seen_at_once(room):
    assert len([path for path in (ROOT / room).iterdir() if path.name != "__pycache__"]) <= 14
