"""Where every number in an exported file comes from: torch parameters, through which folding, or a named constant.

Matching goes by value: an initializer is explained if it equals, up to its shape, what the parameters give.  Names are
not trusted; the exporter renames what it moves.  Conversions name what they make after what they replace, and what they
make must hold the same values, rounded.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import onnx
from ncps.torch import CfCCell, LTCCell
from numpy.typing import NDArray
from onnx.numpy_helper import to_array
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from liquidlens.export.complete.deployed import CompleteModel, WindowMax
from liquidlens.export.facts import Initializer, Kind
from liquidlens.export.graph.records import record
from liquidlens.export.graph.surgery import graphs, nodes
from liquidlens.models.layers.folded import FoldedLayer


class Origin(NamedTuple):
    """A tensor that a file may hold, and where it comes from."""

    name: str
    value: NDArray
    kind: Kind
    sources: tuple[str, ...]
    how: str


CONSTANTS = {
    "temperature": "temperature of the calibration, fitted on the validation scans",
    "ood.center": "mean description of the training scans",
    "ood.whitening": "inverse covariance of the training scans' descriptions, factored",
}
#: The largest shape, axis or index list that needs no explanation beyond its use; of other numbers it is one.
SMALL = 8
#: Batch norm is folded into convolutions by the exporter, in another order of operations than here.
FUSION_TOLERANCE = 1e-5
UNEXPLAINED = "nothing that is known gives these numbers"
FUSED = "convolution and batch norm in one"


def origins(twin: nn.Module) -> list[Origin]:
    """Everything that a file of the folded `twin` may hold, the likeliest explanation first.

    twin: the complete model, or anyone's module, whose tensors are all of the network.
    """
    complete = isinstance(twin, CompleteModel)
    found = [*_folded_layers(twin)]
    explained = {origin.name for origin in found}
    for name, tensor in twin.state_dict().items():
        if name not in explained:
            kind: Kind = "constants" if complete and not name.startswith("network.") else "weights"
            how = "as trained" if kind == "weights" else CONSTANTS[name]
            found.append(Origin(name, tensor.numpy(), kind, (name,) if kind == "weights" else (), how))
    found += _recurrent_layers(twin)
    found += _fused_convolutions(twin)
    for size in sorted(set(twin.front.contract.size)) if isinstance(twin, CompleteModel) else ():
        grid = np.arange(size, dtype=np.float32) + np.float32(0.5)
        found.append(Origin(f"front.grid_{size}", grid, "constants", (), "centres of the resized points"))
        offsets = grid - np.float32(size / 2)
        how = "points of the field of view, counted from its middle"
        found.append(Origin(f"front.offsets_{size}", offsets, "constants", (), how))
    return found


def explain(proto: onnx.ModelProto, twin: nn.Module) -> list[Initializer]:
    """Explain every initializer of the file, in its order, and give those that come from parameters their names.

    The kind of an initializer that nothing explains is "unexplained".
    """
    known = origins(twin)
    uses = dict(_uses(proto.graph))
    return [_explain(tensor, known, uses, proto.graph) for tensor in proto.graph.initializer]


def _explain(
    tensor: onnx.TensorProto, known: list[Origin], uses: dict[str, str], graph: onnx.GraphProto
) -> Initializer:
    value = to_array(tensor)
    same = [origin for origin in known if _equal(value, origin)]
    same.sort(key=lambda origin: origin.name != tensor.name)  # the one of its own name first
    if same and (value.size > 1 or same[0].name == tensor.name):
        name, _, kind, _, how = same[0]
        if name not in {other.name for other in graph.initializer}:
            _rename(graph, tensor.name, name)
        # Equal tensors of a network are stored once, so all of them are sources.
        return record(tensor, kind, how, [source for origin in same if origin.how == how for source in origin.sources])
    return _by_use(tensor, value, uses)


def _by_use(tensor: onnx.TensorProto, value: NDArray, uses: dict[str, str]) -> Initializer:
    """Explain what no parameter gives."""
    if tensor.name in uses and value.size <= (1 if value.dtype.kind == "f" else SMALL):
        return record(tensor, "constants", uses[tensor.name])
    return record(tensor, "unexplained", UNEXPLAINED)


#: What conversions append to the name of what they replace, and what that is; whether it holds weights.
_MEANING = {
    "float16": ("rounded to float16", True),
    "quantized": ("rounded to integers", True),
    "scale": ("scale of the integers", False),
    "zero_point": ("zero point of the integers", False),
}
_ADDED = re.compile(r"(?:_quantized)?[._](float16|quantized|scale|zero_point)$")


class Converted(NamedTuple):
    """What the initializers of a converted file are compared with."""

    records: dict[str, Initializer]
    #: Of the fp32 file, and of the converted one.
    before: dict[str, NDArray]
    after: dict[str, NDArray]
    uses: dict[str, str]


def explain_converted(proto: onnx.ModelProto, originals: list[Initializer], fp32: onnx.ModelProto) -> list[Initializer]:
    """Explain every initializer of a precision variant or a profile by those of the fp32 file that it was made from."""
    files = Converted(
        {original.name: original for original in originals},
        {tensor.name: to_array(tensor) for tensor in fp32.graph.initializer},
        {tensor.name: to_array(tensor) for tensor in proto.graph.initializer},
        dict(_uses(proto.graph)),
    )
    return [_converted(tensor, files) for tensor in proto.graph.initializer]


def _converted(tensor: onnx.TensorProto, files: Converted) -> Initializer:
    name, value = tensor.name, files.after[tensor.name]
    if name in files.records:
        origin = files.records[name]
        if np.array_equal(value, files.before[name]):
            return record(tensor, origin.kind, origin.how, origin.sources)
        if name == "ood.center" and value.shape == files.before[name].shape:
            return record(tensor, "constants", f"{origin.how}, moved by what int8 convolutions move it")
        return record(tensor, "unexplained", f"not the values that {name} has in fp32")
    if added := _ADDED.search(name):
        base = name[: added.start()]
        how, is_weight = _MEANING[added[1]]
        replaced = files.records.get(base)
        if replaced is None and not is_weight and value.size == 1:
            return record(tensor, "constants", f"{how}: range of {base}, found by calibration")
        if replaced is not None and is_weight and _rounded(base, value, files):
            return record(tensor, replaced.kind, f"{replaced.how}; {how}", replaced.sources)
        if replaced is not None and not is_weight and value.size <= max(replaced.shape, default=1):  # one per channel
            return record(tensor, "constants", f"{replaced.how}; {how}", replaced.sources)
    return _by_use(tensor, value, files.uses)


def _rounded(base: str, value: NDArray, files: Converted) -> bool:
    """Whether a converted tensor holds the values of `base` in fp32: rounded to float16, or to whole numbers of its
    scale, one for all or one per channel along some axis."""
    original = files.before[base]
    if value.shape != original.shape:
        original = original.T  # a Gemm with transposed weights becomes a MatMul
    if value.shape != original.shape:
        return False
    if value.dtype == np.float16:
        return np.array_equal(value, original.astype(np.float16))
    scale, zero = (
        files.after.get(f"{base}_{part}", files.after.get(f"{base}_quantized_{part}", np.zeros(1))).astype(np.float64)
        for part in ("scale", "zero_point")
    )
    for axis in range(original.ndim):
        shape = [-1 if i == axis else 1 for i in range(original.ndim)]
        if scale.size in (1, original.shape[axis]):
            step = scale.reshape(shape)
            difference = np.abs((value.astype(np.float64) - zero.reshape(shape)) * step - original)
            if (difference <= 0.51 * step).all():
                return True
    return False


def unused_parameters(records: list[Initializer], network: nn.Module) -> list[str]:
    """The trainable parameters that no initializer comes from."""
    used = {source for initializer in records for source in initializer.sources}
    return [f"network.{name}" for name, _ in network.named_parameters() if f"network.{name}" not in used]


def effective_parameters(network: nn.Module) -> int:
    """The trainable parameters that can change the answer: all but those of synapses that do not exist."""
    total = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    for module in network.modules():
        if isinstance(module, LTCCell):
            total -= _without_effect_in_ltc(module)
        elif isinstance(module, CfCCell) and module.sparsity_mask is not None:
            masked = [module.ff1] if module.mode == "pure" else [module.ff1, module.ff2]  # the time maps are not masked
            trainable = sum(layer.weight.requires_grad for layer in masked)
            total -= trainable * int((module.sparsity_mask == 0).sum())
    return total


def _without_effect_in_ltc(cell: LTCCell) -> int:
    missing = 0
    for mask, prefix in ((cell.sparsity_mask, ""), (cell.sensory_sparsity_mask, "sensory_")):
        by_synapse = [getattr(cell, prefix + name) for name in ("w", "sigma", "mu", "erev")]
        missing += int((mask == 0).sum()) * sum(parameter.requires_grad for parameter in by_synapse)
    unread = int((cell.sensory_sparsity_mask == 0).all(1).sum())
    maps = [getattr(cell, name) for name in ("input_w", "input_b") if hasattr(cell, name)]
    return missing + unread * sum(parameter.requires_grad for parameter in maps)


def _folded_layers(twin: nn.Module) -> Iterator[Origin]:
    """The tables of folded liquid layers, and the windows of adaptive max-pooling."""
    for path, module in twin.named_modules():
        buffers = {name: tensor.numpy() for name, tensor in module.named_buffers()}
        if isinstance(module, FoldedLayer):
            for name, value in buffers.items():
                parts, how = module.folding[name]
                kind: Kind = "masks" if name in module.STRUCTURE else "weights"
                prefix = f"{path}." if path else ""  # the module itself may be the layer
                sources = tuple(prefix + part for part in parts)
                yield Origin(prefix + name, value, kind, sources, how)
        elif isinstance(module, WindowMax):
            for name, value in buffers.items():
                yield Origin(f"{path}.{name}", value, "constants", (), "positions of each window of the max-pooling")


#: ONNX's order of the gates, in torch's numbering.
_GATES = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2), nn.RNN: (0,)}


def _recurrent_layers(twin: nn.Module) -> Iterator[Origin]:
    """LSTM, GRU and RNN as their ONNX operators store them: gates in another order, directions side by side."""
    for path, module in twin.named_modules():
        if type(module) not in _GATES:
            continue
        order = _GATES[type(module)]
        parts = ("weight_ih", "weight_hh", "bias")[: 2 + module.bias]
        for layer, part in product(range(module.num_layers), parts):
            directions = []
            sources: list[str] = []
            for suffix in ("", "_reverse")[: 1 + module.bidirectional]:
                names = [f"bias_ih_l{layer}", f"bias_hh_l{layer}"] if part == "bias" else [f"{part}_l{layer}"]
                tensors = [getattr(module, name + suffix).detach().numpy() for name in names]
                gates = [np.concatenate([np.split(t, len(order))[g] for g in order]) for t in tensors]
                directions.append(np.concatenate(gates))
                sources += [f"{path}.{name}{suffix}" for name in names]
            how = "gates in ONNX's order, directions side by side"
            yield Origin(f"{path}.{part}_l{layer}", np.stack(directions), "weights", tuple(sources), how)


def _fused_convolutions(twin: nn.Module) -> Iterator[Origin]:
    """Every convolution with every batch norm that might follow it."""
    modules = dict(twin.named_modules())
    convolutions = {path: module for path, module in modules.items() if isinstance(module, nn.Conv2d)}
    norms = {path: module for path, module in modules.items() if isinstance(module, nn.BatchNorm2d)}
    for (path, convolution), (norm_path, norm) in product(convolutions.items(), norms.items()):
        if convolution.out_channels != norm.num_features or norm.running_mean is None:
            continue
        fused = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        statistics = ("weight", "running_var"), ("weight", "running_var", "bias", "running_mean")
        for name, value, parts in zip(("weight", "bias"), fused, statistics, strict=True):
            sources = (f"{path}.{name}", *(f"{norm_path}.{part}" for part in parts))
            yield Origin(f"{path}.{name}", value.detach().numpy(), "weights", sources, FUSED)


def _equal(value: NDArray, origin: Origin) -> bool:
    if value.size != origin.value.size or value.dtype.kind != origin.value.dtype.kind:
        return False
    if origin.how == FUSED:
        scale = float(np.abs(origin.value).max())
        return np.allclose(value.ravel(), origin.value.ravel(), rtol=0, atol=FUSION_TOLERANCE * scale)
    # A Linear in front of a sequence becomes MatMul, whose weights are transposed.
    return np.array_equal(value.ravel(), origin.value.ravel()) or np.array_equal(value.ravel(), origin.value.T.ravel())


def _uses(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    """(tensor, "shape of Reshape") for everything that a node reads."""
    for node, _ in nodes(graph):
        inputs = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs
        for i, name in enumerate(node.input):
            yield name, f"{inputs[min(i, len(inputs) - 1)].name} of {node.op_type}"


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for inner in graphs(graph):
        for node in inner.node:
            node.input[:] = [new if name == old else name for name in node.input]
        for tensor in (*inner.initializer, *inner.value_info):
            if tensor.name == old:
                tensor.name = new
