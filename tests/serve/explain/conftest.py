"""A model that has learned something, for explanations can only be judged on one, and scans to explain."""

import numpy as np
import pytest

from liquidlens import export, train
from liquidlens.imaging import Scan, phantoms
from liquidlens.serve.predict.predictor import Predictor

SPLITS, SEED = {"test": 60}, 7


@pytest.fixture(scope="session")
def bulge_finder(tmp_path_factory: pytest.TempPathFactory) -> export.Bundle:
    """A small CNN trained for four epochs on phantom vessels (validation AUC about 0.87), in fp32 alone."""
    runs = tmp_path_factory.mktemp("runs")
    changes = {"max_epochs": 4}
    run = train.train("CNNExp1N1", "phantom-vessel3d", "quick", changes=changes, runs=runs, progress=False)
    return export.export(run.path, tmp_path_factory.mktemp("bundle"), export.Options(precisions=()))


@pytest.fixture(scope="module")
def liquid(liquid_bundle) -> Predictor:
    return Predictor(liquid_bundle.model, "cpu")


@pytest.fixture(scope="module")
def finder(bulge_finder) -> Predictor:
    return Predictor(bulge_finder.model, "cpu")


@pytest.fixture(scope="module")
def aneurysms() -> list[tuple[Scan, np.ndarray]]:
    """Phantoms with an aneurysm, and where its bulge is: slice, row, column, radius."""
    images = phantoms.vessel3d(SEED, SPLITS)["test_images"].astype(np.float32)
    bulges = phantoms.vessel3d_bulges(SEED, SPLITS)["test_bulges"]
    return [(Scan(image), bulge) for image, bulge in zip(images, bulges, strict=True) if not np.isnan(bulge[0])]
