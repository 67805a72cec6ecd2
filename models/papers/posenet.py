"""The regression heads of PoseNet, with LSTMs in four directions and without (tum-2018, project requirement 1).

After Walch et al., "Image-based localization using LSTMs for structured feature correlation", ICCV 2017: maps of a
GoogLeNet go in, a camera pose comes out, at the end of the network and at two auxiliary branches.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from liquidlens.models.decision import ImageClassifier
from liquidlens.models.entry import Entry
from liquidlens.models.layers.four_directions import FourDirections

PAPER = "tum-2018"


class Pose(nn.Module):
    """(batch, features) -> (batch, 7): a position (3) and a unit quaternion (4)."""

    def __init__(self, features: int):
        super().__init__()
        self.position = nn.Linear(features, 3)
        self.orientation = nn.Linear(features, 4)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.position(features), F.normalize(self.orientation(features), dim=1)], 1)


@dataclass(frozen=True)
class PoseHead:
    """Average-pooling, perhaps a 1x1 convolution, a Linear, dropout, the pose; LSTMs of 256 units see the Linear's
    output as a map of rows x columns, and start from zeros."""

    pool: int
    stride: int
    convolution: int | None  # filters
    view: tuple[int, int]
    dropout: float

    def make(self, input_shape: tuple[int, ...], outputs: int, lstm: bool) -> ImageClassifier:
        channels, *size = input_shape
        if outputs != 7:
            raise ValueError(f"a pose has 7 values, a position and a quaternion, not {outputs}")
        if min(size) < self.pool:
            raise ValueError(f"maps of {size[0]} x {size[1]} are too small for average-pooling by {self.pool}")

        features: list[nn.Module] = [nn.AvgPool2d(self.pool, self.stride)]
        if self.convolution:
            features += [nn.Conv2d(channels, self.convolution, 1), nn.ReLU()]
        positions = prod((length - self.pool) // self.stride + 1 for length in size)
        width = prod(self.view)

        head: OrderedDict[str, nn.Module] = OrderedDict()
        head["flatten"] = nn.Flatten()
        head["first"] = nn.Linear((self.convolution or channels) * positions, width)
        head["relu"] = nn.ReLU()
        if lstm:
            head["view"] = nn.Unflatten(1, (1, *self.view))
            head["recurrent"] = recurrent = FourDirections(nn.LSTM, (1, *self.view), hidden=256)
            width = recurrent.width
        head["dropout"] = nn.Dropout(self.dropout)
        head["output"] = Pose(width)
        return ImageClassifier(nn.Sequential(*features), nn.Sequential(head))


FINAL = PoseHead(pool=7, stride=7, convolution=None, view=(32, 64), dropout=0.5)
AUXILIARY = PoseHead(pool=5, stride=3, convolution=128, view=(32, 32), dropout=0.7)

ENTRIES = tuple(
    Entry(f"PoseNet{lstm}-{branch}", PAPER, maps, 7, partial(head.make, lstm=bool(lstm)))
    for branch, maps, head in (
        ("final", (1024, 7, 7), FINAL),
        ("aux1", (512, 14, 14), AUXILIARY),
        ("aux2", (528, 14, 14), AUXILIARY),
    )
    for lstm in ("-LSTM", "")
)
