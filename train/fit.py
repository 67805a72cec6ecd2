"""Training one recipe with one seed into a run folder."""

import logging
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor

import models
from imaging import LiquidLensError
from models.front import Front
from serve import metrics
from train import datasets, initialise
from train.calibration import fit_temperature
from train.callbacks import Recorder, StopOnRise, progress_display
from train.module import TrainingModule, batch_mean_metrics, loader
from train.recipes import training as training_settings
from train.run import RunFolder, RunMetrics, RunRecipe, WeightsMetrics

BATCH = 64


def train(
    model: str,
    data: str,
    recipe: str = "hse-2024",
    seed: int = 0,
    epochs: int | None = None,
    data_root: str | Path | None = None,
    runs: str | Path = "runs",
    progress: bool = True,
) -> RunFolder:
    """Train `model` on the dataset `data`; returns the finished run folder ``runs/DATA-MODEL-RECIPE-seedSEED``.

    An interrupted run goes on where it stopped, with the same result (on the same machine); a finished one is
    returned as it is.  Raises LiquidLensError for unknown names, missing data, or a folder that holds another run.
    """
    try:
        models.entry(model)
    except LookupError as error:
        raise LiquidLensError(str(error)) from error
    settings = training_settings(recipe, epochs)
    dataset = datasets.load(data, data_root)
    resolved = RunRecipe.resolve(model, dataset, settings, seed)
    folder = _open_folder(Path(runs) / resolved.name, resolved)
    if folder.finished:
        return folder

    pl.seed_everything(seed, verbose=False)
    inputs = {split: prepare(dataset.scans[split], resolved) for split in datasets.SPLITS}
    labels = {split: torch.from_numpy(dataset.labels[split]).float() for split in datasets.SPLITS}
    network = models.build(model)
    if settings.initialise_from_labels:
        initialise.from_labels(network, labels["train"])
    recorder = Recorder(folder)
    _run_trainer(
        TrainingModule(network, settings, seed, masks=resolved.values == "mask"),
        loader(inputs["train"], labels["train"], settings.batch_size, seed),
        loader(inputs["val"], labels["val"], BATCH),
        recorder,
        progress,
    )
    folder.save_weights(network, "last")
    folder.write_json("metrics.json", _final_metrics(folder, recorder, inputs, labels))
    folder.checkpoint.unlink()
    return folder


def prepare(scans: np.ndarray, recipe: RunRecipe) -> Tensor:
    """Raw scans (n, ...) through the recipe's input contract: (n, 1, *size) float32 in [0, 1]."""
    front = Front(recipe.contract)
    return torch.cat([front(torch.from_numpy(scans[i : i + BATCH]).float()) for i in range(0, len(scans), BATCH)])


@torch.no_grad()
def predict_logits(model: models.Classifier, inputs: Tensor) -> Tensor:
    """Logits (n,) of prepared inputs, in batches of 64."""
    model.eval()
    return torch.cat([model(batch)[:, 0] for batch in inputs.split(BATCH)])


def _open_folder(path: Path, recipe: RunRecipe) -> RunFolder:
    folder = RunFolder(path)
    if (path / "recipe.json").is_file() or (path / "metrics.json").is_file():
        if not folder.recipe().same_run(recipe):
            raise LiquidLensError(
                f"{path} holds a run with other settings (see its recipe.json): remove it or name another --runs."
            )
    else:
        path.mkdir(parents=True, exist_ok=True)
        folder.write_json("recipe.json", recipe)
    return folder


def _run_trainer(module: TrainingModule, train_loader, val_loader, recorder: Recorder, progress: bool) -> None:
    settings = module.training_settings
    callbacks: list[pl.Callback] = [recorder]
    if settings.patience is not None:
        callbacks.append(StopOnRise(settings.patience, settings.tolerance))
    display = progress_display() if progress else None
    if display is not None:
        callbacks.append(display)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")  # the arrays are in memory already
        warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's use of a name that torch has renamed
        trainer = pl.Trainer(
            devices=1,  # a run folder has one writer
            max_epochs=settings.max_epochs,
            gradient_clip_val=settings.clip_gradient,
            callbacks=callbacks,
            num_sanity_val_steps=0,
            enable_progress_bar=isinstance(display, ProgressBar),
            enable_checkpointing=False,
            enable_model_summary=False,
            logger=False,
        )
        trainer.fit(module, train_loader, val_loader, ckpt_path=_resume_from(recorder.folder), weights_only=True)


def _resume_from(folder: RunFolder) -> Path | None:
    """The checkpoint of an interrupted run, if there is a sound one."""
    if not folder.checkpoint.is_file():
        return None
    try:
        torch.load(folder.checkpoint, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged archive raises whatever it leads to
        raise LiquidLensError(f"{folder.checkpoint} is damaged: remove {folder.path} to train anew.") from error
    return folder.checkpoint


def _final_metrics(folder: RunFolder, recorder: Recorder, inputs, labels) -> RunMetrics:
    return RunMetrics(
        epochs=len(recorder.history),
        best_epoch=recorder.best_epoch,
        seconds=round(sum(row["seconds"] for row in recorder.history), 1),
        best=_evaluate(folder.load_model("best"), inputs, labels),
        last=_evaluate(folder.load_model("last"), inputs, labels),
    )


def _evaluate(model: models.Classifier, inputs: dict[str, Tensor], labels: dict[str, Tensor]) -> WeightsMetrics:
    logits = {split: predict_logits(model, inputs[split]) for split in ("val", "test")}
    temperature = fit_temperature(logits["val"].numpy(), labels["val"].numpy())

    def figures(split: str) -> dict[str, float]:
        truth, raw = labels[split].numpy(), logits[split].numpy()
        batches = list(zip(logits[split].split(BATCH), labels[split].split(BATCH), strict=True))
        paper = batch_mean_metrics(batches)
        return {
            "auc": paper["auc"],
            "accuracy": metrics.accuracy(truth, metrics.sigmoid(raw)),
            "accuracy_batch_mean": paper["accuracy"],
            "loss": paper["loss"],
            "ece": metrics.expected_calibration_error(truth, metrics.sigmoid(raw)),
            "ece_calibrated": metrics.expected_calibration_error(truth, metrics.sigmoid(raw / temperature)),
        }

    return WeightsMetrics(temperature=temperature, val=figures("val"), test=figures("test"))
