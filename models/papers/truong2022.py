"""CRNet with fully connected and neural-circuit-policy heads.

truong-2022: Truong, "Liquid Time-constant: An adoption of Recurrent Neurons to Convolutional Neural Network",
bachelor's thesis progress report, 2022.  A chest image goes through four blocks of convolution and max-pooling; the
last tensor is cut into a sequence (rows, channels, patches), a liquid layer reads it, and a Linear reads all outputs.

The report prints CRNet's parameter count alone.  The backbone here is the most regular one that has this count: a
plausible reconstruction, not a recovered design.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from ncps.wirings import NCP
from torch import Tensor, nn

from liquidlens.models.decision import ImageClassifier
from liquidlens.models.entry import Entry
from liquidlens.models.layers.liquid import LTC

PAPER = "truong-2022"
INPUT_SHAPE = (1, 224, 224)


# --- The backbone -------------------------------------------------------------------------------------------

#: Blocks 1 to 3: (channels out, kernel); 224 - 111 - 55 - 27 with 'same' convolutions and MaxPool 3, stride 2.
BLOCKS = ((32, 5), (64, 3), (128, 3))
LAST_KERNEL = 5


def crnet(
    channels_in: int, last_channels: int, last_size: int | None, reducer: bool = False, pool: int = 3
) -> nn.Sequential:
    """The four blocks, ending in the "last tensor" (batch, last_channels, size, size).

    last_size: None keeps the fourth block's max-pooling (13 for 224 pixels); a number replaces it by adaptive
    max-pooling to that size.  reducer: the fourth block keeps its 128 channels and its pooling, and a 1x1 convolution
    makes the last tensor of them.  pool: kernel of the max-poolings, stride 2.
    """
    modules: list[nn.Module] = []
    for channels_out, kernel in BLOCKS:
        modules += [*_convolution(channels_in, channels_out, kernel), nn.MaxPool2d(pool, 2)]
        channels_in = channels_out
    if reducer:
        modules += [
            *_convolution(channels_in, 128, LAST_KERNEL),
            nn.MaxPool2d(pool, 2),
            nn.Conv2d(128, last_channels, 1),
        ]
    else:
        modules += _convolution(channels_in, last_channels, LAST_KERNEL)
    if last_size is not None:
        modules.append(nn.AdaptiveMaxPool2d(last_size))
    elif not reducer:
        modules.append(nn.MaxPool2d(pool, 2))
    return nn.Sequential(*modules)


def _convolution(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    ]


# --- Sequences: the last tensor (batch, channels, height, width) as (batch, steps, features) -----------------


def along_y(maps: Tensor) -> Tensor:
    return maps.transpose(1, 2).flatten(2)


def along_x(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2).flatten(2)


def along_z(maps: Tensor) -> Tensor:
    return maps.flatten(2)


def patches(maps: Tensor, stride: int = 4) -> Tensor:
    """4 x 4 patches in raster order."""
    return nn.functional.unfold(maps, 4, stride=stride).transpose(1, 2)


Sequence = Callable[[Tensor], Tensor]


# --- Heads: called with (shape of the last tensor, outputs), they make a module from maps to logits ---------


def fully_connected(*widths: int):
    """Flatten, then Linear with ReLU between; the report names no activation, ReLU is assumed."""

    def make(shape: tuple[int, int, int], outputs: int) -> nn.Module:
        modules: list[nn.Module] = [nn.Flatten()]
        width_in = shape[0] * shape[1] * shape[2]
        for width in (*widths, outputs):
            modules += [nn.Linear(width_in, width), nn.ReLU()]
            width_in = width
        return nn.Sequential(*modules[:-1])

    return make


def wiring(times: int = 1, motor: int = 1) -> Callable[[int], NCP]:
    """The report's neural circuit policy, its neurons and connections `times` as many; called with a seed."""
    return lambda seed: NCP(
        inter_neurons=12 * times,
        command_neurons=6 * times,
        motor_neurons=motor,
        sensory_fanout=6 * times,
        inter_fanout=4 * times,
        recurrent_command_synapses=6 * times,
        motor_fanin=6 * times,
        seed=seed,
    )


SEED = 22222  # that of ncps; the second direction of a pair takes the next


class Reader(nn.Module):
    """One sequence, read by one liquid layer or, in both directions, by two.

    Maps the last tensor to all outputs of all steps, (batch, width).
    """

    def __init__(
        self,
        sequence: Sequence,
        shape: tuple[int, int, int],
        project: int | None,
        make_wiring: Callable[[int], NCP],
        both_ways: bool,
    ):
        super().__init__()
        self.sequence = sequence
        _, steps, features = sequence(torch.zeros(1, *shape)).shape
        self.projection = nn.Identity() if project is None else nn.Linear(features, project)
        seeds = (SEED, SEED + 1) if both_ways else (SEED,)
        layers = [LTC(project or features, make_wiring(seed)) for seed in seeds]
        self.layers = nn.ModuleList(layers)
        self.width = steps * sum(layer.motor_size for layer in layers)

    def forward(self, maps: Tensor) -> Tensor:
        steps = self.projection(self.sequence(maps))
        outputs = [self.layers[0](steps)[0]]
        if len(self.layers) == 2:
            outputs.append(self.layers[1](steps.flip(1))[0].flip(1))
        return torch.cat(outputs, 2).flatten(1)


class NcpHead(nn.Module):
    """Readers of one or several sequences; one Linear reads all their outputs, or the last `fc_in` of them."""

    def __init__(self, readers: list[Reader], outputs: int, fc_in: int | None):
        super().__init__()
        self.readers = nn.ModuleList(readers)
        self.fc_in = fc_in or sum(reader.width for reader in readers)
        self.output = nn.Linear(self.fc_in, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        return self.output(torch.cat([reader(maps) for reader in self.readers], 1)[:, -self.fc_in :])


def ncp(
    *sequences: Sequence,
    project: int | None = None,
    wiring: Callable[[int], NCP] = wiring(),  # noqa: B008 a constant
    both_ways: bool = False,
    fc_in: int | None = None,
):
    """A head of neural circuit policies.  project: features after a Linear in front of the liquid layer."""

    def make(shape: tuple[int, int, int], outputs: int) -> nn.Module:
        readers = [Reader(sequence, shape, project, wiring, both_ways) for sequence in sequences]
        return NcpHead(readers, outputs, fc_in)

    return make


# --- The report's sections 2.2 and 7 ------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A name, the last tensor as (channels, size; None: what max-pooling leaves, 13), and the head."""

    name: str
    last: tuple[int, int | None]
    head: Callable[[tuple[int, int, int], int], nn.Module]
    published_parameters: int | None = None

    def build(
        self, input_shape: tuple[int, ...], outputs: int, reducer: bool = False, pool: int = 3
    ) -> ImageClassifier:
        features = crnet(input_shape[0], *self.last, reducer, pool)
        shape = _shape_after(features, input_shape)
        return ImageClassifier(features, self.head(shape, outputs))

    def entry(self) -> Entry:
        reducible = self.last[0] != 128
        return Entry(
            self.name,
            PAPER,
            INPUT_SHAPE,
            outputs=2,
            make=self.build,
            published_parameters=self.published_parameters,
            flags=("reducer",) if reducible else (),
        )


def _shape_after(features: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of the last tensor.  Raises ValueError if nothing is left of the image."""
    try:
        with torch.no_grad():
            channels, height, width = features.eval()(torch.zeros(1, *input_shape)).shape[1:]
    except RuntimeError as error:
        raise ValueError(f"images of {input_shape[1]} x {input_shape[2]} pixels are too small for CRNet") from error
    features.train()
    return channels, height, width


# fmt: off
ROWS = (
    Row("CRNet-FC",                  (128, None), fully_connected(), 546_882),
    Row("CRNet-3FC",                 (128, None), fully_connected(1000, 100)),
    Row("CRNet-NCP-y",               (4, 8),      ncp(along_y)),
    Row("CRNet-NCP-z",               (16, None),  ncp(along_z, project=32)),
    Row("CRNet-NCP-patch",           (16, 16),    ncp(patches, project=32)),
    # The report prints a Linear of 8 inputs for these two, where 16 steps leave 16 outputs.
    Row("CRNet-NCP-z-fc8",           (16, None),  ncp(along_z, project=32, fc_in=8)),
    Row("CRNet-NCP-patch-fc8",       (16, 16),    ncp(patches, project=32, fc_in=8)),
    Row("CRNet-NCP-y-double",        (8, 16),     ncp(along_y, wiring=wiring(2))),
    Row("CRNet-NCP-y-double-motor2", (8, 16),     ncp(along_y, wiring=wiring(2, motor=2))),
    Row("CRNet-NCP-y-double-64",     (8, 16),     ncp(along_y, project=64, wiring=wiring(2))),
    Row("CRNet-NCP-y-custom",        (32, 16),    ncp(along_y, wiring=wiring(4, motor=4))),
    # "Next moves" of section 7.
    Row("CRNet-NCP-patch-overlap",   (16, 16),    ncp(partial(patches, stride=2), project=32)),
    Row("CRNet-NCP-y-large",         (32, 16),    ncp(along_y, wiring=wiring(8, motor=8))),
    Row("CRNet-NCP-z-bi",            (16, None),  ncp(along_z, project=32, both_ways=True)),
    Row("CRNet-NCP-mixed",           (16, 16),    ncp(along_y, along_x, along_z, project=32)),
    Row("CRNet-NCP-mixed-bi",        (16, 16),    ncp(along_y, along_x, along_z, project=32, both_ways=True)),
)
# fmt: on

#: Fashion-MNIST, enlarged to 64 pixels; max-pooling 2 instead of 3 leaves 8 x 8 for the fourth block.
FASHION = Row("CRNet-NCP-y-fashion", (4, 8), ncp(along_y))

ENTRIES = (
    *(row.entry() for row in ROWS),
    Entry(FASHION.name, PAPER, (1, 64, 64), outputs=10, make=partial(FASHION.build, pool=2)),
)
