"""Our own classifiers of segmented structures in volumes: LiquidLens-S and -M, and their twin without liquid layers.

How thick a structure is shows more of it than one slice does: of the adrenal glands of MedMNIST3D the mean distance to
the surface alone parts the classes about as well as a trained CNN does.  So the volume is first eroded again and again,
and what is left of it each time are the channels that a small encoder reads slice by slice.  A slice is then judged in
the light of the whole structure, by liquid layers that pass it in both directions, and counts by how much of the
structure it holds.
"""

import zlib
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liquidlens.models.decision import Classifier, Decision
from liquidlens.models.entry import Entry
from liquidlens.models.layers.erosions import Erosions
from liquidlens.models.layers.sequences import TWINS, both_ways, passed, twin_of
from liquidlens.models.layers.slices import of_distinct, without_empty

PAPER = "liquidlens"
INPUT_SHAPE = (1, 28, 28, 28)
#: Keep logarithms and quotients finite where there is nothing.
SOME = 1e-3


def _shares(amounts: Tensor) -> Tensor:
    """Logarithms of what each erosion leaves, in shares, and of the whole itself.  amounts: (n, channels), means."""
    whole, left = amounts[:, :1], amounts[:, 1:]
    return torch.cat([torch.log(whole + SOME), torch.log((left + SOME * SOME) / (whole + SOME) + SOME)], 1)


def _with_a_third_missing(volumes: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Volumes (batch, 1, slices, rows, columns) without a third of their slices, drawn for each of them, and how far
    each slice that is left lies from the one before it and from the one after it, (batch, slices left, 2), in slices.

    In evaluation a volume always loses the same ones, whatever else is in its batch: its voxels are the seed.
    """
    batch, _, slices, *size = volumes.shape
    draws = torch.rand(batch, slices) if training else torch.stack([_draw(volume, slices) for volume in volumes])
    left = draws.argsort(1)[:, slices // 3 :].sort(1).values.to(volumes.device)
    gaps = left.diff(dim=1)
    spans = torch.stack([F.pad(gaps, (1, 0), value=1), F.pad(gaps, (0, 1), value=1)], 2)
    return volumes.gather(2, left[:, None, :, None, None].expand(-1, 1, -1, *size)), spans.to(volumes)


def _draw(volume: Tensor, count: int) -> Tensor:
    """Random numbers (count,) from a volume's voxels; on the CPU, so that they are the same ones on any device."""
    seed = zlib.crc32(volume.cpu().numpy().tobytes())
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


class SliceEncoder(nn.Module):
    """Two convolutions, pooled over the structure; slices (n, channels, rows, columns) and the means of their channels
    (n, channels) to features (n, features).

    The maps are averaged over the structure alone, so that it may be small in its slice, and their maxima join, and
    the shares of the erosions.
    """

    def __init__(self, channels: int, maps: tuple[int, int], features: int):
        super().__init__()
        modules: list[nn.Module] = []
        for channels_in, channels_out in pairwise((channels, *maps)):
            modules += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.maps = nn.Sequential(*modules)
        self.features = nn.Linear(2 * maps[1] + channels, features)

    def forward(self, slices: Tensor, amounts: Tensor) -> Tensor:
        pooled = of_distinct(slices, self._pooled, amounts[:, 0] > 0)
        return torch.relu(self.features(torch.cat([pooled, _shares(amounts)], 1)))

    def _pooled(self, slices: Tensor) -> Tensor:
        maps = self.maps(slices.contiguous(memory_format=torch.channels_last))
        structure = F.avg_pool2d(slices[:, :1], 4)
        mean = (maps * structure).sum((2, 3)) / (structure.sum((2, 3)) + SOME)
        return torch.cat([mean, maps.amax((2, 3))], 1)


class LiquidLens(Classifier):
    """Erosions, a slice encoder, the slices in the light of the whole, liquid layers both ways, a logit by area.

    Maps volumes (batch, 1, slices, rows, columns) with values in [0, 1], bright where the structure is, to logits
    (batch, K).  Slices run along the first spatial axis.

    maps: of the two convolutions; features: of a slice; hidden: of a slice in the light of the whole; units: of the
    liquid layer in each direction, half of them motor neurons, or 0 for none.  uneven: leave out a third of the slices
    at random, to see what that costs; timespans: and give the liquid layers the distances between the others.  twin:
    what stands in for the liquid layers, see `both_ways`.
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
        uneven: bool = False,
        timespans: bool = False,
        twin: str = "",
    ):
        super().__init__()
        if timespans and (twin or not uneven):
            raise ValueError("time spans are for liquid layers that read uneven slices: the flag `uneven`")
        self.uneven, self.timespans = uneven, timespans
        self.erosions = Erosions(rounds)
        channels = 1 + 3 * rounds
        self.encoder = SliceEncoder(channels, maps, features)
        whole = 2 * features + channels
        self.of_slice = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, hidden))
        self.of_whole = nn.Sequential(nn.BatchNorm1d(whole), nn.Dropout(dropout), nn.Linear(whole, hidden))
        self.liquid: nn.Module | None = None
        width = 0
        if units:
            self.liquid, width = both_ways(hidden, units, twin)
        self.output = nn.Linear(hidden + width, outputs)

    def decide(self, inputs: Tensor) -> Decision:
        spans = None
        if self.uneven:
            inputs, spans = _with_a_third_missing(inputs, self.training)
        inputs, place = without_empty(inputs)
        volumes = self.erosions(inputs)
        amounts = volumes.mean((3, 4))  # (batch, slices, channels)
        features = self.encoder(volumes.flatten(0, 1), amounts.flatten(0, 1)).unflatten(0, amounts.shape[:2])
        amounts, features = amounts.index_select(1, place), features.index_select(1, place)
        area = amounts[..., :1] + SOME**2
        area = area / area.sum(1, keepdim=True)
        whole = torch.cat([(features * area).sum(1), features.amax(1), _shares(amounts.mean(1))], 1)
        hidden = torch.relu(self.of_slice(features) + self.of_whole(whole)[:, None])
        sequence = hidden
        if self.liquid is not None:
            sequence = torch.cat([hidden, passed(self.liquid, hidden, spans if self.timespans else None)], 2)
        slice_logits = amounts.shape[1] * area * self.output(sequence)  # whose mean decides
        return Decision(slice_logits.mean(1), slice_logits, activations=features)


def _make(input_shape: tuple[int, ...], outputs: int, **options) -> LiquidLens:
    if input_shape[0] != 1:
        raise ValueError(f"the models of {PAPER} read grey volumes, not {input_shape[0]} channels")
    if min(input_shape[2:]) < 4:
        raise ValueError(f"slices of {input_shape[2]} x {input_shape[3]} pixels are too small for {PAPER}")
    twin = twin_of(options)
    return LiquidLens(outputs, **{name: value for name, value in options.items() if name not in TWINS}, twin=twin)


_SMALL: dict[str, Any] = {"rounds": 3, "maps": (12, 24), "features": 24, "hidden": 32, "dropout": 0.0}
_MEDIUM: dict[str, Any] = {"rounds": 3, "maps": (24, 48), "features": 48, "hidden": 64, "dropout": 0.1}

FLAGS = ("uneven", "timespans", *TWINS)
ENTRIES = (
    Entry("LiquidLens-S", PAPER, INPUT_SHAPE, 1, partial(_make, **_SMALL, units=16), flags=FLAGS),
    Entry("LiquidLens-M", PAPER, INPUT_SHAPE, 1, partial(_make, **_MEDIUM, units=24)),
    Entry("LiquidLens-CNN", PAPER, INPUT_SHAPE, 1, partial(_make, **_SMALL, units=0)),
)
