"""Networks with a recurrent layer over maps, and their fully connected partners of equally many parameters.

tum-2018: Vila Clarà, "The effect of spatial RNNs on neural network feature maps", master's thesis, TU München 2018.
One hidden Linear of a small classifier is replaced by a recurrent layer that reads a map in four directions; the map is
the image itself (1MLP) or the output of a Linear, viewed as rows x columns (2MLP and deeper, and CNN).

The thesis promises equal parameter counts but prints few widths: those of the partners come from `equal_parameters`.
It prints the hidden size of the CNN alone (16); 32 for the others fits Table 4.1 best.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from liquidlens.models.decision import ImageClassifier
from liquidlens.models.entry import Entry
from liquidlens.models.layers.four_directions import Cell, FourDirections, Sweep
from liquidlens.models.papers import posenet

PAPER = "tum-2018"
MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)


# --- Networks -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spatial:
    """A recurrent layer in four directions, over the image or, after a Linear of rows * columns, over a `view`."""

    cell: Cell
    hidden: int
    view: tuple[int, int] | None = None  # rows, columns
    layers: int = 1
    full: bool = False  # its output: all states, not the last ones alone

    def make(self, shape: tuple[int, int, int], random_states: bool) -> FourDirections:
        return FourDirections(self.cell, shape, self.hidden, self.layers, self.full, random_states)


@dataclass(frozen=True)
class Network:
    """Convolutions, hidden Linear layers with ReLU, a recurrent layer, a hidden Linear of width `after` with ReLU, and
    a Linear to the logits; any part but the last may be absent."""

    widths: tuple[int, ...] = ()
    spatial: Spatial | None = None
    kernels: tuple[int, ...] = ()
    after: int = 0

    def linear_widths(self) -> tuple[int, ...]:
        """Widths of all hidden Linear layers: with the one in front of a view."""
        return (*self.widths, prod(self.spatial.view)) if self.spatial and self.spatial.view else self.widths

    def make(
        self, input_shape: tuple[int, ...], outputs: int, zero_states: bool = False, batch_norm: bool = False
    ) -> ImageClassifier:
        """zero_states: the recurrent layer starts from zeros, not from random states at every call as published.
        batch_norm: in front of the ReLU of the hidden Linear layers."""
        maps, shape = convolutions(self.kernels, input_shape)
        width = prod(shape)
        hidden: OrderedDict[str, nn.Module] = OrderedDict()
        if self.linear_widths():
            hidden["flatten"] = nn.Flatten()
        for name, width_out in zip(("first", "second", "third", "fourth"), self.linear_widths(), strict=False):
            hidden[name] = nn.Linear(width, width_out)
            if batch_norm:
                hidden[f"{name}_norm"] = nn.BatchNorm1d(width_out)
            hidden[f"{name}_relu"] = nn.ReLU()
            width = width_out
        if self.spatial:
            if self.spatial.view:
                shape = (1, *self.spatial.view)
                hidden["view"] = nn.Unflatten(1, shape)
            hidden["recurrent"] = recurrent = self.spatial.make(shape, random_states=not zero_states)
            width = recurrent.width
        if self.after:
            hidden["after"], hidden["after_relu"] = nn.Linear(width, self.after), nn.ReLU()
            width = self.after
        output: OrderedDict[str, nn.Module] = OrderedDict(output=nn.Linear(width, outputs))
        if self.kernels:
            return ImageClassifier(maps, nn.Sequential(hidden | output))
        return ImageClassifier(nn.Sequential(hidden), nn.Sequential(output))


def convolutions(kernels: tuple[int, ...], input_shape: tuple[int, ...]) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """Convolutions of 20 and 40 filters without padding, each with max-pooling and ReLU; and the shape of their maps.

    Raises ValueError if nothing is left of the image.
    """
    channels, rows, columns = input_shape
    modules: list[nn.Module] = []
    for filters, kernel in zip((20, 40), kernels, strict=False):
        modules += [nn.Conv2d(channels, filters, kernel), nn.MaxPool2d(2), nn.ReLU()]
        channels, rows, columns = filters, (rows - kernel + 1) // 2, (columns - kernel + 1) // 2
    if min(rows, columns) < 1:
        _, height, width = input_shape
        raise ValueError(f"images of {height} x {width} pixels are too small for the convolutions of {PAPER}")
    return nn.Sequential(*modules), (channels, rows, columns)


# --- Equal parameters ---------------------------------------------------------------------------------------


def parameters(network: Network, input_shape: tuple[int, ...], outputs: int) -> int:
    """How many parameters a network has; nothing is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in network.make(input_shape, outputs).parameters())


def equal_parameters(
    network: Network, budget: int, input_shape: tuple[int, ...], outputs: int
) -> tuple[tuple[int, ...], int]:
    """The network's widths with the first one changed so that its parameters come nearest to the budget.

    Returns them and the remainder, parameters minus budget: at most half of what one unit more adds.
    """

    def count(first: int) -> int:
        return parameters(replace(network, widths=(first, *network.widths[1:])), input_shape, outputs)

    per_unit = count(2) - count(1)  # the count is a linear function of the first width
    first = max(1, 1 + round((budget - count(1)) / per_unit))
    return (first, *network.widths[1:]), count(first) - budget


def exact_pairs(budget: int, inputs: int, outputs: int) -> list[tuple[int, int]]:
    """All widths (first, second) for which inputs - first - second - outputs has exactly `budget` parameters.

    They solve (first + outputs + 1)(second + inputs + 1) = budget - outputs + (outputs + 1)(inputs + 1).  For a CNN:
    inputs counts the values that its convolutions leave, budget does not count their parameters.
    """
    product = budget - outputs + (outputs + 1) * (inputs + 1)
    return [
        (divisor - outputs - 1, product // divisor - inputs - 1)
        for divisor in range(outputs + 2, product // (inputs + 2) + 1)
        if product % divisor == 0
    ]


def fully_connected(network: Network) -> Network:
    """The network with a Linear of as many outputs in place of its recurrent layer."""
    if network.spatial is None:
        raise ValueError("the network is fully connected already")
    return Network((*network.linear_widths(), 4 * network.spatial.hidden), kernels=network.kernels)


def as_large_as(reference: Network, network: Network) -> Callable[..., ImageClassifier]:
    """Makes `network`, with a first width that gives it as many parameters as `reference` has for the same inputs."""

    def make(input_shape: tuple[int, ...], outputs: int, **flags: bool) -> ImageClassifier:
        budget = parameters(reference, input_shape, outputs)
        widths, _ = equal_parameters(network, budget, input_shape, outputs)
        return replace(network, widths=widths).make(input_shape, outputs, **flags)

    return make


# --- LSTMs alone (section 4.6.2): the last states of a bidirectional LSTM are the logits -----------------------


class Rows(nn.Module):
    """(batch, planes, rows, columns) -> (batch, rows, planes * columns)"""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.transpose(1, 2).flatten(2)


def reader_of_rows(input_shape: tuple[int, ...], outputs: int, zero_states: bool) -> OrderedDict[str, nn.Module]:
    if outputs % 2:
        raise ValueError(f"the two directions of an LSTM cannot share {outputs} outputs evenly")
    planes, _, columns = input_shape
    sweep = Sweep(nn.LSTM, planes * columns, outputs // 2, random_states=not zero_states)
    return OrderedDict(rows=Rows(), recurrent=sweep)


def bilstm(input_shape: tuple[int, ...], outputs: int, zero_states: bool = False) -> ImageClassifier:
    return ImageClassifier(nn.Sequential(reader_of_rows(input_shape, outputs, zero_states)), nn.Identity())


def lstm_bilstm(input_shape: tuple[int, ...], outputs: int, zero_states: bool = False) -> ImageClassifier:
    """A layer in four directions, its output viewed as an image again, and the bidirectional LSTM over its rows."""
    planes, rows, columns = input_shape
    if rows * columns % 4:
        raise ValueError(f"four directions cannot share the {rows} x {columns} pixels of an image evenly")
    layer = FourDirections(nn.LSTM, (planes, rows, columns), rows * columns // 4, random_states=not zero_states)
    head = OrderedDict(
        view=nn.Unflatten(1, (planes, rows, columns)),
        output=nn.Sequential(reader_of_rows(input_shape, outputs, zero_states)),
    )
    return ImageClassifier(nn.Sequential(OrderedDict(recurrent=layer)), nn.Sequential(head))


# --- The networks of the thesis -----------------------------------------------------------------------------

CELLS: dict[str, Cell] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}

#: The networks that are compared with fully connected partners: name, input shape, network.
COMPARED = tuple(
    (f"{kind}-{cell_name}{suffix}", input_shape, network)
    for suffix, input_shape, kernels in (("", MNIST, (5, 3)), ("-CIFAR10", CIFAR10, (5, 5)))
    for cell_name, cell in CELLS.items()
    for kind, network in (
        ("2MLP", Network((), Spatial(cell, 32, (36, 36)))),
        ("1MLP", Network((), Spatial(cell, 32))),
        ("CNN", Network((), Spatial(cell, 16, (32, 32)), kernels)),
    )
)


def lstm(hidden: int, rows: int, columns: int, full: bool = False, layers: int = 1) -> Spatial:
    return Spatial(nn.LSTM, hidden, (rows, columns), layers, full)


HIDDEN_SIZES = (4, 8, 16, 64, 128, 256)
#: Hidden size -> side of the square map with which a 2MLP comes nearest to the size of 2MLP-LSTM.
SIDES = {4: 37, 8: 37, 16: 36, 64: 35, 128: 30}

# fmt: off
#: The others, all for MNIST.
SINGLE = (
    # Table 4.1: size of the view
    ("3MLP-LSTM-1934-16x16",    Network((1934,), lstm(32, 16, 16))),
    ("3MLP-LSTM-1524-23x23",    Network((1524,), lstm(32, 23, 23))),
    ("3MLP-LSTM-1094-32x32",    Network((1094,), lstm(32, 32, 32))),
    ("3MLP-LSTM-784-42x42",     Network((784,), lstm(32, 42, 42))),
    # Table 4.2: shape of the view; its 36x36 is 2MLP-LSTM
    ("2MLP-LSTM-54x24",         Network((), lstm(32, 54, 24))),
    ("2MLP-LSTM-72x18",         Network((), lstm(32, 72, 18))),
    ("2MLP-LSTM-162x8",         Network((), lstm(32, 162, 8))),
    ("2MLP-LSTM-324x4",         Network((), lstm(32, 324, 4))),
    # Table 4.6: depth, at about the size of 3MLP-LSTM-1094-32x32, which belongs here too; its widths are not printed
    ("2MLP-LSTM-50x50",         Network((), lstm(32, 50, 50))),
    ("2MLP-FC-2206-128",        Network((2206, 128))),
    ("3MLP-FC-1040-1024-128",   Network((1040, 1024, 128))),
    ("4MLP-LSTM-768-768-32x32", Network((768, 768), lstm(32, 32, 32))),
    ("4MLP-FC-738-738-1024-128", Network((738, 738, 1024, 128))),
    # Table 4.9: all states or the last ones; its "32x32 last" is CNN-LSTM
    ("CNN-LSTM-16x16-full",     Network((), lstm(16, 16, 16, full=True), (5, 3))),
    ("CNN-LSTM-32x8-full",      Network((), lstm(16, 32, 8, full=True), (5, 3))),
    ("CNN-LSTM-32x16-full",     Network((), lstm(16, 32, 16, full=True), (5, 3))),
    ("CNN-LSTM-16x16",          Network((), lstm(16, 16, 16), (5, 3))),
    # Section 4.6.4.  The published source reads the states of the first layer, which leaves the second without effect;
    # here it is the second that is read.
    ("2MLP-LSTM-x2",            Network((), lstm(32, 36, 36, layers=2))),
    # Section 4.6.4: at another place, in front of the Linear, which makes it as large as 2MLP-LSTM
    ("2MLP-LSTM-first",         Network((), Spatial(nn.LSTM, 32), after=7358)),
    # Figures 4.5, 4.8 and 4.9: hidden sizes
    *((f"2MLP-LSTM-h{hidden}",  Network((), lstm(hidden, side, side))) for hidden, side in SIDES.items()),
    *((f"1MLP-LSTM-h{hidden}",  Network((), Spatial(nn.LSTM, hidden))) for hidden in HIDDEN_SIZES),
)
# fmt: on

#: Figure 4.5, hidden sizes at one budget: that of the network of hidden size 32.
BUDGET_OF_HIDDEN_SIZES = dict(SINGLE)["3MLP-LSTM-1094-32x32"]

RECURRENT, NORMALISED = ("zero_states",), ("batch_norm",)


def _entries() -> list[Entry]:
    entries = []
    for name, input_shape, network in COMPARED:
        kind, cell = name.split("-", 1)
        partner = as_large_as(network, fully_connected(network))
        entries.append(Entry(name, PAPER, input_shape, 10, network.make, flags=RECURRENT))
        entries.append(Entry(f"{kind}-FC-for-{cell}", PAPER, input_shape, 10, partner, flags=NORMALISED))
    for name, network in SINGLE:
        entries.append(Entry(name, PAPER, MNIST, 10, network.make, flags=RECURRENT if network.spatial else ()))
    for hidden in HIDDEN_SIZES:
        make = as_large_as(BUDGET_OF_HIDDEN_SIZES, Network((1,), lstm(hidden, 32, 32)))
        entries.append(Entry(f"3MLP-LSTM-h{hidden}", PAPER, MNIST, 10, make, flags=RECURRENT))
    entries.append(Entry("biLSTM-rows", PAPER, MNIST, 10, bilstm, flags=RECURRENT))
    entries.append(Entry("LSTM-biLSTM", PAPER, MNIST, 10, lstm_bilstm, flags=RECURRENT))
    return entries


ENTRIES = (*_entries(), *posenet.ENTRIES)


def _print_partners() -> None:
    print(f"{'network':18}{'parameters':>12}   {'partner':12}{'parameters':>12}{'remainder':>11}{'percent':>10}")
    for name, input_shape, network in COMPARED:
        budget = parameters(network, input_shape, 10)
        widths, remainder = equal_parameters(fully_connected(network), budget, input_shape, 10)
        partner = "-".join(map(str, widths))
        percent = 100 * remainder / budget
        print(f"{name:18}{budget:12,}   {partner:12}{budget + remainder:12,}{remainder:+11,}{percent:+10.3f}")


if __name__ == "__main__":
    _print_partners()
