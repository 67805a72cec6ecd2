"""Inputs and outputs of a module as those of a file: flat, named, with axes that may vary."""

import inspect
from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from liquidlens.errors import LiquidLensError, unknown

BATCH, TIME = "batch", "time"
#: Input or output -> axis -> what it is called.
Axes = dict[str, dict[int, str]]


class Arguments:
    """What `forward` is called with: the tensors of the example, by name, and what is no tensor as it is.

    A tuple or list is one input for each of its tensors: ``hx_0``, ``hx_1``.
    """

    def __init__(self, module: nn.Module, example: Mapping[str, Any]):
        parameters = inspect.signature(module.forward).parameters
        free = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        for name in example:
            if name not in parameters and not free:
                raise unknown(f"parameter of {type(module).__name__}.forward", name, parameters)
        for name, one in parameters.items():
            if (
                one.default is one.empty
                and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
                and name not in example
            ):
                raise LiquidLensError(f"{type(module).__name__}.forward takes {name}, which the example lacks.")
        self.leaves, self.spec = pytree.tree_flatten(dict(example))
        paths = [path for path, _ in pytree.tree_flatten_with_path(dict(example))[0]]
        self.names = ["_".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path) for path in paths]
        self.tensors = {
            name: _telling(leaf.detach().cpu())
            for name, leaf in zip(self.names, self.leaves, strict=True)
            if isinstance(leaf, Tensor)
        }
        if not self.tensors:
            raise LiquidLensError("The example holds no tensor: give {'x': a tensor, ...} by the names of forward's.")
        for name, tensor in self.tensors.items():
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise LiquidLensError(f"The example's {name} is {tensor.dtype}; files compute in float32.")

    def call(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> Any:
        """What the module returns for other tensors of the same names."""
        leaves = [tensors.get(name, leaf) for name, leaf in zip(self.names, self.leaves, strict=True)]
        return module(**pytree.tree_unflatten(leaves, self.spec))


def _telling(tensor: Tensor) -> Tensor:
    """The tensor; small positive numbers in the place of an example of zeros, which would show nothing of what is
    computed from it."""
    if not tensor.is_floating_point() or tensor.any():
        return tensor
    return 0.1 * torch.rand(tensor.shape, dtype=tensor.dtype, generator=torch.Generator().manual_seed(0)) + 0.01


def outputs_of(returned: Any) -> dict[str, Tensor]:
    """The tensors that a module returned, by name: those of a dict by its keys, one alone as ``output``, several as
    ``output_0``, ``output_1``."""
    flat = [(path, leaf) for path, leaf in pytree.tree_flatten_with_path(returned)[0] if isinstance(leaf, Tensor)]
    if isinstance(returned, Tensor):
        return {"output": returned}
    prefix = "" if isinstance(returned, Mapping) else "output_"
    return {
        prefix + "_".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path): leaf
        for path, leaf in flat
    }


def found_axes(
    tensors: Mapping[str, Tensor], states: Set[str], batch: int | None, time: int | None, batch_first: bool
) -> Axes:
    """Which axes of the example are batch and time, by their lengths, as layers saw them; None: there is no such axis.

    Where both lengths stand side by side, in the layers' order, it is these two; else time is the first axis, or the
    second, of its length, and batch the first of all.  states: names of tensors that layers start from, which have no
    axis of time, even if there are as many units as steps.
    """
    both = [(batch, BATCH), (time, TIME)] if batch_first else [(time, TIME), (batch, BATCH)]
    both = [(length, name) for length, name in both if length is not None]
    found: Axes = {}
    for name, tensor in tensors.items():
        shape = tuple(tensor.shape)
        leading = [pair for pair in both if pair[1] == BATCH or name not in states]
        if shape[: len(leading)] == tuple(length for length, _ in leading):
            found[name] = {axis: one for axis, (_, one) in enumerate(leading)}
        elif batch is not None and shape and shape[0] == batch:
            found[name] = {0: BATCH}
        elif time is not None and shape and shape[0] == time:
            found[name] = {0: TIME}
        else:
            found[name] = {}
    return found


def resized(tensors: Mapping[str, Tensor], axes: Axes, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Tensor]:
    """The tensors with other lengths of the named axes: rows repeated, and where they are floats varied by up to a
    tenth, which keeps signs and ranges."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, tensor in tensors.items():
        for axis, symbol in axes[name].items():
            if symbol in sizes:
                tensor = tensor.index_select(axis, torch.arange(sizes[symbol]) % tensor.shape[axis])
        if tensor.is_floating_point() and axes[name]:
            tensor = tensor * (0.9 + 0.2 * torch.rand(tensor.shape, generator=generator))
        made[name] = tensor
    return made


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest difference of what is expected, relative where it exceeds 1; infinite where shapes differ, NaN where
    one of the two is not a number."""
    worst = 0.0
    for name, tensor in expected.items():
        if name not in found or found[name].shape != tensor.shape:
            return float("inf")
        gap = (found[name].double() - tensor.double()).abs() / tensor.double().abs().clamp(min=1)
        largest = float(gap.max()) if gap.numel() else 0.0
        worst = largest if not largest <= worst else worst
    return worst
