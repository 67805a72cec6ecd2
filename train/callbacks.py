"""What happens after each epoch: early stopping, the run folder's files, and a word on the progress."""

import csv
import io
import math
import os
import sys
import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

from train.module import TrainingModule
from train.run import RunFolder


class StopOnRise(pl.Callback):
    """hse-2024's early stopping: a new lowest validation loss resets the count, a loss above the lowest by more than
    the tolerance adds one, anything between does neither; training stops when the count reaches the patience."""

    def __init__(self, patience: int, tolerance: float):
        self.patience, self.tolerance = patience, tolerance
        self.lowest, self.count = math.inf, 0

    def should_stop(self, loss: float) -> bool:
        """Take the next validation loss; True if training stops after it."""
        if loss < self.lowest:
            self.lowest, self.count = loss, 0
        elif loss > self.lowest + self.tolerance:
            self.count += 1
        return self.count >= self.patience

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        trainer.should_stop = self.should_stop(module.epoch_metrics["val_loss"])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = self.count >= self.patience  # a run that was interrupted between stopping and its end

    def state_dict(self) -> dict[str, float]:
        return {"lowest": self.lowest, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.lowest, self.count = state_dict["lowest"], int(state_dict["count"])


class Recorder(pl.Callback):
    """Keeps the run folder up to date after every epoch: history, best weights, and the checkpoint to resume from."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.history: list[dict[str, float]] = []
        self._started = 0.0

    @property
    def best_epoch(self) -> int:
        return min(range(len(self.history)), key=lambda epoch: self.history[epoch]["val_loss"])

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        seconds = round(time.perf_counter() - self._started, 2)
        self.history.append({**module.epoch_metrics, "seconds": seconds})
        if self.best_epoch == len(self.history) - 1:
            self.folder.save_weights(module.model, "best")
        self.folder.write_text("history.csv", self._as_csv())
        partial = self.folder.checkpoint.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        os.replace(partial, self.folder.checkpoint)

    def _as_csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.history[0], lineterminator="\n")
        writer.writeheader()
        for row in self.history:
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
        return text.getvalue()

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self.history = state_dict["history"]


class ProgressLines(pl.Callback):
    """A line every half minute, for logs and pipes, where a progress bar shows nothing."""

    SECONDS = 30

    def __init__(self) -> None:
        self._last = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if time.monotonic() - self._last < self.SECONDS:
            return
        self._last = time.monotonic()
        done, epochs, figures = trainer.current_epoch + 1, module.training_settings.max_epochs, module.epoch_metrics
        loss, area = figures["val_loss"], figures["val_auc"]
        print(f"epoch {done} of at most {epochs}: validation loss {loss:.3f}, AUC {area:.3f}", flush=True)


def progress_display() -> pl.Callback:
    """A progress bar on a terminal, lines elsewhere."""
    return RichProgressBar() if sys.stdout.isatty() else ProgressLines()
