"""The 30 classifiers of hse-2024: Seliverstov, "Application of Liquid Neural Networks to MedMNIST datasets", HSE 2024.

A volume of 28 slices is read slice by slice: the same small convolutional trunk turns each slice into a feature vector,
and the head turns the sequence of 28 vectors into one logit, mostly as the mean of one logit per slice.
Layers that Table 1 of the paper leaves open (widths, dropout, wirings) follow the author's published source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from ncps.wirings import AutoNCP, FullyConnected, Wiring
from torch import Tensor, nn

from liquidlens.models.decision import Classifier, Decision
from liquidlens.models.entry import Entry
from liquidlens.models.layers.cfc import CfC
from liquidlens.models.layers.liquid import LTC
from liquidlens.models.layers.slices import of_distinct

PAPER = "hse-2024"
INPUT_SHAPE = (1, 28, 28, 28)


# --- Trunks: convolutions applied to each slice; (channels in, channels out, kernel, max-pool afterwards) ---

T2 = ((1, 6, 5, True), (6, 16, 3, True))  # 28-24-12-10-5: 400 features
T4 = ((1, 6, 5, False), (6, 6, 5, True), (6, 16, 3, False), (16, 16, 3, True))  # 28-24-20-10-8-6-3: 144 features
T4_ONE_POOL = ((1, 6, 5, False), (6, 6, 5, True), (6, 16, 3, False), (16, 16, 3, False))  # ...-8-6: 576 features


def trunk(layers: tuple[tuple[int, int, int, bool], ...]) -> nn.Sequential:
    """Convolutions without padding, max-pooling where listed, ReLU."""
    modules: list[nn.Module] = []
    for channels_in, channels_out, kernel, pool in layers:
        modules += [nn.Conv2d(channels_in, channels_out, kernel)]
        modules += [nn.MaxPool2d(2)] if pool else []
        modules += [nn.ReLU()]
    return nn.Sequential(*modules)


def features_of(layers: tuple[tuple[int, int, int, bool], ...], rows: int = 28, columns: int = 28) -> int:
    """Number of features a trunk makes of one slice: channels times positions.

    Raises ValueError if nothing is left of the slice.
    """
    height, width = rows, columns
    for _, _, kernel, pool in layers:
        height, width = ((size - kernel + 1) // (2 if pool else 1) for size in (height, width))
    if min(height, width) < 1:
        raise ValueError(f"slices of {rows} x {columns} pixels are too small for the convolutions of {PAPER}")
    return layers[-1][1] * height * width


# --- Heads: (batch, slices, features) -> logits (batch, K) and slice logits (batch, slices, K) or None ------
# The functions below return what makes a head for a number of features and of outputs K; in the paper K is 1.


class MeanOverSlices(nn.Module):
    """One logit per slice, by any modules that keep the slice axis; their mean decides."""

    def __init__(self, *steps: nn.Module):
        super().__init__()
        self.steps = nn.Sequential(*steps)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        slice_logits = self.steps(features)
        return slice_logits.mean(1), slice_logits


class LateMlp(nn.Module):
    """CNNExp3N6: the slices are averaged before the last activation, so no logit belongs to one slice."""

    def __init__(self, features: int, outputs: int, first: int, second: int, dropout: float):
        super().__init__()
        self.per_slice = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(features, first), nn.ReLU(), nn.Dropout(dropout), nn.Linear(first, second)
        )
        self.together = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(second, outputs))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.together(self.per_slice(features).mean(1)), None


class Outputs(nn.Module):
    """The output sequence of a recurrent layer, without its final state."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, sequence: Tensor) -> Tensor:
        return self.layer(sequence)[0]


class SliceBatchNorm(nn.Module):
    """LiqExp3N3: BatchNorm1d called once per slice, so each slice is normalised with its own batch statistics."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            return torch.stack([self.norm(one_slice) for one_slice in features.unbind(1)], dim=1)
        return self.norm(features.flatten(0, 1)).reshape(features.shape)  # running statistics: the slices do not mix


def mlp(*widths: int, dropout: float = 0.0):
    """Linear and ReLU per slice, then Linear to the logits; with dropout, one in front of every Linear."""

    def make(features: int, outputs: int) -> nn.Module:
        modules: list[nn.Module] = []
        for width_in, width_out in zip((features, *widths), (*widths, outputs), strict=True):
            modules += [nn.Dropout(dropout)] if dropout else []
            modules += [nn.Linear(width_in, width_out), nn.ReLU()]
        return MeanOverSlices(*modules[:-1])

    return make


def late_mlp(first: int, second: int, dropout: float):
    return partial(LateMlp, first=first, second=second, dropout=dropout)


def liquid(*wirings: Callable[[int], Wiring], before=(), linear: bool = False):
    """Liquid layers with ReLU between them; `before` prepares the features; `linear` ends with Linear to the logits."""

    def make(features: int, outputs: int, cell: type[LTC] | type[CfC] = LTC) -> nn.Module:
        modules: list[nn.Module] = []
        for prepare in before:
            features, module = prepare(features)
            modules.append(module)
        for wiring in (make_wiring(outputs) for make_wiring in wirings):
            modules += [Outputs(cell(features, wiring)), nn.ReLU()]
            features = wiring.output_dim
        modules.pop()
        return MeanOverSlices(*modules, *([nn.Linear(features, outputs)] if linear else []))

    return make


def dropout(p: float):
    return lambda features: (features, nn.Dropout(p))


def dense(width: int):
    return lambda features: (width, nn.Sequential(nn.Linear(features, width), nn.ReLU()))


def slice_batch_norm(features: int):
    return features, SliceBatchNorm(features)


#: In a wiring: as many motor neurons as the model has logits.
K = None


def auto(units: int, motor: int | None) -> Callable[[int], Wiring]:
    """ "Auto" of Table 1: a neural circuit policy with sparsity 0.5 and the library's seed 22222."""
    return lambda outputs: AutoNCP(units, motor or outputs)


def full(units: int, motor: int | None) -> Callable[[int], Wiring]:
    """ "Full" of Table 1."""
    return lambda outputs: FullyConnected(units, motor or outputs)


def recurrent(cell: type[nn.RNN] | type[nn.LSTM], layers: int):
    """RNN or LSTM of 40 units over the slices, ReLU, Linear to the logits of each slice.

    In the published source these layers lack ``batch_first`` and recur over the samples of a batch instead: the flag
    `source_layout`.  The answer for a scan then depends on its batch.
    """

    def make(features: int, outputs: int, source_layout: bool = False) -> nn.Module:
        layer = cell(features, 40, layers, batch_first=not source_layout)
        return MeanOverSlices(Outputs(layer), nn.ReLU(), nn.Linear(40, outputs))

    return make


def lstm_into_lstm(features: int, outputs: int, source_layout: bool = False) -> nn.Module:
    lstm = partial(nn.LSTM, batch_first=not source_layout)
    return MeanOverSlices(Outputs(lstm(features, 40)), Outputs(lstm(40, outputs)))


# --- Table 1 of the paper -----------------------------------------------------------------------------------


class SliceClassifier(Classifier):
    """A trunk over slices and a head over their sequence.

    Maps volumes (batch, 1, slices, rows, columns) with values in [0, 1] to logits (batch, K).  Slices run along the
    first spatial axis.
    """

    def __init__(self, layers: tuple[tuple[int, int, int, bool], ...], make_head, size: tuple[int, int], outputs: int):
        super().__init__()
        self.trunk = trunk(layers)
        self.head = make_head(features_of(layers, *size), outputs)

    def decide(self, inputs: Tensor) -> Decision:
        _, _, slices, rows, columns = inputs.shape
        images = inputs.reshape(-1, 1, rows, columns)
        maps = self._maps_of_distinct(images) if self.training else self._maps(images)
        channels, height, width = maps.shape[1:]
        logits, slice_logits = self.head(maps.reshape(-1, slices, channels * height * width))
        return Decision(logits, slice_logits, activations=maps.mean((2, 3)).reshape(-1, slices, channels))

    def _maps(self, images: Tensor) -> Tensor:
        return self.trunk(images.contiguous(memory_format=torch.channels_last))

    def _maps_of_distinct(self, images: Tensor) -> Tensor:
        return of_distinct(images, self._maps)


@dataclass(frozen=True)
class Row:
    """One line of Table 1: a name, the trunk and the head, and the parameter count as printed (None: not printed)."""

    name: str
    trunk: tuple[tuple[int, int, int, bool], ...]
    head: Callable[..., nn.Module]
    parameters: int | None

    def build(self, input_shape: tuple[int, ...], outputs: int, **flags: bool) -> SliceClassifier:
        channels, _, rows, columns = input_shape
        if channels != 1:
            raise ValueError(f"{self.name} reads grey volumes, not {channels} channels")
        return SliceClassifier(self.trunk, partial(self.head, **flags), (rows, columns), outputs)

    def entry(self) -> Entry:
        flags = ("source_layout",) if self.name.startswith(("LSTM", "RNN")) else ()
        return Entry(self.name, PAPER, INPUT_SHAPE, 1, self.build, self.parameters, flags)


# fmt: off
TABLE_1 = (
    Row("CNNExp1N1",  T2, mlp(120, 84), 59405),
    Row("LiqExp1N2",  T2, liquid(auto(21, K)), 37265),
    Row("CNNExp1N3",  T2, mlp(120, 84), 59405),  # the same network as CNNExp1N1: a repeated run
    Row("CNNExp1N4",  T2, mlp(60, 42), 27701),
    Row("LiqExp1N5",  T2, liquid(auto(21, 14), auto(7, K)), 37930),
    Row("LiqExp1N6",  T2, liquid(auto(30, K)), 53528),
    Row("CNNExp2N1",  T2, mlp(128, 128, 64, 32), 79245),
    Row("LiqExp2N2",  T2, liquid(full(21, K)), 37265),
    Row("CNNExp2N3",  T2, mlp(256, 64), 120205),
    Row("CNNExp2N4",  T2, mlp(30, 21), 13739),
    Row("LiqExp2N5",  T2, liquid(full(21, 14), full(7, K)), 37930),
    Row("LiqExp2N6",  T2, liquid(full(30, K)), 53528),
    Row("CNNExp3N1",  T2, mlp(120, 84, dropout=0.2), 59405),
    Row("LiqExp3N2",  T2, liquid(auto(21, K), before=[dropout(0.2), dense(256)]), 127537),
    Row("LiqExp3N3",  T2, liquid(auto(21, K), before=[slice_batch_norm, dropout(0.2)]), 38065),
    Row("LiqExp3N4",  T2, liquid(auto(21, K), before=[dropout(0.2)]), 37265),
    Row("LiqExp3N5",  T2, liquid(auto(21, 14), linear=True), 37306),
    Row("CNNExp3N6",  T2, late_mlp(120, 84, dropout=0.2), 59405),
    Row("CNNExp4N1",  T4, mlp(64, 32), 15655),
    Row("LiqExp4N2",  T4, liquid(auto(21, K)), 18475),
    Row("CNNExp4N3",  T4_ONE_POOL, mlp(120, 84), 83751),
    Row("CNNExp4N4",  T4_ONE_POOL, mlp(60, 42), 41487),
    Row("LiqExp4N5",  T4, liquid(auto(21, 14), auto(7, K)), 19140),
    Row("LiqExp4N6",  T4_ONE_POOL, liquid(auto(21, K)), 55627),
    Row("LiqExp5N1",  T2, liquid(auto(5, K)), 9953),
    Row("LSTMExp5N2", T2, recurrent(nn.LSTM, layers=1), 71797),
    Row("LSTMExp5N3", T2, lstm_into_lstm, 71928),
    Row("LSTMExp5N4", T2, recurrent(nn.LSTM, layers=2), 84917),
    Row("RNNExp5N5",  T2, recurrent(nn.RNN, layers=1), 18757),
    Row("RNNExp5N6",  T2, recurrent(nn.RNN, layers=2), 22037),
)
# fmt: on

#: The liquid rows with the cheaper cell CfC, its wiring the same (not in the paper).
CFC_TWINS = tuple(
    Row(row.name.replace("Liq", "CfC"), row.trunk, partial(row.head, cell=CfC), parameters=None)
    for row in TABLE_1
    if row.name.startswith("Liq")
)

ENTRIES = tuple(row.entry() for row in (*TABLE_1, *CFC_TWINS))
