"""Timing: every file, provider and batch size once, figures that belong together, and errors for people."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import KEY, InputContract
from liquidlens.serve import bench

from ..conftest import changed_metadata

DEVICE = Path(__file__).parents[2] / ".venv-serve" / "bin" / "python"


def file_with_inputs(path: Path, *inputs: tuple[str, list], metadata: dict[str, str] | None = None) -> Path:
    """An ONNX file that returns its first input."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs]
    node = helper.make_node("Identity", [inputs[0][0]], ["out"])
    graph = helper.make_graph(
        [node], "g", values, [helper.make_tensor_value_info("out", TensorProto.FLOAT, inputs[0][1])]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(proto, metadata or {})
    onnx.save(proto, path)
    return path


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def folder(liquid_bundle, tmp_path_factory) -> Path:
    """A bundle of two variants and a file that is none."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copy(liquid_bundle.model, folder / "model.onnx")
    shutil.copy(liquid_bundle.model, folder / "model.other.onnx")
    (folder / "foreign.onnx").write_bytes(b"not ONNX")
    return folder


def test_every_variant_is_measured_at_every_batch_size(folder, liquid_bundle):
    rows = bench.measure([folder], batch_sizes=(1, 4), repeats=3, providers=["CPUExecutionProvider"])
    assert [(row.file.name, row.batch_size) for row in rows] == [
        ("model.onnx", 1),
        ("model.onnx", 4),
        ("model.other.onnx", 1),
        ("model.other.onnx", 4),
    ]
    for row in rows:
        assert (row.model, row.provider, row.unit) == ("LiqExp1N2", "CPUExecutionProvider", "scan")
        assert row.bytes == liquid_bundle.model.stat().st_size
        assert 0 < row.p50_milliseconds <= row.p99_milliseconds
        assert row.load_milliseconds > 0
        # The mean of three runs lies between a third of their median (the others took no time) and their maximum.
        per_run = 1000 * row.batch_size / row.per_second
        assert row.p50_milliseconds / 3 <= per_run <= 3 * row.p99_milliseconds


def test_runs_side_by_side_are_timed_as_well(folder):
    model = folder / "model.onnx"
    both = bench.measure([model], batch_sizes=(2,), repeats=3, providers=["CPUExecutionProvider"], beside=2)
    assert both[0].beside_per_second > 0
    alone = bench.measure([model], batch_sizes=(2,), repeats=3, providers=["CPUExecutionProvider"])
    assert alone[0].beside_per_second is None


def test_a_provider_that_is_not_there_is_left_out_unless_it_was_asked_for(folder, capfd):
    model = folder / "model.onnx"
    found = {row.provider for row in bench.measure([model], batch_sizes=(1,), repeats=1)}
    assert "CPUExecutionProvider" in found
    missing = {"CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider"} - found
    for provider in missing:
        with pytest.raises(LiquidLensError, match=f"{provider} cannot be had on this machine"):
            bench.measure([model], batch_sizes=(1,), repeats=1, providers=[provider])
    assert capfd.readouterr() == ("", ""), "ONNX Runtime's own complaints about missing libraries are silenced"


@pytest.mark.parametrize("values", ["mask", "grey", "hu"])
@pytest.mark.parametrize(("size", "channels"), [((6, 5, 4), 1), ((5, 4), 1), ((5, 4), 3)])
def test_inputs_are_legal(tmp_path, values, size, channels):
    colour = [3] if channels == 3 else []
    shape = ["batch", *(f"size_{axis}" for axis in range(len(size))), *colour]
    session = cpu_session(file_with_inputs(tmp_path / "m.onnx", ("scan", shape)))
    contract = InputContract(
        values=values, size=size, channels=channels, window=(-1000, 400) if values == "hu" else None
    )
    scan = bench.inputs(session, contract, 7)["scan"]
    assert scan.shape == (7, *size, *colour)
    assert scan.dtype == np.float32
    if values == "mask":
        assert set(np.unique(scan)) == {0, 255}
    else:
        low, high = (-1024, 3071) if values == "hu" else (0, 255)
        assert low <= scan.min() < scan.max() <= high


def test_a_file_that_reads_slices_is_measured_per_slice(tmp_path, liquid_bundle):
    path = file_with_inputs(
        tmp_path / "model.step.onnx",
        ("slice", ["batch", "height", "width"]),
        ("state", ["batch", 21]),
        ("count", ["batch"]),
        ("largest", ["batch"]),
        metadata=liquid_bundle.manifest.to_metadata(),
    )
    feed = bench.inputs(cpu_session(path), liquid_bundle.manifest.input, 3)
    assert {name: array.shape for name, array in feed.items()} == {
        "slice": (3, 28, 28),
        "state": (3, 21),
        "count": (3,),
        "largest": (3,),
    }
    assert feed["largest"].tolist() == [255] * 3
    (row,) = bench.measure([path], batch_sizes=(3,), repeats=2, providers=["CPUExecutionProvider"])
    assert row.unit == "slice"


def test_what_cannot_be_measured_is_said(folder, tmp_path, liquid_bundle):
    with pytest.raises(LiquidLensError, match="not a readable ONNX file"):
        bench.measure([folder / "foreign.onnx"])
    with pytest.raises(LiquidLensError, match="there is no such file"):
        bench.measure([folder / "none.onnx"])
    with pytest.raises(LiquidLensError, match=r"no model\*\.onnx in this folder"):
        bench.measure([tmp_path])
    with pytest.raises(LiquidLensError, match="whole numbers from 1"):
        bench.measure([folder], batch_sizes=(0,))
    stranger = file_with_inputs(tmp_path / "stranger.onnx", ("scan", ["batch", "n"]))
    with pytest.raises(LiquidLensError, match=r"stranger\.onnx: the file carries no LiquidLens manifest"):
        bench.measure([stranger])
    proto = changed_metadata(liquid_bundle, lambda manifest: {KEY: liquid_bundle.manifest.to_json()})
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(proto, tmp_path / "fixed.onnx")
    with pytest.raises(LiquidLensError, match=r"fixed\.onnx: CPUExecutionProvider cannot run it at batch size 1"):
        bench.measure([tmp_path / "fixed.onnx"], repeats=1)


def test_the_device_environment_can_measure(folder):
    if not DEVICE.is_file():
        pytest.skip("needs the device environment: make environments")
    code = "import sys; from liquidlens.serve import bench; print(*bench.measure(sys.argv[1:], (1,), repeats=1))"
    done = subprocess.run([DEVICE, "-c", code, folder], check=True, capture_output=True, text=True)
    assert "LiqExp1N2" in done.stdout
    assert done.stderr == ""
