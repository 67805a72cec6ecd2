"""Imports point one way: imaging < serve < train < export, and models < train."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("imaging", "models", "serve", "train", "export", "benchmarks", "liquidlens")
ALLOWED = {
    "imaging": set(),
    "models": set(),
    "serve": {"imaging"},
    "train": {"models", "imaging", "serve.metrics"},
    "export": {"models", "imaging", "serve", "train"},
    "benchmarks": set(OURS),
}
#: What a package must not need, because it is not there where the package runs.
FORBIDDEN = {
    "imaging": {"torch", "onnx", "onnxruntime", "ncps", "medmnist"},
    "serve": {"torch", "onnx", "ncps", "medmnist", "lightning"},
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, ``from a import b`` as a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        for module in imports(path):
            top = module.split(".")[0]
            assert top not in FORBIDDEN.get(package, ()), f"{path} imports {module}"
            if top in OURS and top != package:
                allowed = any(module == a or module.startswith(f"{a}.") for a in ALLOWED[package])
                assert allowed, f"{path} imports {module}"
