"""The zoo: every model by name, with the facts its paper states.

They come from ``zoo.csv``; torch is loaded when a model is built.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquidlens.errors import needing, unknown
from liquidlens.models.entry import Entry

if TYPE_CHECKING:
    from liquidlens.models.decision import Classifier

TABLE = Path(__file__).with_name("zoo.csv")


def _read() -> Iterator[tuple[Entry, int]]:
    """Every entry with its number of trainable parameters."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            entry = Entry(
                name=row["model"],
                paper=row["paper"],
                input_shape=tuple(map(int, row["input"].split("x"))),
                outputs=int(row["outputs"]),
                make=partial(_make, row["model"]),
                published_parameters=int(row["published"]) if row["published"] else None,
                recipe=row["recipe"],
                flags=tuple(row["flags"].split()),
            )
            yield entry, int(row["parameters"])


def _make(name: str, *shape: Any, **flags: bool) -> "Classifier":
    from liquidlens.models.papers import ENTRIES

    return ENTRIES[name].make(*shape, **flags)


_ZOO = {entry.name: (entry, parameters) for entry, parameters in _read()}


def names() -> list[str]:
    """All model names, paper by paper."""
    return list(_ZOO)


def entry(name: str) -> Entry:
    """The facts about one model.  Raises LiquidLensError, naming the nearest names, if there is no such model."""
    return _known(name)[0]


def parameters(name: str) -> int:
    """How many trainable parameters a model has, as its paper has it.  Raises LiquidLensError as `entry`."""
    return _known(name)[1]


def _known(name: str) -> tuple[Entry, int]:
    if name not in _ZOO:
        raise unknown("model", name, _ZOO)
    return _ZOO[name]


def build(
    name: str,
    input_shape: tuple[int, ...] | None = None,
    outputs: int | None = None,
    flags: Iterable[str] = (),
) -> "Classifier":
    """A freshly initialised model that maps (batch, *input_shape) to logits (batch, outputs).

    input_shape, outputs: by default the paper's; with others, parameter counts are not the paper's.  flags: names of
    the entry's switches to turn on.  Raises as `check`, and ValueError if the model cannot be built for the shape.
    Initialisation draws from torch's global random generator.
    """
    with needing("liquidlens.models.build"):
        import torch

    flags = [flags] if isinstance(flags, str) else list(flags)
    facts = check(name, input_shape, outputs, flags)
    model = facts.make(input_shape or facts.input_shape, outputs or facts.outputs, **dict.fromkeys(flags, True))
    # Convolutions over channels-last maps train up to twice as fast on CPUs; the values are the same to rounding.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def check(name: str, input_shape: tuple[int, ...] | None, outputs: int | None, flags: Sequence[str]) -> Entry:
    """The facts about a model that is to be built like this.

    Raises LiquidLensError if there is no such model, ValueError if it has no such flag or reads no such inputs: what
    shows before it is built.
    """
    facts = entry(name)
    if outputs is not None and outputs < 1:
        raise ValueError(f"a model has at least one output, not {outputs}")
    for flag in flags:
        if flag not in facts.flags:
            offer = f"its flags are {', '.join(facts.flags)}" if facts.flags else "it has none"
            raise ValueError(f"{name} has no flag {flag!r}: {offer}.")
    expected = len(facts.input_shape)
    if input_shape is not None and len(input_shape) != expected:
        kinds = {3: "images", 4: "volumes"}
        given = kinds.get(len(input_shape), f"inputs of shape {input_shape}; a shape begins with the channels")
        raise ValueError(f"{name} reads {kinds[expected]}, not {given}.")
    return facts
