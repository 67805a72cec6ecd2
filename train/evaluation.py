"""What a run says about scans that it has not seen: its test part, or all scans where it was cross-validated."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.train import datasets
from liquidlens.train.evidence import Figure, Shortcut, figures
from liquidlens.train.loop.fit import draw_subset, logits_of, raw_splits
from liquidlens.train.loop.prepare import prepare
from liquidlens.train.run import RunFolder, RunRecipe, Weights
from liquidlens.train.studies.crossvalidation import out_of_fold, said

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Evaluation:
    """of: which scans, in words.  figures: see `train.evidence.figures`.  shortcut: of the run, if it has one.
    paths, patients, labels, probabilities: of each scan, the latter as the exported file gives them."""

    of: str
    names: tuple[str, ...]
    figures: dict[str, Figure]
    shortcut: Shortcut | None
    paths: tuple[str, ...]
    patients: tuple[str, ...]
    labels: NDArray
    probabilities: NDArray

    def rows(self) -> list[dict[str, str | float]]:
        """A row for each scan: path, patient, label and probabilities."""
        columns = zip(self.paths, self.patients, self.labels, self.probabilities, strict=True)
        return [
            {"path": path, "patient": patient}
            | said(self.names, label)
            | {f"p({name})": float(p) for name, p in zip(self.names, answer, strict=True)}
            for path, patient, label, answer in columns
        ]


def evaluate_run(run: Path, weights: Weights = "best", data_root: str | Path | None = None) -> Evaluation:
    """Judge a finished run by its test scans, or, if it was cross-validated, by the answers of its folds.

    Raises LiquidLensError if the run is not finished, is of poses, or its data is not what it was.
    """
    folder = RunFolder(run)
    recipe, found = folder.recipe(), folder.metrics()
    if recipe.task == "pose":
        raise LiquidLensError(f"{run} learned poses, whose figures are in its metrics.json.")
    temperature = (found.best if weights == "best" else found.last).temperature
    if recipe.reading.whole:
        labels, logits, whose = out_of_fold(folder, recipe)
        of, paths, patients = str(found.cross_validation), _paths(folder), whose.tolist()
    else:
        inputs, labels, paths, patients = unseen(folder, recipe, data_root)
        logits = logits_of(folder.load_model(weights), recipe, inputs)
        of = f"{len(labels):,} test scans of {len(set(patients)):,} patients"
    probabilities = metrics.probabilities(logits / temperature, recipe.task == "multi-label")
    return Evaluation(
        of=of,
        names=recipe.labels,
        figures=figures(recipe.task, recipe.labels, labels, probabilities, np.array(patients)),
        shortcut=found.shortcut,
        paths=tuple(paths),
        patients=tuple(patients),
        labels=labels,
        probabilities=probabilities,
    )


def unseen(
    folder: RunFolder, recipe: RunRecipe, data_root: str | Path | None = None
) -> tuple["Tensor", NDArray, list[str], list[str]]:
    """What a run is tested on: the network's inputs, and the labels, paths and patients of their scans.

    Raises LiquidLensError if its data is not what it was.
    """
    dataset = datasets.load(recipe.dataset, data_root, skip_bad=True, reading=recipe.reading)
    if dataset.md5 != recipe.dataset_md5:
        raise LiquidLensError(f"{folder.path} was trained on another version of {recipe.dataset} than the one at hand.")
    scans, truth = raw_splits(dataset, recipe)
    return prepare(scans["test"], recipe.input), truth["test"], *_whose(dataset, recipe, len(truth["test"]))


def _whose(dataset: datasets.Dataset, recipe: RunRecipe, count: int) -> tuple[list[str], list[str]]:
    """Path and patient of each test scan; of a registered dataset nobody knows the patients."""
    if "test" not in dataset.origins:
        return [str(i) for i in range(count)], [str(i) for i in range(count)]
    origins = dataset.origins["test"]
    if recipe.training.test_subset is not None:
        origins = tuple(origins[i] for i in draw_subset(len(origins), count, recipe.training.subset_seed))
    return [origin.path for origin in origins], [origin.patient for origin in origins]


def _paths(folder: RunFolder) -> list[str]:
    import csv

    with (folder.path / "out-of-fold.csv").open(encoding="utf-8", newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]
