"""The wheel: one name, small, the same from a source distribution, and at home beside packages of a user's own."""

import json
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from liquidlens.imaging import phantoms
from tests.installing import ROOT, build, copy_of_the_sources, fill, install, python_of

MOST = 6_000_000
#: Goes behind docs/api.md: where the rooms came from, and what is said without MedMNIST.
PLACES = """
import json
from liquidlens import LiquidLensError
try:
    train.datasets.load("vesselmnist3d")
except LiquidLensError as error:
    assert "pip install --no-deps medmnist" in str(error), error
print(json.dumps([room.__file__ for room in (train, export, models)]))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    return copy_of_the_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory) -> Path:
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def vessel() -> np.ndarray:
    return phantoms.vessel3d(splits={"test": 1})["test_images"][0]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_brings_one_name_and_nothing_that_only_the_checkout_needs(wheel):
    record = next(text for name, text in contents(wheel).items() if name.endswith("/RECORD")).decode()
    names = {line.split(",")[0] for line in record.splitlines()}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"liquidlens"}
    rooms = {"liquidlens": "", **{room: f"{room}/" for room in ("imaging", "models", "serve", "train", "export")}}
    modules = {
        f"liquidlens/{place}{path.relative_to(ROOT / room).as_posix()}"
        for room, place in rooms.items()
        for path in (ROOT / room).rglob("*.py")
        if "node_modules" not in path.parts
    }
    assert {name for name in names if name.endswith(".py")} == modules
    assert not [name for name in names if "/runs/" in name or name.endswith((".ts", "package.json", "golden.npz"))]
    assert {"liquidlens/models/pretrained/vessel/model.onnx", "liquidlens/serve/web/dist/index.html"} <= names
    assert wheel.stat().st_size <= MOST


def test_a_source_distribution_builds_the_same_wheel(sources, wheel, tmp_path):
    with tarfile.open(build("sdist", sources, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
        top = archive.getnames()[0]
    (tmp_path / "again").mkdir()
    assert contents(build("wheel", tmp_path / top, tmp_path / "again")) == contents(wheel)


def test_arrays_need_nothing_but_onnx_runtime(wheel, vessel, tmp_path):
    environment = install(wheel, "cpu", tmp_path)
    np.save(environment.home / "x.npy", vessel)
    answer = json.loads(environment.run("liquidlens", "predict", "vessel", "x.npy", "--json"))
    (predicted,) = answer["predictions"]
    code = """
import json, liquidlens, numpy
from liquidlens import Predictor
predictor = Predictor("vessel")
array = predictor.predict(numpy.load("x.npy"))
assert array.probabilities == predictor.predict("x.npy").probabilities
print(json.dumps([liquidlens.__file__, array.probabilities]))
"""
    place, probabilities = json.loads(environment.run("python", "-c", code))
    assert Path(place).is_relative_to(environment.path)
    assert probabilities == predicted["probabilities"]
    assert "vessel-cnn" in environment.run("python", "-m", "liquidlens", "doctor")


def test_files_need_the_extra_imaging(wheel, vessel, tmp_path):
    environment = install(wheel, "cpu,imaging", tmp_path)
    nibabel.save(nibabel.Nifti1Image(vessel, np.eye(4)), environment.home / "x.nii.gz")
    answer = json.loads(environment.run("liquidlens", "predict", "vessel", "x.nii.gz", "--json"))
    assert answer["predictions"][0]["label"] in ("vessel", "aneurysm")


def test_the_python_api_with_all_its_rooms(wheel, vessel, tmp_path):
    """docs/api.md, and so a training and its export, beside packages of a user's own."""
    environment = install(wheel, "cpu,train,export", tmp_path)
    fill(environment.home)
    script = "\n".join((*python_of("docs/api.md"), PLACES))
    (environment.home / "page.py").write_text(script, encoding="utf-8")
    *_, where = environment.run("python", "page.py").splitlines()
    for place in json.loads(where):
        assert Path(place).is_relative_to(environment.path)
    np.save(environment.home / "x.npy", vessel)
    assert "p(aneurysm)" in environment.run("liquidlens", "predict", "bundle", "x.npy")
