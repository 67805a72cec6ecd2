"""Our own classifiers of segmented structures in volumes: LiquidLens-S and -M, and their twin without liquid layers.

How thick a structure is tells more about it than how it looks in one slice: of the adrenal glands of MedMNIST3D the
mean distance to the surface alone parts the classes about as well as a trained CNN does.  So the volume is first eroded
again and again, and what is left of it each time are the channels that a small encoder reads slice by slice.  A slice
is then judged in the light of the whole structure, by liquid layers that pass it in both directions, and counts by how
much of the structure it holds.
"""

from functools import partial
from typing import Any

import torch
from ncps.wirings import AutoNCP
from torch import Tensor, nn
from torch.nn import functional as F

from models.decision import Classifier, Decision
from models.entry import Entry
from models.liquid import LTC, Reversed
from models.slices import of_distinct

PAPER = "liquidlens"
INPUT_SHAPE = (1, 28, 28, 28)
#: Keep logarithms and quotients finite where there is nothing.
SOME = 1e-3


def erosions(volume: Tensor, rounds: int) -> Tensor:
    """A volume (batch, 1, slices, rows, columns) and what is left of it after erosions: (batch, 1 + 3 * rounds, ...).

    Each round erodes by the 6, 18 and 26 neighbours of a voxel, that is by what lies within distances of 1, sqrt(2) and
    sqrt(3); the next one starts with the last of them.  A voxel becomes the least of its neighbours, so grey volumes
    may be eroded, too; beyond the border there are none.
    """
    left = [volume]
    for _ in range(rounds):
        along = [_least(left[-1], axis) for axis in (2, 3, 4)]
        planes = [_least(along[0], 3), _least(along[0], 4), _least(along[1], 4)]
        left += [_least_of(along), _least_of(planes), _least(planes[0], 4)]
    return torch.cat(left, 1)


def _least(volume: Tensor, axis: int) -> Tensor:
    """Of each voxel and its two neighbours along an axis."""
    size = volume.shape[axis]
    pairs = torch.minimum(volume.narrow(axis, 0, size - 1), volume.narrow(axis, 1, size - 1))
    with_next = torch.cat([pairs, volume.narrow(axis, size - 1, 1)], axis)
    with_last = torch.cat([volume.narrow(axis, 0, 1), pairs], axis)
    return torch.minimum(with_next, with_last)


def _least_of(volumes: list[Tensor]) -> Tensor:
    return torch.minimum(torch.minimum(volumes[0], volumes[1]), volumes[2])


def _shares(amounts: Tensor) -> Tensor:
    """Logarithms of what each erosion leaves, in shares, and of the whole itself.  amounts: (n, channels), means."""
    whole, left = amounts[:, :1], amounts[:, 1:]
    return torch.cat([torch.log(whole + SOME), torch.log((left + SOME * SOME) / (whole + SOME) + SOME)], 1)


class SliceEncoder(nn.Module):
    """Two convolutions, pooled over the structure; slices (n, channels, rows, columns) to features (n, features).

    The maps are averaged over the structure alone, so that it may be small in its slice, and their maxima join, and
    the shares of the erosions.
    """

    def __init__(self, channels: int, maps: tuple[int, int], features: int):
        super().__init__()
        self.maps = nn.Sequential(
            *(nn.Conv2d(channels, maps[0], 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(maps[0], maps[1], 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        )
        self.features = nn.Linear(2 * maps[1] + channels, features)

    def forward(self, slices: Tensor) -> Tensor:
        maps = self.maps(slices.contiguous(memory_format=torch.channels_last))
        structure = F.avg_pool2d(slices[:, :1], 4)
        mean = (maps * structure).sum((2, 3)) / (structure.sum((2, 3)) + SOME)
        pooled = torch.cat([mean, maps.amax((2, 3)), _shares(slices.mean((2, 3)))], 1)
        return torch.relu(self.features(pooled))


class LiquidLens(Classifier):
    """Erosions, a slice encoder, the slices in the light of the whole, liquid layers both ways, a logit by area.

    Maps volumes (batch, 1, slices, rows, columns) with values in [0, 1], bright where the structure is, to logits
    (batch, K).  Slices run along the first spatial axis.

    maps: of the two convolutions; features: of a slice; hidden: of a slice in the light of the whole; units: of each
    liquid layer, half of them motor neurons, or 0 for none.
    """

    def __init__(
        self,
        outputs: int,
        *,
        rounds: int,
        maps: tuple[int, int],
        features: int,
        hidden: int,
        units: int,
        dropout: float,
    ):
        super().__init__()
        self.rounds = rounds
        channels = 1 + 3 * rounds
        self.encoder = SliceEncoder(channels, maps, features)
        whole = 2 * features + channels
        self.of_slice = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, hidden))
        self.of_whole = nn.Sequential(nn.BatchNorm1d(whole), nn.Dropout(dropout), nn.Linear(whole, hidden))
        motor = units // 2
        both_ways = (LTC(hidden, AutoNCP(units, motor)), Reversed(LTC(hidden, AutoNCP(units, motor)))) if units else ()
        self.liquid = nn.ModuleList(both_ways)
        self.output = nn.Linear(hidden + 2 * motor, outputs)

    def decide(self, inputs: Tensor) -> Decision:
        volumes = erosions(inputs, self.rounds)
        _, channels, count, rows, columns = volumes.shape
        slices = volumes.transpose(1, 2).reshape(-1, channels, rows, columns)
        features = of_distinct(slices, self.encoder) if self.training else self.encoder(slices)
        features = features.reshape(-1, count, features.shape[1])
        area = inputs.mean((1, 3, 4))[..., None] + SOME**2  # (batch, slices, 1)
        area = area / area.sum(1, keepdim=True)
        whole = torch.cat([(features * area).sum(1), features.amax(1), _shares(volumes.mean((2, 3, 4)))], 1)
        hidden = torch.relu(self.of_slice(features) + self.of_whole(whole)[:, None])
        sequence = torch.cat([hidden, *(layer(hidden)[0] for layer in self.liquid)], 2)
        slice_logits = count * area * self.output(sequence)  # whose mean decides
        return Decision(slice_logits.mean(1), slice_logits, activations=features)


def _make(input_shape: tuple[int, ...], outputs: int, **sizes) -> LiquidLens:
    if input_shape[0] != 1:
        raise ValueError(f"the models of {PAPER} read grey volumes, not {input_shape[0]} channels")
    if min(input_shape[2:]) < 4:
        raise ValueError(f"slices of {input_shape[2]} x {input_shape[3]} pixels are too small for {PAPER}")
    return LiquidLens(outputs, **sizes)


_SMALL: dict[str, Any] = {"rounds": 3, "maps": (12, 24), "features": 24, "hidden": 32, "dropout": 0.0}
_MEDIUM: dict[str, Any] = {"rounds": 3, "maps": (24, 48), "features": 48, "hidden": 64, "dropout": 0.1}

ENTRIES = (
    Entry("LiquidLens-S", PAPER, INPUT_SHAPE, 1, partial(_make, **_SMALL, units=16)),
    Entry("LiquidLens-M", PAPER, INPUT_SHAPE, 1, partial(_make, **_MEDIUM, units=24)),
    Entry("LiquidLens-CNN", PAPER, INPUT_SHAPE, 1, partial(_make, **_SMALL, units=0)),
)
