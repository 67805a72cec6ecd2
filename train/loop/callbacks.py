"""What happens after each epoch: early stopping, the run folder's files, and a word on the progress."""

import math
import sys
import time

from liquidlens.files import as_csv, replacing
from liquidlens.train.loop.lightning import RichProgressBar, pl
from liquidlens.train.loop.module import TrainingModule, shown_figures
from liquidlens.train.recipes import Training
from liquidlens.train.run import RunFolder


def badness(settings: Training, figures: dict[str, float]) -> float:
    """What the selected epoch has least of: validation loss, minus validation accuracy, or minus its number; infinite
    where the loss is not a number, since the training has diverged."""
    if math.isnan(figures["val_loss"]):
        return math.inf
    if settings.select == "last":
        return -figures["epoch"]
    return figures["val_loss"] if settings.select == "loss" else -figures["val_accuracy"]


class EarlyStop(pl.Callback):
    """Ends training when the papers would.

    "rise" (hse-2024): a new best epoch resets the count, one worse than the best by more than the tolerance adds one,
    anything between does neither; training ends when the count reaches the patience.
    "no-gain" (tum-2018): training ends once more than `patience` epochs have passed since the best.
    """

    def __init__(self, settings: Training):
        self.settings = settings
        self.best, self.count = math.inf, 0

    @property
    def reached(self) -> bool:
        return self.count >= self.settings.patience + (self.settings.stop == "no-gain")

    def should_stop(self, value: float) -> bool:
        """Take the next epoch's `badness`; True if training ends after it."""
        if value < self.best:
            self.best, self.count = value, 0
        elif self.settings.stop == "no-gain" or value > self.best + self.settings.tolerance or value == math.inf:
            self.count += 1
        return self.reached

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        trainer.should_stop = self.should_stop(badness(self.settings, module.epoch_metrics))

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop = self.reached  # a run that was interrupted between stopping and its end

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.count = state_dict["best"], int(state_dict["count"])


class Recorder(pl.Callback):
    """Keeps the run folder up to date after every epoch: history, best weights, and the checkpoint to resume from."""

    def __init__(self, folder: RunFolder, settings: Training):
        self.folder, self.settings = folder, settings
        self.history: list[dict[str, float]] = []
        self._started = 0.0

    @property
    def best_epoch(self) -> int:
        return min(range(len(self.history)), key=lambda epoch: badness(self.settings, self.history[epoch]))

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        seconds = round(time.perf_counter() - self._started, 2)
        self.history.append({**module.epoch_metrics, "seconds": seconds})
        if self.best_epoch == len(self.history) - 1:
            self.folder.save_weights(module.kept, "best")
        self.folder.write_text("history.csv", as_csv(self.history))
        with replacing(self.folder.checkpoint) as partial:
            trainer.save_checkpoint(partial)

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
        figures = module.epoch_metrics
        words = ", ".join(f"{name.replace('_', ' ')} {figures[name]:.3f}" for name in shown_figures(figures))
        print(
            f"epoch {trainer.current_epoch + 1} of at most {module.training_settings.max_epochs}: {words}", flush=True
        )


def progress_display() -> pl.Callback:
    """A progress bar on a terminal, lines elsewhere."""
    return RichProgressBar() if sys.stdout.isatty() else ProgressLines()
