"""One training run as PyTorch Lightning sees it: batches, loss, optimizer and figures per epoch."""

import math
from collections.abc import Iterator

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Sampler, TensorDataset

from models import Classifier
from serve import metrics
from train.augment import jitter
from train.recipes import Training


class Batches(Sampler[list[int]]):
    """Index batches in an order drawn from seed and epoch alone, so that a resumed run sees the same batches."""

    def __init__(self, count: int, batch_size: int, seed: int):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:  # Lightning calls this before every epoch
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        for batch in torch.randperm(self.count, generator=generator).split(self.batch_size):
            yield batch.tolist()


def loader(inputs: Tensor, labels: Tensor, batch_size: int, seed: int | None = None) -> DataLoader:
    """Batches of (inputs, labels), shuffled if a seed is given; whole batches are indexed at once."""
    order: Sampler[list[int]] | list[list[int]]
    if seed is None:
        order = [batch.tolist() for batch in torch.arange(len(inputs)).split(batch_size)]
    else:
        order = Batches(len(inputs), batch_size, seed)
    # A generator of its own: starting a DataLoader draws a number, and dropout's draws must not depend on when.
    return DataLoader(TensorDataset(inputs, labels), sampler=order, batch_size=None, generator=torch.Generator())


class TrainingModule(pl.LightningModule):
    """A binary classifier in training: Adam on binary cross entropy.

    Batches are inputs (batch, *input shape) in [0, 1] and labels (batch,) of 0 and 1.  After every epoch, the epoch's
    figures stand in ``epoch_metrics``; validation loss and accuracy are unweighted means over batches, as in hse-2024.
    """

    def __init__(self, model: Classifier, training: Training, seed: int, masks: bool):
        super().__init__()
        self.model = model
        self.masks = masks  # the inputs are 0 or 1, and stay so under augmentation
        self.training_settings = training
        self.seed = seed
        self.epoch_metrics: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._validation: list[tuple[Tensor, Tensor]] = []

    def configure_optimizers(self):
        settings = self.training_settings
        optimizer = torch.optim.Adam((p for p in self.parameters() if p.requires_grad), settings.learning_rate)
        if settings.schedule == "constant":
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, int(self.trainer.estimated_stepping_batches), pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)  # dropout and augmentation, also after resuming
        self._losses = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        settings = self.training_settings
        if settings.shift or settings.scale:
            inputs = jitter(inputs, self.masks, settings.shift, settings.scale)
        loss = binary_cross_entropy_with_logits(self.model(inputs)[:, 0], labels)
        self._losses.append(loss.detach())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._validation = []

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        inputs, labels = batch
        self._validation.append((self.model(inputs)[:, 0], labels))

    def on_validation_epoch_end(self) -> None:
        self.epoch_metrics = {
            "epoch": self.current_epoch,
            "train_loss": float(torch.stack(self._losses).mean()),
            **{f"val_{name}": value for name, value in batch_mean_metrics(self._validation).items()},
        }
        self.log("val_loss", self.epoch_metrics["val_loss"], prog_bar=True)
        self.log("val_auc", self.epoch_metrics["val_auc"], prog_bar=True)


def batch_mean_metrics(batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """hse-2024's figures from (logits, labels) per batch: loss and accuracy as unweighted means over batches (a short
    last batch weighs as much as a full one), AUC over all scans."""
    losses = [float(binary_cross_entropy_with_logits(logits, labels)) for logits, labels in batches]
    hits = [float(((logits > 0) == (labels == 1)).float().mean()) for logits, labels in batches]
    logits, labels = (torch.cat(column).cpu().numpy() for column in zip(*batches, strict=True))
    return {"loss": sum(losses) / len(losses), "accuracy": sum(hits) / len(hits), "auc": metrics.auc(labels, logits)}
