"""A model that has learned something: explanations can only be judged on one."""

import pytest

from liquidlens import export, train


@pytest.fixture(scope="session")
def bulge_finder(tmp_path_factory: pytest.TempPathFactory) -> export.Bundle:
    """A small CNN trained for four epochs on phantom vessels (validation AUC about 0.87), in fp32 alone."""
    runs = tmp_path_factory.mktemp("runs")
    changes = {"max_epochs": 4}
    run = train.train("CNNExp1N1", "phantom-vessel3d", "quick", changes=changes, runs=runs, progress=False)
    return export.export(run.path, tmp_path_factory.mktemp("bundle"), export.Options(precisions=()))
