"""A trained model, and vessels to show it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.predict.predictor import Predictor


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor("vessel", "cpu", threads=1)


@pytest.fixture(scope="session")
def vessels() -> NDArray[np.uint8]:
    """60 phantoms of 28 x 28 x 28, 0 and 255."""
    return vessel3d(seed=1, splits={"test": 60})["test_images"]


@pytest.fixture
def folder(tmp_path: Path, vessels: NDArray[np.uint8]) -> Path:
    """Scans of two shapes in a folder and its subfolder, some in stacks, and a broken one: 20 scans and an error."""
    scans = tmp_path / "scans"
    (scans / "left").mkdir(parents=True)
    for i in range(6):
        np.save(scans / f"{i}.npy", vessels[i])
        np.save(scans / "left" / f"{i}.npy", vessels[i, 4:])
    np.savez_compressed(scans / "stack.npz", images=vessels[6:12], labels=np.arange(6))
    np.save(scans / "two.npy", vessels[12:14])
    (scans / "broken.npy").write_bytes((scans / "0.npy").read_bytes()[:999])
    (scans / "README").write_text("no scan")
    return scans
