"""The manifest of an export."""

import hashlib
import math
from importlib.metadata import version

from liquidlens import models
from liquidlens.export.complete import ood
from liquidlens.export.complete.wiring import wirings
from liquidlens.export.facts import Operating as OperatingFigures
from liquidlens.export.graph.provenance import effective_parameters
from liquidlens.export.options import Options
from liquidlens.export.subject import Subject
from liquidlens.manifest import Manifest, OutOfDistribution, Parameters, Provenance
from liquidlens.train import datasets
from liquidlens.train.evidence import Figure, first
from liquidlens.train.recipes import changed
from liquidlens.train.run import WEIGHT_FILES, RunFolder


def describe(subject: Subject, folder: RunFolder, options: Options, dataset: str) -> Manifest:
    """The manifest that all files of a bundle share; what differs from file to file is still empty."""
    recipe, network, figures = subject.recipe, subject.network, subject.figures
    weights = folder.path / WEIGHT_FILES[options.weights]
    wiring = wirings(network)
    return Manifest(
        model=recipe.model,
        paper=recipe.paper,
        labels=recipe.labels,
        flags=recipe.flags,
        task="multi-label" if recipe.task == "multi-label" else "classes",
        profile="loop" if wiring else None,
        input=recipe.input,
        trained_on=datasets.trained_on(dataset),
        operating=subject.point,
        temperature=figures.temperature,
        out_of_distribution=OutOfDistribution(threshold=subject.ood_threshold, quantile=ood.QUANTILE),
        parameters=Parameters(
            published=models.entry(recipe.model).published_parameters,
            trainable=sum(p.numel() for p in network.parameters() if p.requires_grad),
            effective=effective_parameters(network),
            stored=0,
        ),
        metrics={
            "val": {**figures.val, **_at_operating_point(subject.operating.get("val", subject.operating["test"]))},
            "test": {**figures.test, **_at_operating_point(subject.operating["test"])},
        },
        provenance=Provenance(
            dataset=dataset,
            dataset_md5=recipe.dataset_md5,
            dataset_note=_note(folder, dataset),
            cross_validated=recipe.reading.whole,
            recipe=recipe.training.recipe,
            changes=changed(recipe.training),
            validated_on_test=recipe.training.validate_on_test,
            seed=recipe.seed,
            weights=options.weights,
            weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
            versions={**recipe.versions, "onnx": version("onnx")},
        ),
        wiring=wiring,
        initializers={},
        graph_digest="",
    )


def _note(folder: RunFolder, dataset: str) -> str:
    """What to know before the figures are believed: of one's own scans the cross-validation, and the shortcut check."""
    found = folder.metrics()
    said = [datasets.note(dataset)] if datasets.note(dataset) else []
    area = Figure(found.best.test["auc"], math.nan, math.nan)
    if found.cross_validation is not None:
        area = first(found.cross_validation.figures)
        shown = ", ".join(f"{name} {figure}" for name, figure in found.cross_validation.figures.items())
        said.append(
            f"The figures are those of a {found.cross_validation}: {shown}. They are of the folds' models; this one "
            "was trained on all of these scans, and was tested on none."
        )
    if found.shortcut is not None:
        said += found.shortcut.beside(area)
    return " ".join(said)


def _at_operating_point(found: OperatingFigures) -> dict[str, float]:
    figures = {name: interval.value for name, interval in found.figures.items() if name != "auc"}
    figures["accuracy_at_threshold"] = figures.pop("accuracy")
    return {**figures, "coverage": found.coverage, "accuracy_when_sure": found.accuracy_when_sure}
