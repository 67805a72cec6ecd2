"""What the zoo knows about a model before it is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liquidlens.models.decision import Classifier


@dataclass(frozen=True)
class Entry:
    """One model of the zoo, as its paper has it.

    input_shape: shape of one input without the batch axis: (channels, [slices,] rows, columns).
    outputs: number of logits K: 1 for a binary model (one sigmoid), else one per class; 7 for a pose.
    make: ``make(input_shape, outputs, **flags)`` builds the model, for other shapes and classes than the paper's too.
    published_parameters: trainable parameters as the paper prints them; None if it prints none.
    recipe: how it is trained unless another recipe is named; "" for that of its paper's name.
    flags: switches that `make` takes as keywords, all off by default: readings of the paper, or habits of its source.
    """

    name: str
    paper: str
    input_shape: tuple[int, ...]
    outputs: int
    make: Callable[..., "Classifier"]
    published_parameters: int | None = None
    flags: tuple[str, ...] = ()
    recipe: str = ""
