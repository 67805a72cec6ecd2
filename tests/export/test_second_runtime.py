"""A second runtime that none of our Python code touches: ONNX Runtime Web, WebAssembly in Node."""

import json
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest
import torch
from onnx.numpy_helper import from_array, to_array

from liquidlens import models
from liquidlens.export.checks import golden
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.graph.trace import serialize, to_onnx
from liquidlens.export.graph.unroll import unroll
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front

NODE = Path(__file__).parents[1] / "node"


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node, with the runtime installed beside `verify.mjs`."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        pytest.skip("needs Node.js: node and npm")
    if not (NODE / "node_modules" / "onnxruntime-web").is_dir():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A liquid model with random weights as loop and unrolled, and torch's answers."""
    torch.manual_seed(0)
    network, front = models.build("LiqExp1N2").eval(), Front(InputContract("mask", (28, 28, 28)))
    scans = torch.from_numpy(golden.synthetic(front.contract, 12, (28, 28, 28)))
    with torch.no_grad():
        score = ood.fit(network.decide(front(scans)).activations)
    model = CompleteModel(front, network, 1.7, score).eval()
    loop = to_onnx(model)
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "model.onnx").write_bytes(serialize(loop, {}))
    (folder / "model-unrolled.onnx").write_bytes(serialize(unroll(loop), {}))
    (folder / "golden.npz").write_bytes(golden.pack(golden.golden(model)))
    return folder


def run(node: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([node, NODE / "verify.mjs", *arguments], capture_output=True, text=True)


def test_it_gives_torchs_answers_with_and_without_the_loop(node, bundle):
    done = run(node, bundle, "1e-5")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert set(report) == {"model.onnx", "model-unrolled.onnx"}
    for worst in report.values():
        assert set(worst) == {"logits", "probabilities", "ood", "slice_logits", "states"}
        assert max(worst.values()) <= 1e-5


def test_it_notices_another_answer(node, bundle, tmp_path):
    proto = onnx.load(bundle / "model.onnx")
    offset = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith("layer.output_offset"))
    offset.CopyFrom(from_array(to_array(offset) + 0.1, offset.name))
    onnx.save(proto, tmp_path / "model.onnx")
    shutil.copy(bundle / "golden.npz", tmp_path)
    done = run(node, tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["model.onnx"]["logits"] == pytest.approx(0.1 / 1.7, rel=0.01)
