"""The Triton model repository: its configuration as Triton's own message reads it."""

import json
import subprocess
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from liquidlens.errors import LiquidLensError
from liquidlens.export import triton

DEVICE = Path(__file__).parents[2] / ".venv-serve" / "bin" / "python"
PARSE = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
print(json_format.MessageToJson(text_format.Parse(sys.stdin.read(), ModelConfig()), preserving_proto_field_name=True))
"""


def parsed(text: str) -> dict:
    """The configuration as Triton reads it; numbers of 64 bits are texts in this form."""
    if not DEVICE.is_file():
        pytest.skip("needs the device environment: make environments")
    done = subprocess.run([DEVICE, "-c", PARSE], input=text, capture_output=True, text=True)
    if "No module named 'tritonclient'" in done.stderr:
        pytest.skip("needs tritonclient in the device environment: make environments")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def file_with(path: Path, inputs: dict[str, list], outputs: dict[str, list], kind: int = TensorProto.FLOAT) -> Path:
    """An ONNX file with these inputs and outputs, each output the first input."""
    first = next(iter(inputs))
    graph = helper.make_graph(
        [helper.make_node("Identity", [first], [name]) for name in outputs],
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
    )
    onnx.save(helper.make_model(graph), path)
    return path


def test_triton_reads_the_configuration_of_a_liquid_model(liquid_bundle, tmp_path):
    folder = triton.write(liquid_bundle.model, tmp_path / "repository", "vessels", liquid_bundle.manifest, max_batch=40)
    assert folder == tmp_path / "repository" / "vessels"
    assert (folder / "1" / "model.onnx").read_bytes() == liquid_bundle.model.read_bytes()
    assert (folder / "labels.txt").read_text().splitlines() == ["vessel", "aneurysm"]
    assert [path.name for path in folder.parent.iterdir()] == ["vessels"], "nothing temporary stays"
    assert (folder.stat().st_mode & 0o777) == (folder / "1").stat().st_mode & 0o777, "the server may read it"

    found = parsed((folder / "config.pbtxt").read_text())
    assert found["name"] == "vessels"
    assert found["platform"] == "onnxruntime_onnx"
    assert found["max_batch_size"] == 40
    assert found["input"] == [{"name": "scan", "data_type": "TYPE_FP32", "dims": ["-1", "-1", "-1"]}]
    outputs = {output["name"]: output for output in found["output"]}
    graph = onnx.load(liquid_bundle.model).graph
    assert list(outputs) == [output.name for output in graph.output]
    assert all(output["data_type"] == "TYPE_FP32" for output in outputs.values())
    assert outputs["logits"]["dims"] == ["1"]
    assert outputs["slice_logits"]["dims"] == ["28", "1"]
    assert (outputs["probabilities"]["dims"], outputs["probabilities"]["label_filename"]) == (["2"], "labels.txt")
    assert (outputs["ood"]["dims"], outputs["ood"]["reshape"]) == (["1"], {}), "one number per scan"
    assert not any("label_filename" in output for name, output in outputs.items() if name != "probabilities")
    batching = found["dynamic_batching"]
    assert batching["preferred_batch_size"] == [8, 32], "64 is more than the server may take"
    assert int(batching["max_queue_delay_microseconds"]) > 0


def test_sizes_that_are_free_are_minus_one_and_fixed_ones_are_said(tmp_path):
    path = file_with(
        tmp_path / "m.onnx",
        {"slice": ["batch", "height", 20], "count": ["batch"]},
        {"next": ["batch", None, 20]},
        kind=TensorProto.INT64,
    )
    found = parsed(triton.config(path, "m", max_batch=1))
    assert found["input"] == [
        {"name": "slice", "data_type": "TYPE_INT64", "dims": ["-1", "20"]},
        {"name": "count", "data_type": "TYPE_INT64", "dims": ["1"], "reshape": {}},
    ]
    assert found["output"] == [{"name": "next", "data_type": "TYPE_INT64", "dims": ["-1", "20"]}]
    assert "preferred_batch_size" not in found["dynamic_batching"]


def test_a_label_is_one_line(liquid_bundle, tmp_path):
    manifest = liquid_bundle.manifest.model_copy(update={"labels": ("no\nfinding", 'a "mass"')})
    folder = triton.write(liquid_bundle.model, tmp_path, "m", manifest)
    assert (folder / "labels.txt").read_text() == 'no finding\na "mass"\n'


def test_a_model_that_is_there_is_not_touched(liquid_bundle, tmp_path):
    folder = triton.write(liquid_bundle.model, tmp_path, "m", liquid_bundle.manifest)
    before = (folder / "config.pbtxt").stat().st_mtime_ns
    with pytest.raises(LiquidLensError, match="m exists: remove it"):
        triton.write(liquid_bundle.model, tmp_path, "m", liquid_bundle.manifest)
    assert (folder / "config.pbtxt").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", 'x"y', "a b", "a\n"])
def test_names_that_are_no_folder_are_refused(name, liquid_bundle, tmp_path):
    with pytest.raises(LiquidLensError, match="is no name for a Triton model"):
        triton.write(liquid_bundle.model, tmp_path, name, liquid_bundle.manifest)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_served_leave_nothing(liquid_bundle, tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"not ONNX")
    files = {
        "not a readable ONNX file": tmp_path / "no.onnx",
        "scan has no free first dimension": file_with(tmp_path / "a.onnx", {"scan": [2, 3]}, {"out": ["batch", 3]}),
        "out has no free first dimension": file_with(tmp_path / "b.onnx", {"scan": ["batch"]}, {"out": []}),
        "scan has a data type that Triton does not serve": file_with(
            tmp_path / "c.onnx", {"scan": ["batch"]}, {"out": ["batch"]}, kind=TensorProto.BFLOAT16
        ),
    }
    for reason, path in files.items():
        with pytest.raises(LiquidLensError, match=reason):
            triton.write(path, tmp_path / "repository", "m", liquid_bundle.manifest)
    with pytest.raises(LiquidLensError, match="at least one scan"):
        triton.write(liquid_bundle.model, tmp_path / "repository", "m", liquid_bundle.manifest, max_batch=0)
    assert not (tmp_path / "repository").exists()
