"""The closed-form continuous-time cell (Hasani et al., Nature Machine Intelligence 2022), from ncps."""

import ncps.torch
from ncps.wirings import Wiring
from torch import Tensor


class CfC(ncps.torch.CfC):
    """``ncps.torch.CfC`` by a wiring, with the interface of :class:`models.liquid.LTC`.

    ncps returns the whole last layer of neurons; of a fully connected wiring that is every neuron.  Here, as in an LTC,
    the output is that of the motor neurons, which come first.
    """

    def __init__(self, input_size: int, wiring: Wiring):
        super().__init__(input_size, wiring)

    def forward(self, input, hx=None, timespans=None) -> tuple[Tensor, Tensor]:  # noqa: A002 the name that ncps gives
        outputs, state = super().forward(input, hx, timespans)
        return outputs[..., : self.output_size], state
