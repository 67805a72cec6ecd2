"""The profile ``step``: slices one at a time, the same answer."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from liquidlens.errors import LiquidLensError
from liquidlens.export.checks.parity import check_step
from liquidlens.export.graph.step import trace_step
from liquidlens.export.graph.trace import serialize
from liquidlens.imaging import phantoms
from tests.export.test_export import complete

SCANS = phantoms.vessel3d(splits={"val": 9})["val_images"]


@pytest.mark.parametrize(
    ("name", "values", "window"),
    [("LiqExp1N5", "mask", None), ("LiqExp3N3", "grey", None), ("CfCExp3N5", "hu", (-100.0, 300.0))],
)
def test_slices_one_at_a_time_lead_to_the_same_answer(name, values, window):
    model = complete(name, values, window)
    traced = trace_step(model)
    assert {record.kind for record in traced.initializers} <= {"weights", "masks", "constants"}
    assert ("largest" in {value.name for value in traced.proto.graph.input}) == (values != "hu")
    parity = check_step(serialize(traced.proto, {}), model, SCANS)
    assert (parity.scans, parity.changed_labels) == (9, 0)
    assert parity.max_logit_difference <= 1e-5


def test_the_probability_so_far_is_that_of_the_slices_so_far(liquid_bundle):
    """After any number of slices the answer is the mean of their logits, which the loop gives at once."""
    whole = onnxruntime.InferenceSession(liquid_bundle.model.read_bytes(), providers=["CPUExecutionProvider"])
    step = onnxruntime.InferenceSession(
        (liquid_bundle.path / "model-step.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    scan = SCANS[:2].astype(np.float32)
    slice_logits, states = whole.run(["slice_logits", "states"], {"scan": scan})
    memory = {"state": np.zeros((2, 21)), "sum": np.zeros((2, 1)), "count": np.zeros(2), "largest": scan.max((1, 2, 3))}
    memory = {name: value.astype(np.float32) for name, value in memory.items()}
    names = [output.name for output in step.get_outputs()]
    for i in range(28):
        found = dict(zip(names, step.run(None, {"slice": scan[:, i], **memory}), strict=True))
        assert np.allclose(found["logits"], slice_logits[:, : i + 1].mean(1), atol=1e-5)
        assert np.allclose(found["next_state"], states[:, i], atol=1e-5)
        assert (found["next_count"] == i + 1).all()
        memory |= {name: found[f"next_{name}"] for name in ("state", "sum", "count")}


def test_models_without_a_stream_of_slices_are_refused():
    with pytest.raises(LiquidLensError, match="keeps no state from slice to slice"):
        trace_step(complete("CNNExp1N4"))
    with pytest.raises(LiquidLensError, match="this model reads none"):
        trace_step(complete("CRNet-NCP-y-fashion"))
    with pytest.raises(LiquidLensError, match="in one direction"):
        trace_step(complete("LiquidLens-S"))


def test_the_graph_has_no_loop():
    proto = trace_step(complete("LiqExp5N1")).proto
    assert "Scan" not in {node.op_type for node in proto.graph.node}
    onnx.checker.check_model(proto, full_check=True)
    with torch.no_grad():
        assert len(proto.graph.initializer) < 60
