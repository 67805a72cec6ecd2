"""Small residual networks and their recurrent relatives.

cmu: Thukral, Sharma, Srinivasan, "Recurrent Networks in Residual Networks", Carnegie Mellon University.  A network with
one residual block is compared with one that is unrolled seven times.  The report leaves open how: RecNet applies a
second residual block seven times with the same weights (the reading of its introduction, after Liao and Poggio);
RecNet-RNN feeds the flattened maps to a simple recurrent layer for seven steps (the words of its section 5).

Widths, pooling, dropout and recurrent units are not in the text: those below are choices.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from liquidlens.models.decision import ImageClassifier
from liquidlens.models.entry import Entry

PAPER = "cmu"
MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)
CHANNELS = 16
STEPS = 7


# --- MNIST (section 3.1) ------------------------------------------------------------------------------------


def mnist_cnn(
    input_shape: tuple[int, ...], outputs: int, strides: tuple[int, int], padding: int, softplus: bool = False
) -> ImageClassifier:
    """Twice 20 filters of 5x5 and max-pooling, one activation, Linear.

    softplus: ln(1 + e^x), the formula that the report prints for its ReLU.
    """
    channels, *size = input_shape
    modules: list[nn.Module] = []
    for stride in strides:
        modules += [nn.Conv2d(channels, 20, 5, stride, padding), nn.MaxPool2d(2)]
        channels, size = 20, [((length + 2 * padding - 5) // stride + 1) // 2 for length in size]
    if min(size) < 1:
        raise ValueError(
            f"images of {input_shape[1]} x {input_shape[2]} pixels are too small for the MNIST CNN of {PAPER}"
        )
    modules.append(nn.Softplus() if softplus else nn.ReLU())
    return ImageClassifier(
        nn.Sequential(*modules), nn.Sequential(nn.Flatten(), nn.Linear(20 * size[0] * size[1], outputs))
    )


# --- CIFAR-10 (section 5) -----------------------------------------------------------------------------------


class Residual(nn.Module):
    """ReLU(x + BN(conv(ReLU(BN(conv(x)))))), `steps` times with the same two convolutions.

    The batch norms, too, are the same at each step, or with `norm_per_step` one pair per step.
    """

    def __init__(self, steps: int = 1, norm_per_step: bool = False):
        super().__init__()
        self.steps = steps
        norms = steps if norm_per_step else 1
        self.first = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.first_norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(norms))
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.second_norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(norms))

    def forward(self, maps: Tensor) -> Tensor:
        for step in range(self.steps):
            norm = step % len(self.first_norms)
            inner = torch.relu(self.first_norms[norm](self.first(maps)))
            maps = torch.relu(maps + self.second_norms[norm](self.second(inner)))
        return maps


class RepeatedInput(nn.Module):
    """The last state of a simple recurrent layer that gets the same input (batch, features) at each of seven steps.

    It starts from zeros and has one bias, as in Keras, which the report used.
    """

    def __init__(self, features: int, units: int):
        super().__init__()
        self.input = nn.Linear(features, units)
        self.recurrent = nn.Linear(units, units, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        drive = self.input(features)
        state = torch.zeros_like(drive)
        for _ in range(STEPS):
            state = torch.tanh(drive + self.recurrent(state))
        return state


def residual_network(
    input_shape: tuple[int, ...],
    outputs: int,
    middle: Sequence[Callable[[], nn.Module]] = (),
    units: int | None = None,
) -> ImageClassifier:
    """A convolution, a residual block, the blocks of `middle`, average-pooling, dropout, Linear.

    units: a recurrent layer of so many units stands in front of the Linear.
    """
    channels, rows, columns = input_shape
    if min(rows, columns) < 4:
        raise ValueError(f"images of {rows} x {columns} pixels are too small for average-pooling by 4")
    features = nn.Sequential(
        nn.Conv2d(channels, CHANNELS, 3, padding=1),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        Residual(),
        *(make() for make in middle),
    )
    width = CHANNELS * (rows // 4) * (columns // 4)
    head: list[nn.Module] = [nn.AvgPool2d(4), nn.Flatten(), nn.Dropout(0.25)]
    if units:
        head.append(RepeatedInput(width, units))
    return ImageClassifier(features, nn.Sequential(*head, nn.Linear(units or width, outputs)))


SEVEN_TIMES = partial(Residual, STEPS)
SEVEN_TIMES_STEP_BN = partial(Residual, STEPS, norm_per_step=True)

# fmt: off
ENTRIES = (
    # The report's two strides of 2 need padding: without it, nothing is left to pool, so `valid` strides once.
    Entry("MNIST-CNN",       PAPER, MNIST, 10, partial(mnist_cnn, strides=(2, 2), padding=2), flags=("softplus",)),
    Entry("MNIST-CNN-valid", PAPER, MNIST, 10, partial(mnist_cnn, strides=(2, 1), padding=0), flags=("softplus",)),
    Entry("ResNet-1",        PAPER, CIFAR10, 10, residual_network),
    Entry("RecNet",          PAPER, CIFAR10, 10, partial(residual_network, middle=[SEVEN_TIMES])),
    Entry("RecNet-step-BN",  PAPER, CIFAR10, 10, partial(residual_network, middle=[SEVEN_TIMES_STEP_BN])),
    # RecNet's counterpart that shares no weights.
    Entry("ResNet-8",        PAPER, CIFAR10, 10, partial(residual_network, middle=[Residual] * STEPS)),
    Entry("RecNet-RNN",      PAPER, CIFAR10, 10, partial(residual_network, units=256)),
)
# fmt: on
