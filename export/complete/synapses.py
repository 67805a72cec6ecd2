"""The synapses of a wiring: counted, and looked for in the tables of exported files, without torch."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from liquidlens.drawing.wiring import TYPES
from liquidlens.export.facts import Synapses
from liquidlens.manifest import Wiring


def synapses(wiring: Wiring) -> Synapses:
    """A wiring with its synapses counted by the types of neurons that they join."""
    counts: Counter[str] = Counter()
    for type_, fan_in in zip(wiring.neurons, wiring.sensory_fan_in, strict=True):
        counts[f"sensory -> {TYPES[type_]}"] += fan_in
    for source, target in pairs(wiring):
        counts[f"{TYPES[wiring.neurons[source]]} -> {TYPES[wiring.neurons[target]]}"] += 1
    return Synapses(**wiring.model_dump(), by_type={name: count for name, count in counts.items() if count})


def pairs(wiring: Wiring) -> list[tuple[int, int]]:
    """The recurrent synapses as (neuron where it starts, neuron where it ends)."""
    return [(i, j) for i, row in enumerate(wiring.recurrent) for j, sign in enumerate(row) if sign != "."]


def missing(wiring: Wiring, tables: dict[str, NDArray]) -> Iterator[str]:
    """What the tables of an LTC in a file lack of its wiring, one sentence each.

    tables: ``gain``, ``weight`` and ``sensory_weight`` of `models.layers.liquid.Folded`.
    """
    units, weight = len(wiring.neurons), tables["weight"]
    if weight.ndim == 3:  # by pairs of neurons
        found = Counter((int(source), int(target)) for source, target in np.argwhere(weight[1]))
    else:
        strength = weight[:, units:]  # (synapses, units) the part that is w alone
        found = Counter(
            (int(np.abs(gain).argmax()), int(w.argmax()))
            for gain, w in zip(tables["gain"].T, strength, strict=True)
            if w.any()
        )
    for source, target in (Counter(pairs(wiring)) - found).elements():
        yield (
            f"{wiring.layer}: the synapse from neuron {source} ({TYPES[wiring.neurons[source]]}) to neuron {target} "
            f"({TYPES[wiring.neurons[target]]}) is missing."
        )
    expected = [count for count in wiring.sensory_fan_in if count]
    sensory = (tables["sensory_weight"][:, 1] != 0).sum(1).tolist()
    if sorted(expected) != sorted(sensory):
        yield f"{wiring.layer}: the file holds {sum(sensory)} sensory synapses, its wiring has {sum(expected)}."
