"""Our own classifiers of grey values: LiquidLens-X reads X-rays, LiquidLens-V volumes of a CT around a point.

Both are small convolutional networks whose maps become a sequence, of an X-ray its rows from top to bottom, of a volume
its slabs from end to end in three directions.  Each step is judged in the light of the whole, by liquid layers that
pass the sequence both ways, and counts by a weight that is learnt.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liquidlens.models.decision import Classifier, Decision
from liquidlens.models.entry import Entry
from liquidlens.models.layers.sequences import TWINS, both_ways, passed, twin_of

PAPER = "liquidlens"
#: Keeps quotients finite where an image is all one grey.
SOME = 1e-2
#: Reach of the local mean that grey values are compared with, as a share of the image's side.
REACH = 1 / 8
#: Rows of the last maps of an X-ray, about.
ROWS = 8


class Contrast(nn.Module):
    """Images (n, 1, rows, columns) in [0, 1] to (n, 3, rows, columns): the grey values, how far they are from the mean
    of the image, and from the mean around them, in standard deviations.

    X-rays differ by exposure and by what was done to their contrast; the second and third channel do not.
    """

    down: Tensor
    across: Tensor | None

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.register_buffer("down", _blur(rows))
        self.register_buffer("across", None if columns == rows else _blur(columns))

    def forward(self, images: Tensor) -> Tensor:
        centred = images - images.mean((2, 3), keepdim=True)
        of_image = centred / (centred.square().mean((2, 3), keepdim=True).sqrt() + SOME)
        near = images - self._around(images)
        of_near = near / (self._around(near.square()).sqrt() + SOME)
        return torch.cat([images, of_image / 2, of_near / 2], 1)

    def _around(self, images: Tensor) -> Tensor:
        across = self.down if self.across is None else self.across
        return (across @ (self.down @ images).mT).mT  # not `images @ across`: a file would hold the matrix twice


def _blur(length: int) -> Tensor:
    """(length, length) Gaussian weights of the points around each point, rows summing to 1."""
    points = torch.arange(length)
    weights = torch.exp(-((points - points[:, None]) / (REACH * length)).square() / 2)
    return weights / weights.sum(1, keepdim=True)


class Excitation(nn.Module):
    """Weighs the channels of maps by what all of the maps hold (Hu et al., "Squeeze-and-Excitation", CVPR 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels), nn.Sigmoid()
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.weigh(maps.mean((2, 3)))[:, :, None, None]


class Separable(nn.Module):
    """A depthwise and two pointwise convolutions with excitation, added to what comes in; as many channels come out."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            Excitation(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.change(maps)


def _convolution(channels: int, features: int, kernel: int = 3, **options) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, features, kernel, padding=kernel // 2, bias=False, **options)
    return [convolution, nn.BatchNorm2d(features), nn.ReLU()]


def _widened(channels: int, features: int) -> list[nn.Module]:
    """More channels by a depthwise convolution and a pointwise one, for a tenth of the parameters of a full one."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return [depthwise, *_convolution(channels, features, 1)]


class SequenceHead(nn.Module):
    """Judges each step of a sequence in the light of the whole, passes them both ways, and weighs the answers.

    Maps steps (n, time, features) and the whole (n, context) to logits (n, outputs).  tracks: so many sequences in a
    row, of equal length, make up the steps of one scan; each is passed alone, and all are weighed together.
    """

    def __init__(
        self, features: int, context: int, hidden: int, units: int, twin: str, dropout: float, outputs: int, tracks: int
    ):
        super().__init__()
        self.tracks = tracks
        self.of_step = nn.Linear(features, hidden)
        self.of_whole = nn.Sequential(nn.BatchNorm1d(context), nn.Dropout(dropout), nn.Linear(context, hidden))
        self.sequence, width = both_ways(hidden, units, twin)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden + width, outputs)
        self.weigh = nn.Linear(hidden + width, 1)

    def forward(self, steps: Tensor, whole: Tensor) -> Tensor:
        hidden = torch.relu(self.of_step(steps) + self.of_whole(whole)[:, None])
        time = hidden.shape[1] // self.tracks
        outputs = passed(self.sequence, hidden.reshape(-1, time, hidden.shape[2]))
        states = torch.cat([hidden, outputs.reshape(-1, self.tracks * time, outputs.shape[2])], 2)
        return (self.weigh(states).softmax(1) * self.output(self.dropout(states))).sum(1)


class LiquidLensX(Classifier):
    """Contrast, separable convolutions, the rows of their maps as a sequence.

    Maps images (batch, 1, rows, columns) with values in [0, 1] to logits (batch, K).

    channels, blocks: of the maps of each stage, and of separable convolutions in it; small images are halved in fewer
    stages, so that about `ROWS` rows are left.  plain: reads the grey values alone, without `Contrast`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        outputs: int,
        *,
        channels: tuple[int, ...],
        blocks: tuple[int, ...] = (0, 2, 3, 1),
        hidden: int = 32,
        units: int = 16,
        dropout: float = 0.2,
        plain: bool = False,
        twin: str = "",
    ):
        super().__init__()
        self.contrast = None if plain else Contrast(*size)
        halvings = min(max(round(math.log2(min(size) / ROWS)), 1), len(channels))
        whole = len(channels) - halvings  # stages that keep the size, the first ones
        trunk = _convolution(1 if plain else 3, channels[0], 5, stride=1 if whole else 2)
        for stage, (before, after) in enumerate(pairwise(channels), start=1):
            trunk += _widened(before, after) if stage == len(blocks) - 1 else _convolution(before, after)
            trunk += [nn.AvgPool2d(2)] if stage >= whole else []
            trunk += [Separable(after, 3 if stage == 1 else 5) for _ in range(blocks[stage])]
        self.trunk = nn.Sequential(*trunk)
        features = channels[-1]
        self.look = nn.Conv2d(features, 1, 1)
        self.head = SequenceHead(features, 2 * features, hidden, units, twin, dropout, outputs, tracks=1)

    def decide(self, inputs: Tensor) -> Decision:
        maps = self.trunk(inputs if self.contrast is None else self.contrast(inputs))
        rows = (maps * self.look(maps).softmax(3)).sum(3).transpose(1, 2)  # (batch, rows, channels)
        mean = maps.mean((2, 3))
        return Decision(self.head(rows, torch.cat([mean, maps.amax((2, 3))], 1)), None, mean[:, None])


class LiquidLensV(Classifier):
    """Two fields of view in slabs along three directions, a convolutional encoder, the slabs as sequences.

    Maps volumes (batch, 1, n, n, n) with values in [0, 1], the same millimetres in all directions and what is asked
    about in the middle, to logits (batch, K).  The half around the middle is looked at as finely as it is given, and
    the whole half as finely.
    """

    def __init__(
        self,
        outputs: int,
        *,
        maps: tuple[int, int, int] = (24, 48, 56),
        features: int = 40,
        hidden: int = 32,
        units: int = 16,
        dropout: float = 0.2,
        twin: str = "",
    ):
        super().__init__()
        encoder: list[nn.Module] = []
        for before, after in pairwise((4, *maps)):
            encoder += [*_convolution(before, after), nn.AvgPool2d(2)]
        self.encoder = nn.Sequential(*encoder[:-1], Excitation(maps[-1]))
        self.look = nn.Conv2d(maps[-1], 1, 1)
        self.features = nn.Linear(2 * maps[-1], features)
        self.head = SequenceHead(features, 2 * features, hidden, units, twin, dropout, outputs, tracks=3)

    def decide(self, inputs: Tensor) -> Decision:
        quarter = inputs.shape[2] // 4
        middle = inputs[:, :, quarter:-quarter, quarter:-quarter, quarter:-quarter]
        both = torch.cat([middle, F.avg_pool3d(inputs, 2)], 1)  # (batch, 2, n / 2, n / 2, n / 2)
        slabs = torch.stack([both.movedim(axis, 1).unflatten(1, (-1, 2)) for axis in (2, 3, 4)], 1)
        images = slabs.flatten(0, 2).flatten(1, 2)  # (batch * 3 * n / 4, 2 slices of 2 fields, n / 2, n / 2)
        features = self._features(images.contiguous(memory_format=torch.channels_last))
        steps = features.reshape(-1, 3 * quarter, features.shape[1])
        whole = torch.cat([steps.mean(1), steps.amax(1)], 1)
        return Decision(self.head(steps, whole), None, steps)

    def _features(self, images: Tensor) -> Tensor:
        maps = self.encoder(images)
        looked = (maps * self.look(maps).flatten(2).softmax(2).reshape(-1, 1, *maps.shape[2:])).sum((2, 3))
        return torch.relu(self.features(torch.cat([looked, maps.amax((2, 3))], 1)))


def _make_x(
    input_shape: tuple[int, ...], outputs: int, plain: bool = False, wide: bool = False, **twins: bool
) -> LiquidLensX:
    """wide: twice as many maps, four times as many parameters: a teacher."""
    channels, rows, columns = input_shape
    if channels != 1 or min(rows, columns) < 2 * ROWS:
        raise ValueError(f"LiquidLens-X reads grey images from {2 * ROWS} x {2 * ROWS} pixels on, not {input_shape}")
    maps = tuple((1 + wide) * count for count in (16, 32, 64, 80))
    return LiquidLensX((rows, columns), outputs, channels=maps, plain=plain, twin=twin_of(twins))


def _make_v(input_shape: tuple[int, ...], outputs: int, **twins: bool) -> LiquidLensV:
    channels, *size = input_shape
    if channels != 1 or len(set(size)) > 1 or size[0] % 4 or size[0] < 16:
        raise ValueError(f"LiquidLens-V reads grey cubes of 16, 20, 24 ... voxels a side, not {input_shape}")
    return LiquidLensV(outputs, twin=twin_of(twins))


ENTRIES = (
    Entry("LiquidLens-X", PAPER, (1, 128, 128), 1, _make_x, flags=("plain", "wide", *TWINS), recipe="liquidlens-x"),
    Entry("LiquidLens-V", PAPER, (1, 36, 36, 36), 1, _make_v, flags=TWINS, recipe="liquidlens-v"),
)
