"""The wiring of liquid layers, read from trained networks."""

import numpy as np
import torch
from ncps.torch import WiredCfCCell
from numpy.typing import NDArray

from liquidlens.export.complete.deployed import state_names
from liquidlens.manifest import Wiring
from liquidlens.models.layers.bidirectional import BidirectionalLTC
from liquidlens.models.layers.cfc import CfC
from liquidlens.models.layers.liquid import LTC

_LIQUID = LTC | CfC | BidirectionalLTC


def wirings(network: torch.nn.Module) -> tuple[Wiring, ...]:
    """The wiring of every liquid layer, in the order in which they run; signs are those of the trained weights."""
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, _LIQUID)]
    parts = {part for _, module in layers for part in module.children()}  # of a bidirectional layer
    layers = [(name, module) for name, module in layers if module not in parts]
    return tuple(
        _wiring(f"network.{name}", layer, output)
        for (name, layer), output in zip(layers, state_names(len(layers)), strict=True)
    )


def _wiring(name: str, layer: LTC | CfC | BidirectionalLTC, output: str) -> Wiring:
    if isinstance(layer, BidirectionalLTC):
        return _side_by_side(*(_wiring(name, one, output) for one in (layer.ahead, layer.back)))
    wiring = layer.rnn_cell._wiring
    if isinstance(layer, LTC):
        cell = layer.rnn_cell
        sensory = (cell.sensory_sparsity_mask != 0).numpy()
        recurrent = (cell.sparsity_mask * cell.erev.detach()).sign().numpy()
    else:
        sensory, recurrent = connections(layer.rnn_cell)
    return Wiring(
        layer=name,
        cell="LTC" if isinstance(layer, LTC) else "CfC",
        output=output,
        features=sensory.shape[0],
        neurons="".join(wiring.get_type_of_neuron(i)[0] for i in range(wiring.units)),
        sensory_fan_in=tuple(map(int, sensory.sum(0))),
        recurrent=tuple("".join(".+-"[int(sign)] for sign in row) for row in recurrent),
    )


def _side_by_side(ahead: Wiring, back: Wiring) -> Wiring:
    """Both wirings as one, without synapses between them."""
    none_ahead, none_back = "." * len(ahead.neurons), "." * len(back.neurons)
    changes = {
        "neurons": ahead.neurons + back.neurons,
        "sensory_fan_in": ahead.sensory_fan_in + back.sensory_fan_in,
        "recurrent": (*(row + none_back for row in ahead.recurrent), *(none_ahead + row for row in back.recurrent)),
    }
    return ahead.model_copy(update=changes)


def connections(cell: WiredCfCCell) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which inputs (features, neurons) and neurons (neurons, neurons) the maps ff1 and ff2 of a CfC read: ncps joins
    all neurons of a layer of the wiring, whatever synapses the wiring has among them."""
    wiring = cell._wiring
    sensory = np.zeros((wiring.input_dim, wiring.units), bool)
    recurrent = np.zeros((wiring.units, wiring.units), bool)
    before: list[int] = []
    for i in range(wiring.num_layers):
        here = wiring.get_neurons_of_layer(i)
        reads = getattr(cell, f"layer_{i}").sparsity_mask.numpy().T != 0  # (sources, neurons of this layer)
        if i == 0:
            sensory[:, here] = reads[: -len(here)]
        else:
            recurrent[np.ix_(before, here)] = reads[: -len(here)]
        recurrent[np.ix_(here, here)] = reads[-len(here) :]
        before = here
    return sensory, recurrent
