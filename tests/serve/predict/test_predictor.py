"""The predictor on real exported files, and what it refuses."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, phantoms
from liquidlens.manifest import (
    KEY,
    InputContract,
    Manifest,
    Operating,
    OutOfDistribution,
    Parameters,
    Provenance,
    abstains,
)
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.prediction import conclude
from liquidlens.serve.predict.predictor import LARGE, Predictor
from tests.conftest import changed_metadata


@pytest.fixture(scope="module")
def predictor(liquid_bundle) -> Predictor:
    return Predictor(liquid_bundle.model)


def with_metadata(liquid_bundle, tmp_path, change) -> str:
    """A copy of the exported file with other metadata, see `changed_metadata`."""
    onnx.save(changed_metadata(liquid_bundle, change), tmp_path / "changed.onnx")
    return str(tmp_path / "changed.onnx")


def test_predictions_equal_the_raw_outputs(predictor):
    volume = phantoms.vessel3d(splits={"test": 1})["test_images"].astype(np.float32)
    prediction = predictor.predict(Scan(volume[0]))
    outputs = predictor.run(volume)
    assert list(prediction.probabilities) == ["vessel", "aneurysm"]
    assert prediction.probabilities["aneurysm"] == pytest.approx(float(outputs["probabilities"][0, 1]))
    threshold = predictor.manifest.operating.threshold
    assert prediction.label == ("aneurysm" if prediction.probabilities["aneurysm"] > threshold else "vessel")
    assert prediction.ood_score == pytest.approx(float(outputs["ood"][0]))
    assert prediction.ood_threshold == predictor.manifest.out_of_distribution.threshold
    assert prediction.threshold == threshold
    assert prediction.device == predictor.device
    assert set(prediction.milliseconds) == {"prepare", "run", "total"}
    assert prediction.milliseconds["total"] >= prediction.milliseconds["run"] > 0


def test_a_model_is_a_name_a_bundle_or_a_file(liquid_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no folder has a model's name
    assert Predictor("vessel", "cpu").path == pretrained.FOLDER / "vessel" / "model.onnx"
    for path in (liquid_bundle.path, str(liquid_bundle.path), liquid_bundle.model):
        assert Predictor(path, "cpu").path == liquid_bundle.model
    with pytest.raises(LiquidLensError, match=r"this folder holds no model\.onnx; name a bundle or an \.onnx file\.$"):
        Predictor(tmp_path)
    with pytest.raises(LiquidLensError, match=r"no file or pretrained model named 'vessels'\. Did you mean vessel"):
        Predictor("vessels")


def test_a_scan_is_a_file_an_array_or_a_scan(predictor, tmp_path):
    volumes = phantoms.vessel3d(splits={"test": 2})["test_images"]
    np.save(tmp_path / "one.npy", volumes[0])
    np.savez(tmp_path / "two.npz", scans=volumes)
    expected = predictor.predict(Scan(volumes[0].astype(np.float32))).probabilities
    given = (
        tmp_path / "one.npy", str(tmp_path / "one.npy"), f"{tmp_path}/two.npz#scans/0", volumes[0], volumes[0].tolist()
    )  # fmt: skip
    for scan in given:
        assert predictor.predict(scan).probabilities == expected
    for found in predictor.predict_many(given):
        assert found.probabilities == pytest.approx(expected, abs=1e-6)
    assumed = Scan(volumes[0].astype(np.float32), notes=("The order of its axes was assumed.",))
    assert predictor.predict(assumed).notes == assumed.notes


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("none.nii", "none.nii: there is no such file."),
        (np.zeros((28, 28)), "the scan: LiqExp1N2 reads a volume, and this is a 2D image."),
        (np.zeros((1, 2, 3, 4)), "the scan: A scan has 2 or 3 axes, this array has 4 (1 x 2 x 3 x 4)."),
        (np.zeros((0, 3, 4)), "the scan: The scan is empty (0 x 3 x 4 pixels)."),
        (np.ones((4, 4, 4), complex), "the scan: give a file, a Scan or an array of numbers, not complex128."),
        ({"pixels": 1}, "the scan: give a file, a Scan or an array of numbers, not dict."),
        (None, "the scan: A scan has 2 or 3 axes, this array has 0 ()."),
    ],
)
def test_what_is_no_scan_is_refused_in_one_sentence(predictor, given, sentence):
    with pytest.raises(LiquidLensError) as refused:
        predictor.predict(given)
    assert str(refused.value) == sentence


def test_errors_of_many_name_the_file_or_the_number(predictor, tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((28, 28)))
    image, array, scan = predictor.predict_many(
        [tmp_path / "image.npy", np.full((2, 2, 2), np.nan), np.zeros((4, 4, 4))]
    )
    assert str(image) == f"{tmp_path}/image.npy: LiqExp1N2 reads a volume, and this is a 2D image."
    assert str(array).startswith("scan 1: 8 of 8 pixels are not finite")
    assert set(scan.probabilities) == {"vessel", "aneurysm"}


def test_slices_decide_together(predictor):
    """This model averages the logits of its slices."""
    volume = phantoms.vessel3d(splits={"test": 1})["test_images"][0].astype(np.float32)
    prediction = predictor.predict(Scan(volume))
    slices = np.array(prediction.slice_probabilities)
    assert slices.shape == (28,)
    together = 1 / (1 + np.exp(-np.log(slices / (1 - slices)).mean()))
    assert together == pytest.approx(prediction.probabilities["aneurysm"], abs=1e-5)


def test_a_prediction_is_json(predictor):
    prediction = predictor.predict(Scan(np.zeros((3, 4, 5), np.float32)))
    plain = prediction.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["probabilities"] == prediction.probabilities


def test_many_scans_of_all_sizes_keep_their_order(predictor):
    volumes = phantoms.vessel3d(splits={"test": 7})["test_images"].astype(np.float32)
    scans = [Scan(volume[: 28 - i % 3]) for i, volume in enumerate(volumes)]
    extreme = np.full((28, 28, 28), 3e38, np.float32)
    extreme[0] *= -1
    scans[2:2] = [Scan(np.zeros((28, 28), np.float32)), Scan(extreme)]
    answers = predictor.predict_many(scans, names=[f"number {i}" for i in range(9)], batch_size=2)
    assert str(answers[2]) == "number 2: LiqExp1N2 reads a volume, and this is a 2D image."
    assert answers[3].ood
    for i in (0, 1, 4, 5, 6, 7, 8):
        alone = predictor.predict(scans[i])
        assert answers[i].probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert answers[i].label == alone.label
    assert predictor.predict_many([]) == []


def test_threads_get_the_answers_of_one(predictor):
    volumes = phantoms.vessel3d(splits={"test": 16})["test_images"].astype(np.float32)
    scans = [Scan(volume[: 28 - i % 4]) for i, volume in enumerate(volumes)] * 4
    serial = [predictor.predict(scan).probabilities for scan in scans]
    with ThreadPoolExecutor(8) as pool:
        assert [prediction.probabilities for prediction in pool.map(predictor.predict, scans)] == serial


def test_runs_side_by_side_give_the_digits_of_one_after_the_other(liquid_bundle):
    """Small ones in lanes, and large ones, which wait for each other."""
    volumes = phantoms.vessel3d(splits={"test": 50})["test_images"].astype(np.float32)
    scans = [Scan(volume[: 28 - i % 2]) for i, volume in enumerate(volumes)]
    scans[9:9] = [Scan(np.resize(volumes[i], (162, 162, 162))) for i in range(2)]
    assert scans[9].pixels.size >= LARGE
    one, three = (Predictor(liquid_bundle.model, "cpu", threads) for threads in (1, 3))
    assert (one.lanes, three.lanes) == (1, 3)
    expected, found = (
        [(answer.probabilities, answer.ood_score) for answer in predictor.predict_many(scans)]
        for predictor in (one, three)
    )
    assert found == expected


def test_batches_hold_what_a_cache_does(predictor):
    assert predictor.together((28, 28)) == predictor.together((112, 112)) == 8
    assert predictor.together((28, 28, 28)) == 5
    assert predictor.together((64, 64, 64)) == predictor.together((300, 512, 512)) == 1


MEMORY = """
import ctypes, sys
import numpy as np
from liquidlens.imaging import Scan
from liquidlens.serve.predict.predictor import Predictor
predictor = Predictor(sys.argv[1], "cpu", threads=1)
random = np.random.default_rng(0)
for i in range(1, 241):
    predictor.predict(Scan(np.full(random.integers((8, 16, 16), (64, 128, 128)), 7, np.float32)))
    if i in (40, 240):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free goes back to the system: the rest is held
        print(int(open("/proc/self/statm").read().split()[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads the process's memory as Linux shows it")
def test_memory_is_flat_over_scans_of_all_sizes(liquid_bundle):
    done = subprocess.run([sys.executable, "-c", MEMORY, liquid_bundle.model], capture_output=True, text=True)
    early, late = map(int, done.stdout.split())
    assert late <= 1.1 * early, f"{early} pages after 40 scans, {late} after 240"


def test_a_number_of_threads(liquid_bundle):
    volume = phantoms.vessel3d(splits={"test": 1})["test_images"][0].astype(np.float32)
    one, two = (Predictor(liquid_bundle.model, "cpu", threads).predict(Scan(volume)) for threads in (1, 2))
    assert one.probabilities == pytest.approx(two.probabilities, abs=1e-6)
    with pytest.raises(LiquidLensError, match="from 1, not 0"):
        Predictor(liquid_bundle.model, threads=0)


def test_a_model_of_ct_refuses_what_is_none(liquid_bundle, tmp_path):
    window = {"values": "hu", "window": [-1000, 400]}
    path = with_metadata(liquid_bundle, tmp_path, lambda m: {KEY: json.dumps({**m, "input": {**m["input"], **window}})})
    predictor, pixels = Predictor(path), np.zeros((8, 8, 8), np.float32)
    assert predictor.predict(Scan(pixels, modality="CT", units="HU")).notes == ()
    assert "were taken for Hounsfield units" in predictor.predict(Scan(pixels)).notes[0]
    for modality, what in (("MR", "this is of modality MR"), ("CT", "this is a CT in other units")):
        with pytest.raises(LiquidLensError, match=f"here: LiqExp1N2 reads CT in Hounsfield units, and {what}"):
            predictor.predict(Scan(pixels, modality=modality), name="here")


def test_the_threshold_of_the_manifest_decides(liquid_bundle, tmp_path):
    scan = Scan(phantoms.vessel3d(splits={"test": 1})["test_images"][0].astype(np.float32))
    for threshold, label in ((0.0, "aneurysm"), (1.0, "vessel")):
        operating = {"threshold": threshold, "rule": "a test"}
        path = with_metadata(
            liquid_bundle, tmp_path, lambda manifest, o=operating: {KEY: json.dumps({**manifest, "operating": o})}
        )
        assert Predictor(path).predict(scan).label == label


def test_the_model_says_where_it_is_not_sure(liquid_bundle):
    scans = phantoms.vessel3d(splits={"test": 60}, seed=3)["test_images"].astype(np.float32)
    predictor = Predictor(liquid_bundle.model)
    low, high = predictor.manifest.operating.abstain
    assert low < predictor.manifest.operating.threshold < high
    predictions = [predictor.predict(Scan(scan)) for scan in scans]
    for prediction in predictions:
        assert prediction.abstained == (low < prediction.probabilities["aneurysm"] < high)
    assert 0 < sum(prediction.abstained for prediction in predictions) < 30, "about a tenth of usual scans"


def test_classes_that_are_nearly_as_likely(liquid_bundle):
    operating = Operating(threshold=0.5, rule="the likeliest class", abstain_margin=0.2)
    probabilities = np.array([[0.5, 0.35, 0.15], [0.1, 0.4, 0.5], [0.1, 0.1, 0.8]])
    assert abstains(operating, probabilities).tolist() == [True, True, False]


def test_a_file_that_reads_single_slices_is_refused(liquid_bundle):
    with pytest.raises(LiquidLensError, match=r"model-step\.onnx: it reads one slice at a time"):
        Predictor(liquid_bundle.path / "model-step.onnx")


def test_images_and_volumes_are_not_mixed_up(predictor, liquid_bundle, tmp_path):
    with pytest.raises(LiquidLensError, match="here: LiqExp1N2 reads a volume, and this is a 2D image"):
        predictor.predict(Scan(np.zeros((28, 28), np.float32)), name="here")


def brightness(path: Path, channels: int = 1) -> Predictor:
    """A predictor of a real file that reads images: the mean grey value decides."""
    make, colour = onnx.helper, [3] if channels == 3 else []
    axes = list(range(1, 3 + len(colour)))
    graph = make.make_graph(
        [
            make.make_node("ReduceMean", ["scan", "axes"], ["ood"], keepdims=0),
            make.make_node("Div", ["ood", "range"], ["share"]),
            make.make_node("Sub", ["one", "share"], ["rest"]),
            make.make_node("Unsqueeze", ["share", "last"], ["p1"]),
            make.make_node("Unsqueeze", ["rest", "last"], ["p0"]),
            make.make_node("Concat", ["p0", "p1"], ["probabilities"], axis=1),
        ],
        "brightness",
        [make.make_tensor_value_info("scan", onnx.TensorProto.FLOAT, ["batch", "height", "width", *colour])],
        [
            make.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 2]),
            make.make_tensor_value_info("ood", onnx.TensorProto.FLOAT, ["batch"]),
        ],
        [
            make.make_tensor("axes", onnx.TensorProto.INT64, [len(axes)], axes),
            make.make_tensor("last", onnx.TensorProto.INT64, [1], [1]),
            make.make_tensor("range", onnx.TensorProto.FLOAT, [], [255.0]),
            make.make_tensor("one", onnx.TensorProto.FLOAT, [], [1.0]),
        ],
    )
    proto = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10)
    manifest = Manifest(
        model="Brightness",
        paper="none",
        labels=("dark", "bright"),
        input=InputContract(values="grey", size=(28, 28), channels=channels),
        operating=Operating(threshold=0.5, rule="0.5"),
        temperature=1.0,
        out_of_distribution=OutOfDistribution(threshold=300, quantile=1),
        parameters=Parameters(published=0, trainable=0, effective=0, stored=0),
        metrics={},
        initializers={},
        graph_digest="",
        provenance=Provenance(
            dataset="none", dataset_md5="", recipe="", seed=0, weights="best", weights_sha256="", versions={}
        ),
    )
    make.set_model_props(proto, manifest.to_metadata())
    onnx.save(proto, path)
    return Predictor(path)


def test_a_model_of_images_refuses_volumes(tmp_path):
    predictor = brightness(tmp_path / "images.onnx")
    assert predictor.predict(Scan(np.full((5, 9), 250, np.float32))).label == "bright"
    with pytest.raises(LiquidLensError, match="Brightness reads a 2D image, and this is a volume"):
        predictor.predict(Scan(np.zeros((28, 28, 28), np.float32)))


def test_a_model_of_colour_images_reads_colour_only(tmp_path):
    predictor = brightness(tmp_path / "colour.onnx", channels=3)
    prediction = predictor.predict(Scan(np.full((5, 9, 3), 250, np.float32)))
    assert prediction.label == "bright"
    assert prediction.slice_probabilities is None
    for shape in ((5, 9), (5, 9, 4)):
        with pytest.raises(LiquidLensError, match="Brightness reads colour images, and this is none"):
            predictor.predict(Scan(np.zeros(shape, np.float32)))


def test_pixels_beyond_reason_are_unlike_the_training_scans(predictor):
    pixels = np.full((4, 4, 4), 3e38, np.float32)
    pixels[0] *= -1
    assert predictor.predict(Scan(pixels)).ood


def test_answers_that_are_no_numbers_are_refused(predictor):
    outputs = {"probabilities": np.array([np.nan, np.nan], np.float32), "ood": np.float32(1)}
    with pytest.raises(LiquidLensError, match="not a number"):
        conclude(predictor.manifest, outputs, {}, "cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: {**m, "labels": ["a", "b", "c"]}, r"output probabilities is \(1, 2\), not \(1, 3\)"),
        (lambda m: {**m, "input": {**m["input"], "size": [28, 28]}}, "ONNX Runtime cannot run"),
    ],
)
def test_a_manifest_of_another_graph(liquid_bundle, tmp_path, change, sentence):
    with pytest.raises(LiquidLensError, match=sentence):
        Predictor(with_metadata(liquid_bundle, tmp_path, lambda manifest: {KEY: json.dumps(change(manifest))}))


def test_a_file_without_our_manifest(liquid_bundle, tmp_path):
    with pytest.raises(LiquidLensError, match=r"changed\.onnx: the file carries no LiquidLens manifest"):
        Predictor(with_metadata(liquid_bundle, tmp_path, lambda manifest: {"author": "somebody"}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: "{", "Invalid JSON"),
        (lambda m: json.dumps({**m, "format": 2}), "format: Input should be 1"),
        (lambda m: json.dumps({**m, "operating": {"threshold": 3, "rule": ""}}), "threshold"),
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
    assert Manifest.from_metadata(predictor.manifest.to_metadata()) == predictor.manifest


def test_official_64_voxel_files_through_a_28_voxel_model(medmnist_root):
    """The mask contract: the finer official files give the AUC of the 28-voxel files, within 0.01."""
    from liquidlens import metrics
    from liquidlens.train import datasets

    predictor = Predictor("vessel", threads=1)
    areas = []
    for name in ("vesselmnist3d", "vesselmnist3d_64"):
        data = datasets.load(name)
        labels = np.concatenate(list(data.labels.values())).ravel()
        # Of all splits, as 43 test aneurysms alone are too few to compare: each of them, and every fourth vessel.
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)[::4]]))
        scans = np.concatenate(list(data.scans.values()))[chosen]
        probabilities = [predictor.run(part)["probabilities"] for part in np.array_split(scans, 20)]
        areas.append(metrics.auc(labels[chosen], np.concatenate(probabilities)))
    assert areas[0] > 0.95
    assert abs(areas[0] - areas[1]) <= 0.01, areas
