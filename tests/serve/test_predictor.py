"""The predictor on real exported files, and what it refuses."""

import json
import shutil

import numpy as np
import onnx
import pytest

from imaging import LiquidLensError, Scan, phantoms
from serve.manifest import KEY, Manifest
from serve.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(liquid_bundle) -> Predictor:
    return Predictor(liquid_bundle.model)


def with_metadata(liquid_bundle, tmp_path, change) -> str:
    """A copy of the exported file with another manifest; `change` maps its JSON to new metadata."""
    proto = onnx.load(liquid_bundle.model)
    manifest = json.loads(proto.metadata_props[0].value)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, change(manifest))
    onnx.save(proto, tmp_path / "changed.onnx")
    return str(tmp_path / "changed.onnx")


def test_predictions_equal_the_raw_outputs(predictor):
    volume = phantoms.vessel3d(splits={"test": 1})["test_images"].astype(np.float32)
    prediction = predictor.predict(Scan(volume[0]))
    outputs = predictor.run(volume)
    assert list(prediction.probabilities) == ["vessel", "aneurysm"]
    assert prediction.probabilities["aneurysm"] == pytest.approx(float(outputs["probabilities"][0, 1]))
    assert prediction.label == ("aneurysm" if prediction.probabilities["aneurysm"] > 0.5 else "vessel")
    assert prediction.ood_score == pytest.approx(float(outputs["ood"][0]))
    assert prediction.milliseconds > 0


def test_the_threshold_of_the_manifest_decides(liquid_bundle, tmp_path):
    scan = Scan(phantoms.vessel3d(splits={"test": 1})["test_images"][0].astype(np.float32))
    for threshold, label in ((0.0, "aneurysm"), (1.0, "vessel")):
        path = with_metadata(
            liquid_bundle, tmp_path, lambda manifest, t=threshold: {KEY: json.dumps({**manifest, "threshold": t})}
        )
        assert Predictor(path).predict(scan).label == label


def test_images_and_volumes_are_not_mixed_up(predictor, liquid_bundle, tmp_path):
    with pytest.raises(LiquidLensError, match="LiqExp1N2 reads a volume, and this scan is a 2D image"):
        predictor.predict(Scan(np.zeros((28, 28), np.float32)))
    reads_images = with_metadata(
        liquid_bundle,
        tmp_path,
        lambda manifest: {KEY: json.dumps({**manifest, "input": {**manifest["input"], "size": [28, 28]}})},
    )
    with pytest.raises(LiquidLensError, match="reads a 2D image, and this scan is a volume"):
        Predictor(reads_images).predict(Scan(np.zeros((28, 28, 28), np.float32)))


def test_a_file_without_our_manifest(liquid_bundle, tmp_path):
    with pytest.raises(LiquidLensError, match=r"changed\.onnx: the file carries no LiquidLens manifest"):
        Predictor(with_metadata(liquid_bundle, tmp_path, lambda manifest: {"author": "somebody"}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: "{", "Invalid JSON"),
        (lambda m: json.dumps({**m, "format": 2}), "format: Input should be 1"),
        (lambda m: json.dumps({**m, "threshold": 3}), "threshold"),
        (lambda m: json.dumps({**m, "labels": ["one"]}), "labels"),
        (lambda m: json.dumps({**m, "surprise": 1}), "surprise"),
    ],
)
def test_damaged_manifests(liquid_bundle, tmp_path, change, sentence):
    with pytest.raises(LiquidLensError, match=f"manifest is damaged: .*{sentence}"):
        Predictor(with_metadata(liquid_bundle, tmp_path, lambda manifest: {KEY: change(manifest)}))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(LiquidLensError, match="no such file"):
        Predictor(tmp_path / "none.onnx")
    for content in (b"", b"garbage", b"\x08\x07"):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(LiquidLensError, match="not a readable ONNX file"):
            Predictor(tmp_path / "broken.onnx")


def test_a_changed_file_is_noticed(liquid_bundle, tmp_path):
    copy = shutil.copytree(liquid_bundle.path, tmp_path / "bundle")
    Predictor(copy / "model.onnx")
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(LiquidLensError, match="its SHA-256 differs"):
        Predictor(copy / "model.onnx")


def test_the_manifest_survives_the_file(liquid_bundle, predictor):
    assert predictor.manifest == liquid_bundle.manifest
    assert Manifest.from_metadata({KEY: predictor.manifest.to_json()}) == predictor.manifest


def test_official_64_voxel_files_through_a_28_voxel_model(medmnist_root, tmp_path):
    """The mask contract: the finer official files give the AUC of the 28-voxel files, within 0.01."""
    import export
    import train
    from serve import metrics
    from train import datasets

    run = train.train("LiqExp1N2", "vesselmnist3d", "quick", epochs=12, runs=tmp_path, progress=False)
    predictor = Predictor(export.export(run.path, tmp_path / "bundle").model)
    areas = []
    for size in (28, 64):
        data = datasets.load("vesselmnist3d", size=size)
        batches = np.array_split(data.scans["test"], 12)
        logits = np.concatenate([predictor.run(batch)["logits"][:, 0] for batch in batches])
        areas.append(metrics.auc(data.labels["test"], logits))
    assert areas[0] > 0.75
    assert abs(areas[0] - areas[1]) <= 0.01, areas
