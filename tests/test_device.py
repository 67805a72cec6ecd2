"""The device environment: predicts without torch, onnx or anything else of the workshop."""

import json
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from liquidlens.imaging import phantoms

DEVICE = Path(__file__).parents[1] / ".venv-serve" / "bin"


@pytest.fixture(scope="module", autouse=True)
def _device():
    if not DEVICE.is_dir():
        pytest.skip("needs the device environment: make environments")


@pytest.mark.parametrize("package", ["torch", "onnx", "ncps", "medmnist", "optimum", "lightning"])
def test_the_workshops_packages_are_not_there(package):
    done = subprocess.run([DEVICE / "python", "-c", f"import {package}"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in done.stderr


def test_it_predicts_a_nifti_scan_like_the_workshop(liquid_bundle, tmp_path):
    from liquidlens.imaging import read
    from liquidlens.serve.predict.predictor import Predictor

    volume = phantoms.vessel3d(splits={"test": 1})["test_images"][0]
    path = tmp_path / "vessel.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    command = [DEVICE / "liquidlens", "predict", liquid_bundle.model, path, "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    expected = Predictor(liquid_bundle.model).predict(read(path))
    assert found["predictions"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_errors_are_sentences_there_too(liquid_bundle, tmp_path):
    done = subprocess.run(
        [DEVICE / "liquidlens", "predict", liquid_bundle.model, tmp_path / "none.nii"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")


def test_training_there_says_which_environment_has_it():
    done = subprocess.run(
        [DEVICE / "liquidlens", "train", "LiqExp4N2", "phantom-vessel3d"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "workshop" in done.stderr


@pytest.mark.parametrize(
    ("asked", "package"),
    [
        ("from liquidlens.train import train", "torch"),
        ("from liquidlens import models; models.build('LiqExp1N2')", "torch"),
        ("from liquidlens.models import Classifier", "torch"),
        ("from liquidlens.export import audit", "onnx"),
        ("from liquidlens import export_onnx", "ncps"),
    ],
)
def test_python_says_there_what_to_install(asked, package):
    """As an error of the library that is an ImportError, too; names of models and recipes need nothing of it."""
    code = f"""
from liquidlens import LiquidLensError, models, train
from liquidlens.train.recipes import training
assert models.entry("LiqExp1N2").paper in training("hse-2024").recipe
try:
    {asked}
except LiquidLensError as error:
    assert isinstance(error, ImportError)
    print(error)
"""
    done = subprocess.run([DEVICE / "python", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"needs the package {package}, which is not installed" in done.stdout
    assert "'liquidlens[cpu,train,export]'" in done.stdout
