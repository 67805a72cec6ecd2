"""A CNN of three convolutions for CIFAR-10, and its variants.

kth-2021: Liu and Hao, "EQ2425 Analysis and Search of Visual Data, Project 3", KTH 2021.  The report's 5A to 5C train
the default network in other ways.  The softmax that its networks end in belongs to the loss here.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from liquidlens.models.decision import ImageClassifier
from liquidlens.models.entry import Entry

PAPER = "kth-2021"
INPUT_SHAPE = (3, 32, 32)


class AlwaysDropout(nn.Dropout):
    """Dropout in evaluation too: the published source leaves it on."""

    def forward(self, features: Tensor) -> Tensor:
        return F.dropout(features, self.p, training=True)


@dataclass(frozen=True)
class Variant:
    """One line of Table 1: the default network but for what is given."""

    name: str
    filters: tuple[int, ...] = (24, 48, 96)
    kernels: tuple[int, ...] = (5, 3, 3)
    hidden: tuple[int, ...] = (512,)
    activation: type[nn.Module] = nn.ReLU
    dropout: float = 0.0
    norm: bool = False

    def make(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        act_after_conv3: bool = False,
        norm_after_activation: bool = False,
        dropout_always: bool = False,
    ) -> ImageClassifier:
        """act_after_conv3: the third convolution, too, has an activation (the source's first version; the report counts
        three: those of two convolutions and of one Linear).  norm_after_activation: batch norm follows the activation
        (the report's results), not the convolution (its methods, and the source).
        """
        channels, *size = input_shape
        features: list[nn.Module] = []
        for layer, (filters, kernel) in enumerate(zip(self.filters, self.kernels, strict=True), start=1):
            norm: list[nn.Module] = [nn.BatchNorm2d(filters)] if self.norm else []
            activation: list[nn.Module] = [self.activation()] if layer < 3 or act_after_conv3 else []
            features += [nn.Conv2d(channels, filters, kernel)]
            features += activation + norm if norm_after_activation else norm + activation
            features += [nn.MaxPool2d(2)]
            channels, size = filters, [(length - kernel + 1) // 2 for length in size]
        if min(size) < 1:
            raise ValueError(f"images of {input_shape[1]} x {input_shape[2]} pixels are too small for {self.name}")

        head: list[nn.Module] = [nn.Flatten()]
        width = channels * size[0] * size[1]
        for width_out in self.hidden:
            head += [nn.Linear(width, width_out), self.activation()]
            width = width_out
        if self.dropout:
            head += [AlwaysDropout(self.dropout) if dropout_always else nn.Dropout(self.dropout)]
        return ImageClassifier(nn.Sequential(*features), nn.Sequential(*head, nn.Linear(width, outputs)))

    def entry(self) -> Entry:
        flags = ["act_after_conv3"]
        flags += ["norm_after_activation"] if self.norm else []
        flags += ["dropout_always"] if self.dropout else []
        return Entry(self.name, PAPER, INPUT_SHAPE, 10, self.make, flags=tuple(flags))


# fmt: off
VARIANTS = (
    Variant("EQ2425"),
    Variant("EQ2425-4A1", filters=(64, 128, 256)),
    Variant("EQ2425-4A2", hidden=(512, 128)),
    Variant("EQ2425-4B",  kernels=(7, 5, 3)),
    Variant("EQ2425-4C",  activation=nn.LeakyReLU),
    Variant("EQ2425-4D",  dropout=0.3),
    Variant("EQ2425-4E",  norm=True),
    Variant("EQ2425-best", filters=(64, 128, 256), activation=nn.LeakyReLU, dropout=0.3, norm=True),
)
# fmt: on

ENTRIES = tuple(variant.entry() for variant in VARIANTS)
