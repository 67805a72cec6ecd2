"""Golden files: legal synthetic scans, torch's answers, the same bytes every time, and differences that are noticed."""

import io
import zipfile

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from onnx.numpy_helper import from_array, to_array

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.export.checks import golden
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.graph.trace import serialize, to_onnx
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front

CONTRACTS = {
    "mask volume": InputContract("mask", (28, 28, 28)),
    "grey volume": InputContract("grey", (28, 28, 28)),
    "CT volume": InputContract("hu", (28, 28, 28), (-1000, 400)),
    "grey image": InputContract("grey", (224, 224)),
    "CT image": InputContract("hu", (64, 48), (-160, 240)),
    "colour image": InputContract("grey", (32, 32), channels=3),
    "large colour image": InputContract("grey", (224, 224), channels=3),
}


def complete(name: str, contract: InputContract) -> CompleteModel:
    """A model with random weights and everything around it."""
    torch.manual_seed(0)
    network, front = models.build(name).eval(), Front(contract)
    scans = torch.from_numpy(golden.synthetic(contract, 12, contract.size))
    with torch.no_grad():
        score = ood.fit(network.decide(front(scans)).activations)
    return CompleteModel(front, network, 1.7, score).eval()


@pytest.fixture(scope="module")
def liquid():
    """A liquid model, its file and its golden file."""
    model = complete("LiqExp1N2", CONTRACTS["mask volume"])
    return model, serialize(to_onnx(model), {}), golden.pack(golden.golden(model))


@pytest.mark.parametrize("kind", CONTRACTS)
@pytest.mark.parametrize("wide", [False, True])
def test_synthetic_scans_are_legal_and_not_trivial(kind, wide):
    contract = CONTRACTS[kind]
    scans = golden.synthetic(contract, 2, contract.size, wide)
    assert scans.dtype == np.float32
    assert scans.shape == (2, *contract.size, *([3] if contract.channels == 3 else []))
    pixels = torch.from_numpy(scans)
    assert Front(contract).violation(pixels).tolist() == [0, 0]
    assert Front(contract)(pixels).std() > 0.05
    assert not np.array_equal(scans[0], scans[1])
    values = len(np.unique(scans))
    assert values == 2 if contract.values == "mask" else values > 20
    if contract.values == "grey":
        assert (scans.max() > 255) == wide
    if contract.window is not None:
        low, high = contract.window
        assert (scans.min() < low and scans.max() > high) == wide


@pytest.mark.parametrize("kind", CONTRACTS)
def test_golden_files_are_small(kind):
    contract = CONTRACTS[kind]
    arrays = {
        "scan": golden.synthetic(contract, 2, contract.size),
        "scan_other": golden.synthetic(contract, 1, tuple(round(1.25 * n) for n in contract.size), wide=True),
    }
    limit = 500_000 if len(contract.size) == 2 else 300_000
    assert len(golden.pack(arrays)) < limit


def test_a_golden_file_holds_two_cases_and_every_output(liquid):
    _, content, packed = liquid
    assert len(packed) < 60_000
    with np.load(io.BytesIO(packed)) as arrays:
        shapes = {name: array.shape for name, array in arrays.items()}
        assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays.values())
    assert shapes["scan"] == (2, 28, 28, 28)
    assert shapes["scan_other"] == (1, 21, 35, 25)
    outputs = {output.name for output in onnx.load_model_from_string(content).graph.output}
    assert set(shapes) == {name + suffix for name in {"scan", *outputs} for suffix in ("", "_other")}
    assert shapes["logits"] == (2, 1)
    assert shapes["states_other"] == (1, 28, 21)


def test_onnx_runtime_gives_the_golden_answers(liquid):
    _, content, packed = liquid
    worst = golden.verify(content, packed)
    assert set(worst) == {"logits", "probabilities", "ood", "slice_logits", "states"}
    assert max(worst.values()) <= 1e-5


def test_the_reference_evaluator_gives_the_golden_answers(liquid):
    _, content, packed = liquid
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load_model_from_string(content))
    with np.load(io.BytesIO(packed)) as arrays:
        found = dict(zip(evaluator.output_names, evaluator.run(None, {"scan": arrays["scan_other"]}), strict=True))
        for name, values in found.items():
            assert np.allclose(values, arrays[f"{name}_other"], rtol=1e-4, atol=1e-5), name


def test_answers_that_changed_are_noticed(liquid):
    _, content, packed = liquid
    proto = onnx.load_model_from_string(content)
    offset = next(
        tensor for tensor in proto.graph.initializer if tensor.name == "network.head.steps.0.layer.output_offset"
    )
    offset.CopyFrom(from_array(to_array(offset) + np.float32(0.1), offset.name))
    worst = golden.verify(proto.SerializeToString(), packed)
    assert worst["logits"] == pytest.approx(0.1 / 1.7, rel=0.01), "logits are divided by the temperature"
    assert worst["ood"] <= 1e-5, "the convolutions are the same"


def test_another_models_golden_file_is_refused(liquid):
    _, content, _ = liquid
    cnn = golden.pack(golden.golden(complete("CNNExp1N1", CONTRACTS["mask volume"])))
    with pytest.raises(LiquidLensError, match="is another model's: no states of shape"):
        golden.verify(content, cnn)


def test_the_golden_file_of_a_model_of_colour_images():
    model = complete("CNN-FC-for-RNN-CIFAR10", CONTRACTS["colour image"])
    worst = golden.verify(serialize(to_onnx(model), {}), golden.pack(golden.golden(model)))
    assert max(worst.values()) <= 1e-5


def test_the_bytes_are_the_same_every_time_and_name_no_time(liquid):
    model, _, packed = liquid
    assert golden.pack(golden.golden(model)) == packed
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
