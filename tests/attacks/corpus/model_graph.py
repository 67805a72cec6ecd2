"""ONNX files whose graphs reach out of the file, claim more than there is, or never end.

They hope that weights are read from another file of the machine, or from the memory of the process, that tensors are
allocated by their declared sizes, or that a parser recurses until its stack is gone.

A model that merely computes for long, or needs much memory to do so, is not among them: it is a program that does as it
was written, and whether to run it is a question of who signed it.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from liquidlens.serve.predict import pretrained
from tests.attacks.attack import Attack, Reads, Refused

WHOLE = pretrained.find("vessel").read_bytes()


def save(model: onnx.ModelProto, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def external(location: str, folder: Path, offset: int = 0) -> Path:
    """The largest weights lie in another file, which is there.  In `location`, {folder} and {here} are this
    folder, from the root and from the working folder."""
    model = onnx.load_from_string(WHOLE)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (folder / "secret.bin").write_bytes(weights.raw_data)
    where = location.format(folder=folder, here=os.path.relpath(folder))
    told = {"location": where, "offset": str(offset), "length": str(len(weights.raw_data))}
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in told.items():
        weights.external_data.add(key=key, value=value)
    return save(model, folder)


def declared(dims: list[int], folder: Path) -> Path:
    """Weights that declare other sizes than they have."""
    model = onnx.load_from_string(WHOLE)
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return save(model, folder)


def with_output(
    folder: Path, *nodes: onnx.NodeProto, functions: tuple = (), values: dict[str, np.ndarray] | None = None
) -> Path:
    """The model with more nodes; what the last one gives is one more output."""
    model = onnx.load_from_string(WHOLE)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (values or {}).items())
    model.graph.output.append(helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None))
    model.functions.extend(functions)
    if functions:
        model.opset_import.append(helper.make_opsetid("evil", 1))
    return save(model, folder)


ONE = {"one": np.float32(1)}


def function(name: str, *calls: str) -> onnx.FunctionProto:
    """A function that calls others, one after the other."""
    values = ["x", *(f"t{i}" for i in range(len(calls) - 1)), "y"]
    nodes = [
        helper.make_node(call, values[i : i + 1], values[i + 1 : i + 2], domain="evil") for i, call in enumerate(calls)
    ]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)]
    return helper.make_function("evil", name, ["x"], ["y"], nodes, opsets)


def calling(folder: Path, *functions: onnx.FunctionProto) -> Path:
    call = helper.make_node(functions[0].name, ["one"], ["more"], domain="evil")
    return with_output(folder, call, functions=functions, values=ONE)


def calls_itself(folder: Path) -> Path:
    return calling(folder, function("f", "f"))


def call_each_other(folder: Path) -> Path:
    return calling(folder, function("f", "g"), function("g", "f"))


def in_a_circle(folder: Path) -> Path:
    return with_output(folder, helper.make_node("Neg", ["q"], ["p"]), helper.make_node("Neg", ["p"], ["q"]))


def of_nobody(folder: Path) -> Path:
    return with_output(folder, helper.make_node("Run", ["one"], ["more"], domain="evil"), values=ONE)


def _field(number: int, content: bytes) -> bytes:
    """A field of a Protocol Buffers message: its number, its length, and so many bytes."""
    length = len(content)
    digits = b""
    while length > 127:
        digits += bytes([length & 127 | 128])
        length >>= 7
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + digits + bytes([length]) + content


def nested(depth: int, folder: Path) -> Path:
    """Branches of an If within branches of an If, written by hand, as onnx itself refuses to.

    Messages that follow one another are one: the graph at the end of the file is added to the one before it.
    """
    graph = b""
    for level in range(depth):
        branch = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        node = _field(1, b"one") + _field(2, f"deep{level}".encode()) + _field(4, b"If") + _field(5, branch)
        graph = _field(1, node) + _field(2, b"deep")
    (folder / "model.onnx").write_bytes(WHOLE + _field(7, _field(1, node)))
    return folder / "model.onnx"


def of_anything(content: bytes, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(content)
    return folder / "model.onnx"


BROKEN = Refused(r"model\.onnx: not a readable ONNX file \(\[ONNXRuntimeError\] ")
ATTACKS = (
    Attack("ONNX: weights in another folder", "model", partial(external, "../secret.bin"), BROKEN),
    Attack("ONNX: weights at an absolute path", "model", partial(external, "{folder}/secret.bin"), BROKEN),
    Attack("ONNX: weights at a path from here", "model", partial(external, "{here}/secret.bin"), BROKEN),
    Attack("ONNX: weights in a file of the working folder", "model", partial(external, "README.md"), BROKEN),
    Attack(
        "ONNX: weights in a folder below the working one",
        "model",
        partial(external, "models/pretrained/vessel/model.onnx"),
        BROKEN,
    ),
    Attack("ONNX: weights beside the file", "model", partial(external, "secret.bin"), BROKEN),
    Attack("ONNX: weights in a device", "model", partial(external, "/dev/zero"), BROKEN),
    Attack(
        "ONNX: weights in the memory of the process",
        "model",
        partial(external, "*/_ORT_MEM_ADDR_/*", offset=0x400000),
        BROKEN,
    ),
    Attack("ONNX: weights of 2e9 x 2e9", "model", partial(declared, [2**31, 2**31]), BROKEN),
    Attack("ONNX: weights of 2^63", "model", partial(declared, [2**62, 2]), BROKEN),
    Attack("ONNX: weights of negative size", "model", partial(declared, [-1, -5]), BROKEN),
    Attack("ONNX: branches 60 deep", "model", partial(nested, 60), BROKEN),
    Attack("ONNX: branches 300 deep", "model", partial(nested, 300), BROKEN),
    Attack("ONNX: branches 3,000 deep", "model", partial(nested, 3_000), BROKEN),
    Attack("ONNX: a function that calls itself", "model", calls_itself, BROKEN),
    Attack("ONNX: functions that call each other", "model", call_each_other, BROKEN),
    Attack("ONNX: a graph in a circle", "model", in_a_circle, BROKEN),
    Attack("ONNX: an operator of nobody", "model", of_nobody, BROKEN),
    Attack("ONNX: cut", "model", partial(of_anything, WHOLE[:-1000]), Refused("model.onnx: ")),
    Attack(
        "ONNX: a gigabyte that is not there", "model", partial(of_anything, b"\x3a\xff\xff\xff\xff\x07" + WHOLE), BROKEN
    ),
    Attack("ONNX: no graph", "model", partial(of_anything, b"\x08\x0a"), BROKEN),
    Attack("ONNX: whole", "model", partial(of_anything, WHOLE), Reads(("vessel", "aneurysm"))),
)
