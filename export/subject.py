"""What is exported: a finished run with its data, and the complete model that is made of it."""

from dataclasses import dataclass

import numpy as np
import torch

from liquidlens import metrics, models
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.facts import Operating as OperatingFigures
from liquidlens.export.measure.accuracy import Split, operating_figures, operating_point
from liquidlens.export.options import Options
from liquidlens.manifest import Operating
from liquidlens.models.front import Front
from liquidlens.models.layers.four_directions import Sweep
from liquidlens.train.datasets import Dataset
from liquidlens.train.loop.fit import measure, raw_splits, splits
from liquidlens.train.run import RunRecipe, WeightsMetrics


@dataclass(frozen=True, eq=False)
class Subject:
    """A run with its data, completed and calibrated.

    figures: the run's, of the exported weights.  train, evaluated: the splits of its dataset, the latter ``val`` and
    ``test``.  point, ood_threshold: chosen on ``val``.  operating: figures at that point, by split.
    """

    recipe: RunRecipe
    network: models.Classifier
    figures: WeightsMetrics
    train: Split
    evaluated: dict[str, Split]
    model: CompleteModel
    point: Operating
    operating: dict[str, OperatingFigures]
    ood_threshold: float


def prepared(
    dataset: Dataset, recipe: RunRecipe, network: models.Classifier, figures: WeightsMetrics, options: Options
) -> Subject:
    """Complete a network that was trained by `recipe` on `dataset`, with the run's figures of these weights."""
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
    point = operating_point(val.labels, val.probabilities, options.threshold, options.abstain, multi_label)
    evaluated = {"val": val, "test": test}
    return Subject(
        recipe=recipe,
        network=network,
        figures=figures,
        train=train,
        evaluated=evaluated,
        model=CompleteModel(Front(recipe.input), network, figures.temperature, score, multi_label),
        point=point,
        operating={name: operating_figures(split, point, multi_label) for name, split in evaluated.items()},
        ood_threshold=float(np.quantile(score(val.activations).numpy(), ood.QUANTILE)),
    )


def _start_from_zeros(network: models.Classifier) -> bool:
    """Make recurrent layers whose initial states are drawn at random (tum-2018) start from zeros, so that the file
    gives the same answer for the same scan; True if there were such layers."""
    sweeps = [module for module in network.modules() if isinstance(module, Sweep) and module.random_states]
    for sweep in sweeps:
        sweep.random_states = False
    return bool(sweeps)
