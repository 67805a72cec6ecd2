"""Gradients and weights of every layer over the epochs (tum-2018, table 4.7 and figures 4.12 to 4.15)."""

import torch
from torch.utils.tensorboard import SummaryWriter

from liquidlens.files import as_csv
from liquidlens.train.loop.lightning import pl
from liquidlens.train.loop.module import TrainingModule
from liquidlens.train.run import RunFolder


class Statistics(pl.Callback):
    """Writes ``statistics.csv`` and TensorBoard histograms to the run folder after every epoch.

    For each parameter tensor, over the batches of an epoch: ``gradient_peak``, the largest, and ``gradient``, the mean
    of the batches' mean absolute gradient; after the epoch, ``weight``, the mean absolute weight.  The histograms are
    those of the weights after the epoch and of its last batch's gradients.
    """

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.rows: list[dict[str, float | str]] = []
        self._gradients: dict[str, list[float]] = {}
        self._last: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer) -> None:
        assert isinstance(module, TrainingModule)
        for name, parameter in module.model.named_parameters():
            if parameter.grad is not None:
                self._gradients.setdefault(name, []).append(float(parameter.grad.abs().mean()))
                self._last[name] = parameter.grad.detach().clone()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        epoch = trainer.current_epoch
        with SummaryWriter(str(self.folder.path / "tensorboard")) as writer:
            for name, parameter in module.model.named_parameters():
                if name not in self._gradients:
                    continue
                gradients = torch.tensor(self._gradients[name])
                self.rows.append(
                    {
                        "epoch": epoch,
                        "parameter": name,
                        "gradient_peak": float(gradients.max()),
                        "gradient": float(gradients.mean()),
                        "weight": float(parameter.detach().abs().mean()),
                    }
                )
                writer.add_histogram(f"weight/{name}", parameter.detach(), epoch)
                writer.add_histogram(f"gradient/{name}", self._last[name], epoch)
        self._gradients = {}
        self.folder.write_text("statistics.csv", as_csv(self.rows))

    def state_dict(self) -> dict[str, list[dict[str, float | str]]]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float | str]]]) -> None:
        self.rows = state_dict["rows"]
