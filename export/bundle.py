"""Exporting a run: from run folder to bundle."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import models
from export import ood
from export.complete import CompleteModel
from export.graph import serialize, to_onnx
from export.parity import Parity, check
from imaging import LiquidLensError
from models.four_directions import Sweep
from models.front import Front
from serve.manifest import KEY, Input, Manifest, OutOfDistribution, Parameters, Provenance
from train import datasets
from train.fit import measure, splits
from train.recipes import changed
from train.run import WEIGHT_FILES, RunFolder, RunRecipe, Weights


@dataclass(frozen=True)
class Bundle:
    """What an export left: the folder with ``model.onnx``, ``audit.json`` and ``SHA256SUMS``."""

    path: Path
    manifest: Manifest
    parity: Parity

    @property
    def model(self) -> Path:
        return self.path / "model.onnx"


def export(
    run: str | Path, out: str | Path | None = None, weights: Weights = "best", data_root: str | Path | None = None
) -> Bundle:
    """Export a finished run to `out`, by default ``bundles/NAME-OF-RUN``.

    The run's dataset is needed: the training scans for the out-of-distribution score, the validation scans for its
    threshold and for parity.  Raises LiquidLensError if the run or its data is not complete, AuditError if the file
    does not agree with torch; nothing is written then.
    """
    folder = RunFolder(Path(run))
    recipe, metrics, network = folder.recipe(), folder.metrics(), folder.load_model(weights)
    _check_exportable(recipe)
    # Images that were left out of the training set are left out here, too; the MD5 tells whether the rest is the same.
    dataset = datasets.load(recipe.dataset, data_root, skip_bad=True)
    if dataset.md5 != recipe.dataset_md5:
        raise LiquidLensError(f"{folder.path} was trained on another version of {recipe.dataset} than the one at hand.")

    inputs, labels = splits(dataset, recipe)
    figures = metrics.best if weights == "best" else metrics.last
    if _start_from_zeros(network):
        figures = measure(network, recipe, inputs, labels)
    score = ood.fit(_activations(network, inputs["train"]))
    with torch.no_grad():
        usual = score(_activations(network, inputs["val"])).numpy()
    model = CompleteModel(Front(recipe.input), network, figures.temperature, score, recipe.task == "multi-label")
    manifest = Manifest(
        model=recipe.model,
        paper=recipe.paper,
        labels=recipe.labels,
        flags=recipe.flags,
        task="multi-label" if recipe.task == "multi-label" else "classes",
        input=Input(**asdict(recipe.input)),
        threshold=0.5,
        temperature=figures.temperature,
        out_of_distribution=OutOfDistribution(threshold=float(np.quantile(usual, ood.QUANTILE)), quantile=ood.QUANTILE),
        parameters=Parameters(
            published=models.entry(recipe.model).published_parameters,
            trainable=sum(p.numel() for p in network.parameters() if p.requires_grad),
        ),
        metrics={"val": figures.val, "test": figures.test},
        provenance=Provenance(
            dataset=dataset.name,
            dataset_md5=recipe.dataset_md5,
            recipe=recipe.training.recipe,
            changes=changed(recipe.training),
            validated_on_test=recipe.training.validate_on_test,
            seed=recipe.seed,
            weights=weights,
            weights_sha256=hashlib.sha256((folder.path / WEIGHT_FILES[weights]).read_bytes()).hexdigest(),
            versions={**recipe.versions, "onnx": version("onnx")},
        ),
    )
    content = serialize(to_onnx(model), {KEY: manifest.to_json()})
    parity = check(content, model, dataset.scans["test" if recipe.training.validate_on_test else "val"])
    bundle = Bundle(Path(out) if out is not None else Path("bundles") / folder.path.resolve().name, manifest, parity)
    _write(bundle, content)
    return bundle


def _check_exportable(recipe: RunRecipe) -> None:
    """Some habits of the papers' sources have no meaning in a file that judges one scan."""
    reasons = {
        "source_layout": "it recurs over the scans of a batch, so its answer for a scan depends on the others",
        "dropout_always": "its dropout is at random in evaluation, too",
    }
    for flag in recipe.flags:
        if flag in reasons:
            raise LiquidLensError(f"{recipe.model} with the flag {flag} cannot be exported: {reasons[flag]}.")
    if recipe.task == "pose":
        raise LiquidLensError(f"{recipe.model} cannot be exported: it reads another network's feature maps, not scans.")


def _start_from_zeros(network: models.Classifier) -> bool:
    """Make recurrent layers whose initial states are drawn at random (tum-2018) start from zeros, so that the file says
    the same about the same scan; True if there were such layers."""
    sweeps = [module for module in network.modules() if isinstance(module, Sweep) and module.random_states]
    for sweep in sweeps:
        sweep.random_states = False
    return bool(sweeps)


@torch.no_grad()
def _activations(network: models.Classifier, inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat([network.decide(batch).activations for batch in inputs.split(64)])


def _write(bundle: Bundle, content: bytes) -> None:
    """Write the files whole, the checksums last."""
    audit = {"bytes": len(content), "parity": asdict(bundle.parity), "manifest": json.loads(bundle.manifest.to_json())}
    files = {"model.onnx": content, "audit.json": (json.dumps(audit, indent=2) + "\n").encode()}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    bundle.path.mkdir(parents=True, exist_ok=True)
    for name, data in {**files, "SHA256SUMS": sums.encode()}.items():
        partial = bundle.path / f"{name}.partial"
        partial.write_bytes(data)
        os.replace(partial, bundle.path / name)
