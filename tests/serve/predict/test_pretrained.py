"""The models that come with the checkout: found by name, sound, and not fooled by what is no scan of their kind."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from liquidlens.errors import LiquidLensError
from liquidlens.export.checks.golden import verify
from liquidlens.imaging import Scan, phantoms, read
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.train import datasets
from liquidlens.train.datasets.dataset import Placed
from liquidlens.train.run import RunFolder

NAMES = pretrained.names()
SEED = 0


def scan_of(found: np.ndarray | Placed) -> Scan:
    """A scan of a dataset, as a file would give it."""
    if not isinstance(found, Placed):
        return Scan(found.astype(np.float32))
    centre = None if np.isnan(found.centre).any() else tuple(found.centre.tolist())
    return Scan(found.pixels.astype(np.float32), tuple(found.spacing.tolist()), centre=centre)


def photograph() -> np.ndarray:
    return skimage.data.camera().astype(np.float32)


def portrait() -> np.ndarray:
    return skimage.data.astronaut().astype(np.float32).mean(2)


def chest_ct() -> np.ndarray:
    """Hounsfield units of a cylinder of tissue with two lungs, a spine and some noise."""
    z, y, x = np.mgrid[-1:1:48j, -1:1:128j, -1:1:128j]
    body, lungs = x**2 + (1.4 * y) ** 2 < 0.8, (np.abs(x) - 0.4) ** 2 / 0.07 + y**2 / 0.16 + 0.3 * z**2 < 1
    spine = x**2 + (y - 0.45) ** 2 < 0.01
    volume = np.where(spine, 400, np.where(lungs, -850, np.where(body, 40, -1000)))
    return (volume + np.random.default_rng(SEED).normal(0, 30, volume.shape)).astype(np.float32)


def noise() -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, (40, 40, 40)).astype(np.float32)


IMAGES = {
    "photograph": photograph,
    "portrait": portrait,
    "black": lambda: np.zeros((224, 224), np.float32),
    "grey": lambda: np.full((224, 224), 128, np.float32),
    "white": lambda: np.full((224, 224), 255, np.float32),
}
VOLUMES = {
    "chest CT": chest_ct,
    "noise": noise,
    "black": lambda: np.zeros((28, 28, 28), np.float32),
    "white": lambda: np.full((28, 28, 28), 255, np.float32),
}


@pytest.fixture(scope="module", params=NAMES)
def predictor(request) -> Predictor:
    return Predictor(request.param)


def test_there_are_models():
    assert NAMES, f"no model in {pretrained.FOLDER}"


def test_models_are_found_by_name_and_by_path(liquid_bundle, tmp_path):
    assert pretrained.find(liquid_bundle.path) == liquid_bundle.model
    assert pretrained.find(str(liquid_bundle.model)) == liquid_bundle.model
    assert pretrained.find("not/there.onnx") == Path("not/there.onnx"), "the predictor says that it is not there"
    for name in NAMES:
        assert pretrained.find(name).is_file()
    with pytest.raises(LiquidLensError, match="chess"):
        pretrained.find("chess")


def test_its_bundle_holds_the_manifest_and_answers_for_other_runtimes(predictor):
    folder = predictor.path.parent
    assert (folder / "model.json").read_text() == predictor.manifest.to_json()
    assert max(verify(predictor.path.read_bytes(), (folder / "golden.npz").read_bytes()).values()) <= 1e-4


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bundles/vessel/model.onnx", "vessel"),
        ("bundles/vessel/model-fp16.onnx", "vessel-fp16"),
        ("my nodule/v2.onnx", "v2"),
        ("my nodule/model.onnx", "my-nodule"),
        ("nodule/models.onnx", "models"),
        ("/model.onnx", "model"),
    ],
)
def test_names_of_models(path, name):
    assert pretrained.name_of(Path(path)) == name


def test_what_is_no_scan_of_its_kind_is_flagged(predictor):
    unlike = IMAGES if len(predictor.manifest.input.size) == 2 else VOLUMES
    found = {kind: predictor.predict(Scan(make())) for kind, make in unlike.items()}
    missed = {kind: round(prediction.ood_score, 2) for kind, prediction in found.items() if not prediction.ood}
    assert not missed, f"{missed} do not exceed {predictor.manifest.out_of_distribution.threshold:.2f}"


def test_a_real_chest_ct_is_flagged(predictor, data_root):
    if len(predictor.manifest.input.size) == 2:
        pytest.skip("reads images")
    files = sorted((data_root / "samples" / "nifti").glob("*chest_ct*.nii*"))
    if not files:
        pytest.skip("needs a chest CT in samples/nifti")
    for file in files:
        prediction = predictor.predict(read(file))
        assert prediction.ood, f"{file.name}: {prediction.ood_score:.2f} of {prediction.ood_threshold:.2f}"


def test_few_real_test_scans_are_flagged(predictor, data_root):
    recipe = RunFolder(pretrained.FOLDER / "runs" / predictor.path.parent.name).recipe()
    test = datasets.load(recipe.dataset, data_root, reading=recipe.reading).scans["test"]
    scans = [scan_of(test[i]) for i in range(min(300, len(test)))]
    flagged = np.mean([prediction.ood for prediction in predictor.predict_many(scans, batch_size=32)])
    assert flagged <= 0.06, f"{flagged:.1%} of {len(scans)} test scans"


@pytest.mark.skipif("chest-xray" not in NAMES, reason="no model of chest X-rays")
def test_a_radiograph_of_twelve_bits_is_judged_like_its_picture():
    """DICOM files hold more than a picture shows; the network learnt from pictures."""
    predictor = Predictor("chest-xray")
    picture = phantoms.chest_xray(splits={"test": 1})["test_images"][0].astype(np.float32)
    picture = (picture - picture.min()) * (255 / np.ptp(picture))
    expected = predictor.predict(Scan(picture, modality="DX"))
    assert expected.notes == ()
    wished = predictor.predict(Scan(picture * 16 - 500, modality="DX", window=(-500.0, 3580.0)))
    stretched = predictor.predict(Scan(picture * 16, modality="DX"))
    for found in (wished, stretched):
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-3)
        assert "were taken for black to white" in found.notes[0]
