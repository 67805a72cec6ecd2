"""What is exported: a finished run with its data, and the complete model that is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liquidlens import metrics, models
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import VIOLATION_WEIGHT, CompleteModel
from liquidlens.export.facts import Operating as OperatingFigures
from liquidlens.export.measure.accuracy import Split, operating_figures, operating_point
from liquidlens.export.options import Options
from liquidlens.manifest import Operating
from liquidlens.models.front import Front
from liquidlens.models.layers.four_directions import Sweep
from liquidlens.train.datasets import Dataset, Scans
from liquidlens.train.datasets.dataset import Placed
from liquidlens.train.loop.fit import draw_subset, measure, raw_splits, splits
from liquidlens.train.loop.prepare import feeds, tensors
from liquidlens.train.run import RunFolder, RunRecipe, WeightsMetrics
from liquidlens.train.studies.crossvalidation import out_of_fold

#: A score that scans are judged by was fitted to four fifths of them.
PARTS = 5
#: So many bytes of each split's scans are kept after they were read.
KEPT = 2**30


class Kept(Sequence[Any]):
    """Scans that are read from their files when they are asked for; the first ones, as many as there is room for, stay:
    an export goes over them six times."""

    def __init__(self, scans: Scans):
        self.scans, self.held, self.room = scans, dict[int, Any](), KEPT

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index):
        if index in self.held:
            return self.held[index]
        scan = self.scans[index]
        size = (scan.pixels if isinstance(scan, Placed) else scan).nbytes
        if size <= self.room:
            self.held[index] = scan
            self.room -= size
        return scan


@dataclass(frozen=True, eq=False)
class Subject:
    """A run with its data, completed and calibrated.

    figures: the run's, of the exported weights.  train, evaluated: the splits of its dataset, the latter ``val`` and
    ``test``.  judged: the same as far as the network has not seen them: of a cross-validated run, which has seen every
    scan, ``test`` alone, with the answers of its folds' models.  point: chosen on ``val``, or else on those.
    ood_threshold: chosen on ``val``, or of a cross-validated run on ``train``, each scan scored without its patient.
    operating: figures at that point, by split of `judged`.
    """

    recipe: RunRecipe
    network: models.Classifier
    figures: WeightsMetrics
    train: Split
    evaluated: dict[str, Split]
    judged: dict[str, Split]
    model: CompleteModel
    point: Operating
    operating: dict[str, OperatingFigures]
    ood_threshold: float


def prepared(
    dataset: Dataset, folder: RunFolder, recipe: RunRecipe, network: models.Classifier, options: Options
) -> Subject:
    """Complete a network that was trained by `recipe` on `dataset`, with the run's figures of these weights."""
    figures = folder.metrics().of(options.weights)
    kept: dict[str, Scans] = {
        name: scans if isinstance(scans, np.ndarray) else Kept(scans) for name, scans in dataset.scans.items()
    }
    dataset = replace(dataset, scans=kept)
    inputs, truth = splits(dataset, recipe)
    if _start_from_zeros(network):
        figures = measure(network, recipe, inputs, truth)
    scans, labels = raw_splits(dataset, recipe)
    multi_label = recipe.task == "multi-label"

    @torch.no_grad()
    def made_of(name: str) -> Split:
        decisions = [network.decide(batch) for batch in inputs[name].split(64)]
        logits = torch.cat([decision.logits for decision in decisions]).numpy()
        probabilities = metrics.probabilities(logits / figures.temperature, multi_label)
        activations = torch.cat([decision.activations for decision in decisions])
        return Split(scans[name], labels[name], logits, probabilities, activations)

    train, val, test = map(made_of, ("train", "val", "test"))
    score = ood.fit(train.activations)
    evaluated = judged = {"val": val, "test": test}
    scores, scored = score(val.activations), val
    if recipe.reading.whole:
        truths, logits, patients = out_of_fold(folder, recipe)
        settings = recipe.training
        items = draw_subset(len(patients), settings.subset, settings.subset_seed) if settings.subset else slice(None)
        scores, scored = _held_out(train.activations, patients[items]), train
        probabilities = metrics.probabilities(logits / figures.temperature, multi_label)
        judged = {"test": replace(test, labels=truths, logits=logits, probabilities=probabilities)}
        evaluated = {"val": val}  # precisions are compared on scans that it has seen
    chosen_on = judged.get("val", judged["test"])
    point = operating_point(chosen_on.labels, chosen_on.probabilities, options.threshold, options.abstain, multi_label)
    return Subject(
        recipe=recipe,
        network=network,
        figures=figures,
        train=train,
        evaluated=evaluated,
        judged=judged,
        model=CompleteModel(Front(recipe.input), network, figures.temperature, score, multi_label),
        point=point,
        operating={name: operating_figures(split, point, multi_label) for name, split in judged.items()},
        ood_threshold=float(np.quantile(_in_file(scores, scored.scans, Front(recipe.input)), ood.QUANTILE)),
    )


def _held_out(activations: Tensor, patients: NDArray[np.str_]) -> Tensor:
    """The scores (n,) of scans that a score was fitted to, each by one that is fitted to those of other patients."""
    parts = torch.from_numpy(np.unique(patients, return_inverse=True)[1] % PARTS)
    scores = torch.empty(len(activations))
    for part in parts.unique():
        scores[parts == part] = ood.fit(activations[parts != part])(activations[parts == part])
    return scores


@torch.no_grad()
def _in_file(scores: Tensor, scans: Scans, front: Front) -> NDArray[np.float32]:
    """Out-of-distribution scores as the file gives them, (n,): higher where a scan's values are not legal ones."""
    violations = [front.violation(front.look(**tensors(feed))) for feed in feeds(scans, front.contract)]
    return (scores + VIOLATION_WEIGHT * torch.cat(violations)).numpy()


def _start_from_zeros(network: models.Classifier) -> bool:
    """Make recurrent layers whose initial states are drawn at random (tum-2018) start from zeros, so that the file
    gives the same answer for the same scan; True if there were such layers."""
    sweeps = [module for module in network.modules() if isinstance(module, Sweep) and module.random_states]
    for sweep in sweeps:
        sweep.random_states = False
    return bool(sweeps)
