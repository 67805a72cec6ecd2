"""Recurrent layers over maps: the rows and the columns of a map are sequences, each read in both directions."""

from functools import partial

import torch
from torch import Tensor, nn

Cell = type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]


class Sweep(nn.Module):
    """A recurrent layer that reads a sequence in both directions.

    Maps (batch, steps, features) to the last state of each direction, (batch, 2 * hidden), or with `full` to the states
    at all steps, (batch, steps * 2 * hidden).  With `random_states` both directions start from states drawn from
    N(0, 1) at every call, in evaluation too; else from zeros.
    """

    def __init__(
        self, cell: Cell, features: int, hidden: int, layers: int = 1, full: bool = False, random_states: bool = False
    ):
        super().__init__()
        self.cell = cell(features, hidden, layers, batch_first=True, bidirectional=True)
        self.full, self.random_states = full, random_states

    def forward(self, sequence: Tensor) -> Tensor:
        outputs, _ = self.cell(sequence, self._draw_states(sequence) if self.random_states else None)
        if self.full:
            return outputs.flatten(1)
        onwards, backwards = outputs.chunk(2, dim=2)
        return torch.cat([onwards[:, -1], backwards[:, 0]], 1)  # reading backwards ends at the first step

    def _draw_states(self, sequence: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        shape = (2 * self.cell.num_layers, sequence.shape[0], self.cell.hidden_size)
        draw = partial(torch.randn, shape, device=sequence.device, dtype=sequence.dtype)
        return (draw(), draw()) if isinstance(self.cell, nn.LSTM) else draw()


class FourDirections(nn.Module):
    """For each plane of a map one sweep over its rows and one over its columns.

    Maps (batch, planes, rows, columns) to (batch, width): the concatenated results of the sweeps.
    """

    def __init__(
        self,
        cell: Cell,
        shape: tuple[int, int, int],
        hidden: int,
        layers: int = 1,
        full: bool = False,
        random_states: bool = False,
    ):
        super().__init__()
        planes, rows, columns = shape
        sweep = partial(Sweep, cell, hidden=hidden, layers=layers, full=full, random_states=random_states)
        self.over_rows = nn.ModuleList(sweep(features=columns) for _ in range(planes))
        self.over_columns = nn.ModuleList(sweep(features=rows) for _ in range(planes))
        self.width = planes * 2 * hidden * (rows + columns if full else 2)

    def forward(self, maps: Tensor) -> Tensor:
        read = []
        for plane, over_rows, over_columns in zip(maps.unbind(1), self.over_rows, self.over_columns, strict=True):
            read += [over_rows(plane), over_columns(plane.transpose(1, 2))]
        return torch.cat(read, 1)
