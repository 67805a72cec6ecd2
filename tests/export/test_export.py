"""Exported files: complete, clean, equal to torch, the same bytes every time."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch

from liquidlens import export, models, train
from liquidlens.errors import LiquidLensError
from liquidlens.export.checks import parity
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.graph.provenance import unused_parameters
from liquidlens.export.graph.trace import serialize, to_onnx, trace
from liquidlens.imaging import Scan, phantoms
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.train import datasets
from liquidlens.train.datasets import Dataset
from liquidlens.train.run import RunFolder

FP32 = export.Options(precisions=())
SIZES = [(1, 28, 28, 28), (2, 28, 28, 28), (7, 5, 40, 33), (1, 64, 64, 64), (64, 28, 28, 28), (2, 1, 1, 1)]


def complete(name: str, values="mask", window=None, temperature=1.7, size=None) -> CompleteModel:
    """A model with random weights and everything around it."""
    torch.manual_seed(0)
    channels, *own = models.entry(name).input_shape
    size = size or own
    network = models.build(name, (channels, *size)).eval()
    front = Front(InputContract(values, tuple(size), window, channels))
    if len(size) == 3:
        scans = torch.from_numpy(phantoms.vessel3d(splits={"train": 48})["train_images"]).float()
    else:
        colour = (3,) if channels == 3 else ()
        scans = torch.randint(0, 256, (48, *size, *colour)).float()
    with torch.no_grad():
        score = ood.fit(network.decide(front(scans)).activations)
    return CompleteModel(front, network, temperature, score).eval()


@pytest.mark.parametrize("size", [(30, 30, 30), (30, 33)])
def test_a_front_of_the_size_of_the_traced_example_takes_others_too(size):
    front, axes = Front(InputContract("grey", size)), dict.fromkeys(range(len(size) + 1), torch.export.Dim.DYNAMIC)
    traced = torch.export.export(front, (torch.rand(2, *size),), dynamic_shapes=(axes,)).module()
    for shape in ((2, *size), (1, *(length + 3 for length in size))):
        scans = 255 * torch.rand(shape)
        assert torch.allclose(traced(scans), front(scans), atol=1e-6)


def test_states_of_several_tracks_are_those_of_their_scans():
    model, scans = complete("LiquidLens-V", values="grey", size=(24, 24, 24)).folded(), 255 * torch.rand(3, 24, 24, 24)
    with torch.no_grad():
        together, alone = model(scans)["states"], [model(scan[None])["states"] for scan in scans]
    assert len(together) == len(scans)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def differences(content: bytes, model: CompleteModel, shape, low=0, high=256) -> dict[str, float]:
    scans = np.random.default_rng(0).integers(low, high, shape).astype(np.float32)
    with torch.no_grad():
        expected = model.folded()(torch.from_numpy(scans)) | model(torch.from_numpy(scans))
    names = list(expected)
    found = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(names, {"scan": scans})
    differences = {}
    for name, a, b in zip(names, found, (tensor.numpy() for tensor in expected.values()), strict=True):
        assert a.shape == b.shape, name
        differences[name] = float((np.abs(a - b) / (np.maximum(1, b) if name == "ood" else 1)).max())
    return differences


@pytest.mark.parametrize(
    "name", ["LiqExp1N2", "LiqExp2N5", "LiqExp3N2", "LiqExp3N3", "LiqExp3N5", "CNNExp3N6", "LSTMExp5N3", "RNNExp5N6"]
)
def test_files_equal_torch_for_any_batch_and_scan_size(name):
    model = complete(name)
    content = serialize(to_onnx(model), {})
    for shape in SIZES:
        found = differences(content, model, shape)
        assert ("slice_logits" in found) == (name != "CNNExp3N6")
        for output, difference in found.items():
            assert difference <= 1e-5, (shape, output)


@pytest.mark.parametrize(
    "name", ["CfCExp1N5", "CRNet-NCP-y-fashion", "1MLP-GRU", "biLSTM-rows", "EQ2425-4E", "RecNet", "MNIST-CNN"]
)
def test_files_of_every_family_equal_torch(name):
    model = complete(name, "mask" if name.startswith("CfC") else "grey")
    for module in model.modules():
        if hasattr(module, "random_states"):
            module.random_states = False
    traced = trace(model)
    assert {record.kind for record in traced.initializers} <= {"weights", "masks", "constants"}
    assert unused_parameters(traced.initializers, model.network) == []
    content = serialize(traced.proto, {})
    contract = model.front.contract
    colour = (3,) if contract.channels == 3 else ()
    for batch, factor in ((1, 1), (2, 1.3), (7, 0.6)):
        shape = (batch, *(round(n * factor) for n in contract.size), *colour)
        for output, difference in differences(content, model, shape).items():
            assert difference <= 2e-5, (shape, output)


@pytest.mark.parametrize("opset", [18, 23])
def test_other_operator_sets(opset):
    model = complete("LiqExp5N1")
    proto = to_onnx(model, opset)
    assert [entry.version for entry in proto.opset_import] == [opset]
    assert max(differences(serialize(proto, {}), model, (2, 28, 28, 28)).values()) <= 1e-5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"opset": 17}, "Operator set 17 is too old: files are written for 18 to 23"),
        ({"opset": 99}, "Operator set 99 is too new"),
        ({"calibration_scans": 0}, "calibration set of int8-static is empty"),
        ({"abstain": 1.0}, "share to abstain on"),
        ({"auc_budget": -1}, "AUC budget"),
    ],
)
def test_options_that_make_no_sense(liquid_run, tmp_path, options, sentence):
    with pytest.raises(LiquidLensError, match=sentence):
        export.export(liquid_run.path, tmp_path / "out", export.Options(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_weights(liquid_run, tmp_path):
    copy = shutil.copytree(liquid_run.path, tmp_path / "run")
    (copy / "weights.safetensors").unlink()
    with pytest.raises(LiquidLensError, match=r"it has no weights\.safetensors"):
        export.export(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_takes_the_place_of_the_one_before_and_of_nothing_else(liquid_run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("three years")
    with pytest.raises(LiquidLensError, match="exists and is no bundle"):
        export.export(liquid_run.path, out, FP32)
    assert (out / "thesis.docx").read_text() == "three years"
    (out / "SHA256SUMS").write_text("0  thesis.iso\n")
    with pytest.raises(LiquidLensError, match="exists and is no bundle"):
        export.export(liquid_run.path, out, FP32)
    (out / "thesis.docx").unlink()
    bundle = export.export(liquid_run.path, out, FP32)
    assert "model.onnx" in (out / "SHA256SUMS").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert bundle.model.is_file()


@pytest.mark.parametrize(
    ("values", "window", "low", "high"), [("grey", None, 0, 3000), ("hu", (-1000, 400), -1024, 3000)]
)
def test_files_for_grey_values_and_hounsfield_units(values, window, low, high):
    model = complete("CNNExp1N1", values, window)
    content = serialize(to_onnx(model), {})
    for shape in SIZES:
        found = differences(content, model, shape, low, high)
        assert max(found.values()) <= 1e-5, (shape, found)


def test_the_reference_evaluator_computes_the_same():
    """A second, slow implementation of ONNX: the file relies on the standard, not on one runtime."""
    model = complete("LiqExp1N2")
    proto = to_onnx(model)
    scan = phantoms.vessel3d(splits={"test": 1})["test_images"].astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(scan))
    found = onnx.reference.ReferenceEvaluator(proto).run(["logits"], {"scan": scan})
    assert np.abs(found[0] - expected["logits"].numpy()).max() <= 1e-5


def test_the_loop_is_one_scan_with_plain_operators():
    proto = to_onnx(complete("LiqExp1N2"))
    assert {opset.domain for opset in proto.opset_import} == {""}
    assert not proto.functions
    operators = [node.op_type for node in proto.graph.node]
    assert operators.count("Scan") == 1
    assert "Resize" not in operators
    assert [[d.dim_param for d in i.type.tensor_type.shape.dim] for i in proto.graph.input] == [
        ["batch", "depth", "height", "width"]
    ]


def test_outputs_are_consistent_with_each_other(liquid_bundle):
    session = onnxruntime.InferenceSession(liquid_bundle.model.read_bytes(), providers=["CPUExecutionProvider"])
    scans = phantoms.vessel3d(splits={"test": 5})["test_images"].astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    out = dict(zip(names, session.run(None, {"scan": scans}), strict=True))
    assert out["logits"].shape == (5, 1)
    assert out["slice_logits"].shape == (5, 28, 1)
    assert out["ood"].shape == (5,)
    assert np.allclose(out["probabilities"].sum(1), 1)
    assert np.allclose(out["probabilities"][:, 1:], 1 / (1 + np.exp(-out["logits"])), atol=1e-6)
    assert np.allclose(out["slice_logits"].mean(1), out["logits"], atol=1e-6)


def test_the_bundle_is_complete(liquid_bundle, liquid_run):
    assert sorted(path.name for path in liquid_bundle.path.iterdir()) == [
        "AUDIT.html",
        "CARD.md",
        "SHA256SUMS",
        "audit.json",
        "golden.npz",
        "model-step.onnx",
        "model-unrolled.onnx",
        "model.json",
        "model.onnx",
    ]
    for line in (liquid_bundle.path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((liquid_bundle.path / name).read_bytes()).hexdigest() == digest
    audit = json.loads((liquid_bundle.path / "audit.json").read_text())
    assert audit["audit"]["bytes"] == liquid_bundle.model.stat().st_size <= 120_000
    for profile in ("loop", "unrolled", "step"):
        parity = audit["parity"][profile]
        assert parity["max_logit_difference"] <= 1e-4
        assert (parity["changed_labels"], parity["scans"]) == (0, 200)
    manifest = liquid_bundle.manifest
    assert manifest.parameters.trainable == manifest.parameters.published == 37265
    assert manifest.metrics["test"].items() >= liquid_run.metrics().best.test.items()
    assert manifest.temperature == liquid_run.metrics().best.temperature


def test_the_file_carries_no_trace_of_where_it_was_made(liquid_bundle, liquid_run):
    content = liquid_bundle.model.read_bytes()
    for hint in (b".py", b"File ", b"/home", b"/tmp", b"site-packages", str(liquid_run.path).encode()):
        assert hint not in content, hint
    proto = onnx.load_model_from_string(content)
    keys = ["liquidlens", "liquidlens.sha256", "liquidlens.trained_on", "liquidlens.trained_on.sha256"]
    assert [entry.key for entry in proto.metadata_props] == keys
    assert (liquid_bundle.path / "model.json").read_text() == proto.metadata_props[0].value
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in proto.graph.initializer)


def test_exporting_again_gives_the_same_bytes(liquid_bundle, liquid_run, tmp_path):
    """In another process, with another hash seed, in another folder."""
    moved = shutil.copytree(liquid_run.path, tmp_path / "moved")
    subprocess.run(
        [sys.executable, "-m", "liquidlens", "export", str(moved), "--out", str(tmp_path / "again"), "--variants", ""],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
    )
    assert (tmp_path / "again" / "model.onnx").read_bytes() == liquid_bundle.model.read_bytes()


def test_a_file_that_disagrees_with_torch_is_refused():
    model = complete("LiqExp5N1")
    content = serialize(to_onnx(model), {})
    scans = phantoms.vessel3d(splits={"val": 6})["val_images"]
    assert parity.check(content, model, scans).changed_labels == 0
    with torch.no_grad():
        next(model.network.head.parameters()).add_(0.5)  # torch moves on, the file stays
    with pytest.raises(parity.AuditError, match="disagrees with torch"):
        parity.check(content, model, scans)


def test_nothing_is_written_when_parity_fails(liquid_run, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(parity.AuditError):
        export.export(liquid_run.path, tmp_path / "out", FP32)
    assert not (tmp_path / "out").exists()


def test_runs_whose_data_changed_are_refused(liquid_run, tmp_path):
    copy = RunFolder(shutil.copytree(liquid_run.path, tmp_path / "run"))
    copy.write_json("recipe.json", copy.recipe().model_copy(update={"dataset_md5": "0" * 32}))
    with pytest.raises(LiquidLensError, match="another version of phantom-vessel3d"):
        export.export(copy.path, tmp_path / "out", FP32)


def test_ood_score_tells_strange_scans(liquid_bundle):
    session = onnxruntime.InferenceSession(liquid_bundle.model.read_bytes(), providers=["CPUExecutionProvider"])
    threshold = liquid_bundle.manifest.out_of_distribution.threshold

    def flagged(scans) -> float:
        return float((session.run(["ood"], {"scan": scans.astype(np.float32)})[0] > threshold).mean())

    rng = np.random.default_rng(0)
    assert flagged(phantoms.vessel3d(seed=9, splits={"test": 100})["test_images"]) <= 0.1
    assert flagged(rng.integers(0, 256, (4, 28, 28, 28))) == 1, "noise"
    assert flagged(rng.integers(-1000, 1200, (4, 28, 28, 28))) == 1, "a CT scan is no mask"
    assert flagged(np.zeros((1, 28, 28, 28))) == 1, "an empty scan"


@pytest.fixture
def colour_dataset(monkeypatch):
    """Three classes of colour images: red, green and blue squares."""
    rng = np.random.default_rng(0)
    labels = {split: rng.integers(0, 3, 96 if split == "train" else 40) for split in datasets.SPLITS}

    def images(classes):
        pixels = rng.integers(0, 100, (len(classes), 32, 32, 3))
        pixels[np.arange(len(classes)), :, :, classes] += 120
        return pixels.astype(np.uint8)

    scans = {split: images(classes) for split, classes in labels.items()}
    colours = Dataset("colours", ("red", "green", "blue"), "grey", "md5", scans, labels, channels=3)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: colours)
    return colours


def test_colour_images_of_three_classes_are_exported_and_served(colour_dataset, tmp_path):
    changes = {"max_epochs": 4, "batch_size": 16, "normalise": [0.4, 0.5]}
    run = train.train("EQ2425-4E", "colours", "quick", changes=changes, runs=tmp_path, progress=False)
    assert run.metrics().best.test["accuracy"] > 0.9
    bundle = export.export(run.path, tmp_path / "bundle", FP32)
    predictor = Predictor(bundle.model)
    outputs = predictor.run(colour_dataset.scans["test"])
    assert outputs["probabilities"].shape == (40, 3)
    assert np.allclose(outputs["probabilities"].sum(1), 1, atol=1e-6)
    assert (outputs["probabilities"].argmax(1) == colour_dataset.labels["test"]).mean() > 0.9
    assert (bundle.manifest.input.channels, bundle.manifest.input.mean) == (3, 0.4)
    with pytest.raises(LiquidLensError, match="reads colour images"):
        predictor.predict(Scan(np.zeros((32, 32), np.float32)))


def test_recurrent_networks_start_from_zeros_in_the_file(tmp_path):
    changes = {"max_epochs": 1, "subset": 64}
    run = train.train("1MLP-GRU", "phantom-cxr", changes=changes, size=(28, 28), runs=tmp_path, progress=False)
    bundle = export.export(run.path, tmp_path / "bundle", FP32)
    image = datasets.load("phantom-cxr").scans["test"][0].astype(np.float32)
    assert set(Predictor(bundle.model).predict(Scan(image)).probabilities) == {"normal", "pneumonia"}
    assert export.export(run.path, tmp_path / "again", FP32).model.read_bytes() == bundle.model.read_bytes()


@pytest.mark.parametrize(
    ("model", "data", "flags", "recipe", "reason"),
    [
        ("LSTMExp5N2", "phantom-vessel3d", ["source_layout"], "quick", "recurs over the scans of a batch"),
        ("EQ2425-4D", "phantom-cxr", ["dropout_always"], "quick", "dropout is at random in evaluation"),
        ("LiquidLens-S", "phantom-vessel3d", ["uneven"], "quick", "leaves out slices at random"),
        ("PoseNet-final", "phantom-pose", [], "tum-2018-pose", "another network's feature maps"),
    ],
)
def test_what_cannot_be_a_file_is_refused(tmp_path, model, data, flags, recipe, reason):
    changes = {"max_epochs": 1, "subset": 32}
    run = train.train(model, data, recipe, changes=changes, flags=flags, runs=tmp_path, progress=False)
    with pytest.raises(LiquidLensError, match=reason):
        export.export(run.path, tmp_path / "bundle", FP32)
    assert not (tmp_path / "bundle").exists()
