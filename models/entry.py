"""What the zoo knows about a model before it is built."""

from collections.abc import Callable
from dataclasses import dataclass

from liquidlens.models.decision import Classifier


@dataclass(frozen=True)
class Entry:
    """One model of the zoo, as its paper has it."""

    name: str
    paper: str
    #: Shape of one input without the batch axis: (channels, [slices,] rows, columns).
    input_shape: tuple[int, ...]
    #: Number of logits K: 1 for a binary model (one sigmoid), else one per class; 7 for a pose.
    outputs: int
    #: ``make(input_shape, outputs, **flags)`` builds the model, for other shapes and classes than the paper's too.
    make: Callable[..., Classifier]
    #: Trainable parameters as the paper prints them; None if it prints none.
    published_parameters: int | None = None
    #: Switches that `make` takes as keywords, all off by default: readings of the paper, or habits of its source.
    flags: tuple[str, ...] = ()
