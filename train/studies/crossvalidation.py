"""Cross-validation of a model on one's own scans: an honest figure for every scan, and a final model of all of them.

The scans are parted by patient into folds.  Each fold is judged by a model that was trained on the others (of which a
fifth of the patients chose its weights): those answers together are ``out-of-fold.csv``, a row for each scan.  The
final model is trained on all patients, for as many epochs as the folds' best weights had in the median.  A recipe's
`subset` is what each of them learns from, of the scans that are there for it.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.files import as_csv
from liquidlens.train import datasets
from liquidlens.train.datasets import Dataset
from liquidlens.train.datasets.reading import Reading
from liquidlens.train.datasets.shortcut import shortcut_of
from liquidlens.train.evidence import CrossValidation, figures
from liquidlens.train.loop.callbacks import Recorder
from liquidlens.train.loop.evaluate import final_figures, temperature_of
from liquidlens.train.loop.fit import check_same_run, logits_of, resolve, say_notes, train_on
from liquidlens.train.loop.losses import loss_of
from liquidlens.train.loop.prepare import prepare
from liquidlens.train.recipes import settings_for
from liquidlens.train.recipes import training as training_settings
from liquidlens.train.run import RunFolder, RunMetrics, RunRecipe, WeightsMetrics

TABLE = "out-of-fold.csv"
#: What differs between the folds' recipe and the final model's.
FINAL = {"stop", "max_epochs"}


def crossvalidate(
    model: str,
    data: str,
    reading: Reading,
    recipe: str | None = None,
    seed: int = 0,
    changes: dict[str, Any] | None = None,
    flags: Sequence[str] = (),
    size: tuple[int, ...] | None = None,
    data_root: str | Path | None = None,
    runs: str | Path = "runs",
    skip_bad: bool = False,
    progress: bool = True,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> RunFolder:
    """Cross-validate `model` on one's own scans `data`, as `reading.folds` says; returns the final model's run folder,
    which holds those of the folds.  Other arguments are those of `train.train`; an interrupted one goes on.

    Raises LiquidLensError as `train.train` does, and for data that is no table or folder.
    """
    if not datasets.own(data):
        raise LiquidLensError(f"--folds is for tables and folders of your own scans; {data} has splits of its own.")
    settings = settings_for(model, recipe, changes)
    if settings.validate_on_test or settings.test_subset:
        raise LiquidLensError(f"The recipe {settings.recipe} chooses its own test scans and cannot be cross-validated.")
    collection = datasets.collect(data, data_root, skip_bad, reading)
    assert reading.folds is not None

    def resolved(fold: int | None) -> tuple[Dataset, RunRecipe]:
        of_fold = reading.model_copy(update={"fold": fold})
        dataset = datasets.dataset_of(collection, of_fold)
        return dataset, resolve(model, data, dataset, settings, seed, flags, size, of_fold, threads)

    whole, planned = resolved(None)
    if progress:
        say_notes(whole, settings)
    folder = RunFolder(Path(runs) / planned.name)
    if folder.finished and set(folder.recipe().differences(planned)) <= FINAL:
        return folder
    answers: Answers = {}
    epochs = []
    for fold in range(reading.folds):
        dataset, of_fold = resolved(fold)
        part = RunFolder(folder.path / f"fold-{fold + 1}")
        check_same_run(part, of_fold)
        if not part.finished:
            train_on(dataset, of_fold, part, progress)
        epochs.append(part.metrics().best_epoch + 1)
        logits = logits_of(part.load_model("best"), of_fold, prepare(dataset.scans["test"], of_fold.input))
        answers |= {o.listed: (fold + 1, own) for o, own in zip(dataset.origins["test"], logits, strict=True)}
        found = metrics.auc(dataset.labels["test"], metrics.probabilities(logits, whole.task == "multi-label"))
        say(f"Fold {fold + 1} of {reading.folds}: AUC {found:.3f} on {len(logits):,} scans, best epoch {epochs[-1]}.")
    folder.write_text(TABLE, as_csv(_rows(whole, answers)))
    chosen = max(1, round(median(epochs)))
    final = {**settings.model_dump(exclude={"recipe", "about"}), "max_epochs": chosen, "stop": "never"}
    last = planned.model_copy(update={"training": training_settings(settings.recipe, final)})
    check_same_run(folder, last)
    scans = f"{settings.subset:,} scans" if settings.subset else f"all {len(answers):,} scans"
    say(f"The final model: {scans}, {chosen} epoch{'s' * (chosen != 1)}.")

    def conclude(run: RunFolder, recorder: Recorder) -> RunMetrics:
        run.save_weights(run.load_model("last"), "best")  # nothing is left to choose the best epoch on
        return _metrics(run, recorder, whole, last, tuple(epochs))

    return train_on(whole, last, folder, progress, conclude)


#: What tells a scan from others (`Origin.listed`) -> the fold that tested it, from 1, and its logits there.
Answers = dict[tuple[str, tuple[float, ...] | None], tuple[int, NDArray]]


def out_of_fold(folder: RunFolder, recipe: RunRecipe) -> tuple[NDArray, NDArray, NDArray[np.str_]]:
    """What ``out-of-fold.csv`` of a run holds, in the order of its dataset: labels, (n,) class numbers or (n, K) of 0
    and 1; logits (n, K), before calibration; and patients.  Raises LiquidLensError if it is missing or damaged."""
    path = folder.path / TABLE
    if not path.is_file():
        raise LiquidLensError(f"{folder.path} has no {TABLE}: it is no finished cross-validation.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        logits = np.array([[float(row[f"logit {k}"]) for k in range(recipe.outputs)] for row in rows], np.float32)
        if recipe.task == "multi-label":
            labels = np.array([[float(row[f"is {name}"]) for name in recipe.labels] for row in rows], np.float32)
        else:
            labels = np.array([recipe.labels.index(row["label"]) for row in rows], np.int64)
        return labels, logits, np.array([row["patient"] for row in rows])
    except (KeyError, ValueError) as error:
        raise LiquidLensError(f"{path} is damaged: {error}.") from error


def _rows(whole: Dataset, answers: Answers) -> list[dict[str, str | float]]:
    """A row for each scan: path, patient, fold, label, probabilities (before calibration) and logits."""
    multi_label = whole.task == "multi-label"
    rows: list[dict[str, str | float]] = []
    for origin, label in zip(whole.origins["train"], whole.labels["train"], strict=True):
        fold, logits = answers[origin.listed]
        probabilities = metrics.probabilities(logits[None], multi_label)[0]
        whose: dict[str, str | float] = {"path": origin.path, "patient": origin.patient, "fold": fold}
        rows.append(
            whose
            | said(whole.label_names, label)
            | {f"p({name})": float(p) for name, p in zip(whole.label_names, probabilities, strict=True)}
            | {f"logit {k}": float(logit) for k, logit in enumerate(logits)}
        )
    return rows


def said(names: Sequence[str], label: NDArray) -> dict[str, str | float]:
    """The columns of a scan's true label: a class number, or 0 and 1 of each."""
    if np.ndim(label) == 0:
        return {"label": names[int(label)]}
    return {f"is {name}": int(value) for name, value in zip(names, label, strict=True)}


def _metrics(
    run: RunFolder, recorder: Recorder, whole: Dataset, recipe: RunRecipe, epochs: tuple[int, ...]
) -> RunMetrics:
    """The final model's figures, which are those of the folds: it has seen every scan itself."""
    import torch

    labels, logits, patients = out_of_fold(run, recipe)
    targets = torch.from_numpy(labels)
    batches = [(torch.from_numpy(logits), targets)]
    temperature = temperature_of(recipe.task, batches)
    loss = loss_of(recipe.training, targets, len(recipe.labels))
    found = final_figures(recipe.task, batches, loss, temperature)
    honest = WeightsMetrics(temperature=temperature, val=found, test=found)
    probabilities = metrics.probabilities(logits, recipe.task == "multi-label")
    return RunMetrics(
        epochs=len(recorder.history),
        best_epoch=len(recorder.history) - 1,
        seconds=round(sum(row["seconds"] for row in recorder.history), 1),
        mean_over_epochs={},
        best=honest,
        last=honest,
        shortcut=shortcut_of(replace(whole, origins={"train": whole.origins["train"]})),
        cross_validation=CrossValidation(
            folds=len(epochs),
            scans=len(labels),
            patients=len(set(patients)),
            epochs=epochs,
            figures=figures(recipe.task, recipe.labels, labels, probabilities, patients),
        ),
    )
