"""The zoo: every model by name, with the facts its paper states."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from models import hse2024
from models.decision import Classifier


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    name: str
    paper: str
    #: Shape of one input without the batch axis, (channels, [slices,] rows, columns); values in [0, 1].
    input_shape: tuple[int, ...]
    #: Number of logits K: 1 for a binary model (one sigmoid), else one per class.
    outputs: int
    #: Trainable parameters as the paper prints them.
    published_parameters: int
    #: True if the model reads its slices with a liquid layer.
    liquid: bool
    make: Callable[[], Classifier]


def _entries() -> dict[str, Entry]:
    return {
        row.name: Entry(
            name=row.name,
            paper=hse2024.PAPER,
            input_shape=hse2024.INPUT_SHAPE,
            outputs=1,
            published_parameters=row.parameters,
            liquid=row.liquid,
            make=row.build,
        )
        for row in hse2024.TABLE_1
    }


_ZOO = _entries()


def names() -> list[str]:
    """All model names, in the order of the papers' tables."""
    return list(_ZOO)


def entry(name: str) -> Entry:
    """The facts about one model.  Raises LookupError, naming the nearest names, if there is no such model."""
    try:
        return _ZOO[name]
    except KeyError:
        near = get_close_matches(name, _ZOO, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`liquidlens models` lists all of them."
        raise LookupError(f"There is no model named {name!r}. {hint}") from None


def build(name: str) -> Classifier:
    """A freshly initialised model that maps (batch, *input_shape) to logits (batch, outputs).

    Raises LookupError if there is no such model.  Initialisation draws from torch's global random generator.
    """
    return entry(name).make()
