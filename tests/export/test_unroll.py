"""Spelled-out loops: the same numbers without ONNX Scan, with the shapes that make a file load quickly."""

import functools
from collections import Counter

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from liquidlens.export.graph.trace import to_onnx
from liquidlens.export.graph.unroll import unroll
from liquidlens.imaging import phantoms
from tests.export.test_export import complete


@functools.cache
def loop(name: str) -> onnx.ModelProto:
    return to_onnx(complete(name))


@functools.cache
def masks(count: int = 64) -> np.ndarray:
    return phantoms.vessel3d(seed=3, splits={"test": count})["test_images"].astype(np.float32)


def outputs(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def shapes(proto: onnx.ModelProto) -> dict[str, list[int | str]]:
    values = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def tensors(*values: tuple[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
    return [make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in values]


def two_loops(steps: int | str = 5, **scan_attributes) -> onnx.ModelProto:
    """Two loops, one after the other, with the same body: two states, two sequences, two stacked outputs."""
    inside = [("a", ["b", 3]), ("b_", ["b", 3]), ("x", ["b", 3]), ("y", ["b", 3])]
    results = [("sum", ["b", 3]), ("product", ["b", 3]), ("shown", ["b", 3]), ("other", ["b", 3])]
    body = make_graph(
        [
            make_node("Mul", ["x", "weight"], ["weighted"]),
            make_node("Add", ["a", "weighted"], ["sum"]),
            make_node("Mul", ["b_", "y"], ["product"]),
            make_node("Identity", ["sum"], ["shown"]),
            make_node("Sub", ["sum", "product"], ["other"]),
        ],
        "body",
        tensors(*inside),
        tensors(*results),
        value_info=tensors(("weighted", ["b", 3])),
    )
    scan = functools.partial(make_node, "Scan", body=body, num_scan_inputs=2, **scan_attributes)
    sequence = [steps, "batch", 3]
    graph = make_graph(
        [
            make_node("Add", ["zeros", "start"], ["start2"]),
            scan(["start", "start2", "p", "q"], ["end1", "end2", "stack1", "stack2"], name="first"),
            scan(["end1", "start", "stack1", "q"], ["end3", "end4", "stack3", "unread"], name="second"),
            make_node("Add", ["end2", "end3"], ["result"]),
        ],
        "two loops",
        tensors(("start", ["batch", 3]), ("p", sequence), ("q", sequence)),
        tensors(("result", ["batch", 3]), ("stack2", sequence), ("stack3", sequence), ("end4", ["batch", 3])),
        [onnx.numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("weight", 0.5), ("zeros", [0] * 3))],
        value_info=tensors(
            ("start2", ["batch", 3]), *((n, ["batch", 3]) for n in ("end1", "end2", "end3")), ("stack1", sequence)
        ),
    )
    return make_model(graph, opset_imports=[make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("name", ["LiqExp4N2", "CfCExp1N2"])
def test_spelled_out_files_equal_the_loop(name):
    proto = loop(name)
    spelled_out = unroll(proto)
    onnx.checker.check_model(spelled_out, full_check=True)
    for batch in (1, 2, 7, 64):
        feeds = {"scan": masks()[:batch]}
        assert difference(outputs(spelled_out, feeds), outputs(proto, feeds)) <= 1e-6
    feeds = {"scan": masks()[:2]}
    references = [onnx.reference.ReferenceEvaluator(file).run(None, feeds) for file in (spelled_out, proto)]
    assert difference(*references) <= 1e-6


def test_every_step_and_ode_unfold_is_written():
    proto = loop("LiqExp4N2")
    spelled_out = unroll(proto)
    operators = Counter(node.op_type for node in spelled_out.graph.node)
    assert operators["Scan"] == 0
    assert operators["Gemm"] == 28 * 6 * 2
    assert [tensor for tensor in spelled_out.graph.initializer if tensor.name != "step.axis"] == [
        *proto.graph.initializer
    ]
    assert spelled_out.graph.output == proto.graph.output


def test_every_tensor_has_its_shape_in_terms_of_the_batch():
    """Without shapes ONNX Runtime takes 40 times as long to load the file."""
    spelled_out = unroll(loop("LiqExp4N2"))
    known = shapes(spelled_out)
    computed = [name for node in spelled_out.graph.node for name in node.output]
    assert set(computed) <= set(known)
    assert all(known[name][0] == "batch" for name in computed if name.startswith("step"))
    assert len(computed) == len(set(computed))
    names = [node.name for node in spelled_out.graph.node]
    assert len(names) == len(set(names))
    assert max(map(len, names)) <= 32


def test_spelling_out_gives_the_same_bytes_and_leaves_its_input_alone():
    proto = loop("LiqExp4N2")
    before = proto.SerializeToString(deterministic=True)
    first, second = (unroll(proto).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert proto.SerializeToString(deterministic=True) == before


def test_several_loops_states_and_sequences():
    proto = two_loops()
    onnx.checker.check_model(proto, full_check=True)
    spelled_out = unroll(proto)
    onnx.checker.check_model(spelled_out, full_check=True)
    assert "Scan" not in {node.op_type for node in spelled_out.graph.node}
    assert {tuple(shape) for name, shape in shapes(spelled_out).items() if name.startswith("step")} == {("batch", 3)}
    rng = np.random.default_rng(0)
    for batch in (1, 4):
        feeds = {"start": rng.normal(size=(batch, 3)).astype(np.float32)}
        feeds |= {name: rng.normal(size=(5, batch, 3)).astype(np.float32) for name in ("p", "q")}
        expected = onnx.reference.ReferenceEvaluator(proto).run(None, feeds)
        assert difference(outputs(spelled_out, feeds), expected) <= 1e-6
        assert difference(outputs(proto, feeds), expected) <= 1e-6


def test_files_without_loops_stay_as_they_are():
    spelled_out = unroll(loop("LiqExp4N2"))
    assert unroll(spelled_out) == spelled_out


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (two_loops(steps="slices"), "the first dimension of 'p' is 'slices'"),
        (
            two_loops(scan_input_directions=[0, 1]),
            r"'first' cannot be spelled out: its scan_input_directions are \[0, 1]",
        ),
        (two_loops(scan_output_axes=[0, 1]), "its scan_output_axes are"),
    ],
)
def test_loops_that_cannot_be_spelled_out_are_refused(proto, reason):
    with pytest.raises(ValueError, match=reason):
        unroll(proto)


def test_missing_shapes_are_named():
    proto = two_loops()
    missing = next(value for value in proto.graph.value_info if value.name == "start2")
    proto.graph.value_info.remove(missing)
    with pytest.raises(ValueError, match="the shape of 'start2' is not known"):
        unroll(proto)
