"""Shared fixtures: real data where there is any, and one small trained run with its bundle."""

import os
from pathlib import Path

import pytest

import export
import train
from train.run import RunFolder


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data; tests that need it are skipped, and say so, where there is none."""
    root = os.environ.get("LIQUIDLENS_DATA")
    if not root:
        pytest.skip("needs real data: set LIQUIDLENS_DATA")
    return Path(root)


@pytest.fixture(scope="session")
def medmnist_root(data_root: Path) -> Path:
    if not (data_root / "medmnist" / "vesselmnist3d.npz").is_file():
        pytest.skip(f"needs medmnist/vesselmnist3d.npz in {data_root}")
    return data_root / "medmnist"


@pytest.fixture(scope="session")
def liquid_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A liquid model trained on phantoms for two epochs: a real run, of little use."""
    runs = tmp_path_factory.mktemp("runs")
    return train.train("LiqExp1N2", "phantom-vessel3d", "quick", epochs=2, runs=runs, progress=False)


@pytest.fixture(scope="session")
def liquid_bundle(liquid_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> export.Bundle:
    return export.export(liquid_run.path, tmp_path_factory.mktemp("bundle"))
