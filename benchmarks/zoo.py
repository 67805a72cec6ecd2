"""Export and audit every model of the zoo, untrained, in all its profiles: ``make zoo-check``.

Each model is exported like a trained one, from a run folder with random weights and a dataset of noise in the shapes of
its paper.  The exit code is 1 if one fails; models that cannot be files are listed with the reason.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.export import Options
from liquidlens.export.facts import Profile
from liquidlens.export.measure.operating import Rule
from liquidlens.export.options import is_liquid
from liquidlens.export.pipeline import export_with
from liquidlens.models.papers.hse2024 import SliceClassifier
from liquidlens.train.datasets import Dataset
from liquidlens.train.loop.fit import measure, splits
from liquidlens.train.recipes import settings_for
from liquidlens.train.run import RunFolder, RunMetrics, RunRecipe

SCANS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models, or the beginnings of their names; by default all")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    names = [name for name in models.names() if not arguments.names or name.startswith(tuple(arguments.names))]
    console = Console(markup=False, highlight=False)
    failures = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for name, (sound, line) in zip(names, pool.map(check, names), strict=True):
            console.print(f"{name:28} {line}", style=None if sound else "red", soft_wrap=True)
            failures += not sound
    console.print(f"{len(names)} models, {failures} failures.")
    sys.exit(failures > 0)


def check(name: str) -> tuple[bool, str]:
    """Export one model; whether all is well, and what to say of it."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            dataset = noise(name)
            run = untrained(name, dataset, Path(folder) / "run")
            # Untrained answers all lie near 0.5: a threshold there would be decided by rounding.
            threshold = Rule("fixed", 0.25)
            options = Options(profiles=profiles_of(run.load_model()), precisions=(), threshold=threshold)
            bundle = export_with(dataset, run, Path(folder) / "bundle", options)
        except LiquidLensError as error:
            refused = "cannot be exported" in str(error)
            return refused, str(error) if refused else f"FAILED: {error}"
        except Exception as error:  # whatever it is, the other models go on
            return False, f"FAILED: {error!r}"
    document, counts = bundle.document, bundle.manifest.parameters
    found = document.audit
    worst = max(parity.max_logit_difference for parity in document.parity.values())
    return True, (
        f"{counts.trainable:>9,} trainable {counts.effective:>9,} effective {counts.stored:>9,} stored "
        f"{found.bytes:>10,} bytes {len(found.initializers):>4} initializers  {'+'.join(document.parity):18} "
        f"parity {worst:.0e}  {time.perf_counter() - started:.0f} s"
    )


def profiles_of(network: models.Classifier) -> tuple[Profile, ...]:
    """The profiles that a model has besides the loop."""
    if not is_liquid(network):
        return ()
    return ("unrolled", "step") if isinstance(network, SliceClassifier) else ("unrolled",)


def noise(name: str) -> Dataset:
    """Random scans and labels in the shapes of a model's paper."""
    entry = models.entry(name)
    if models.entry(name).outputs == 7 and name.startswith("PoseNet"):
        raise LiquidLensError(f"{name} cannot be exported: it reads another network's feature maps, not scans.")
    rng = np.random.default_rng(0)
    channels, *size = entry.input_shape
    shape = (*size, 3) if channels == 3 else tuple(size)
    classes = max(2, entry.outputs)
    splits = ("train", "val", "test")
    return Dataset(
        name="noise",
        label_names=tuple(f"class {i}" for i in range(classes)),
        values="grey",
        md5="0" * 32,
        scans={split: rng.integers(0, 256, (SCANS, *shape)).astype(np.uint8) for split in splits},
        labels={split: np.arange(SCANS) % classes for split in splits},
        channels=channels,
    )


def untrained(name: str, dataset: Dataset, path: Path) -> RunFolder:
    """A finished run folder with random weights."""
    path.mkdir()
    changes = {"subset": None, "test_subset": None, "normalise": "none"}
    settings = settings_for(name, "quick", changes)
    recipe = RunRecipe.resolve(name, (), None, dataset, dataset.name, settings, seed=0)
    folder = RunFolder(path)
    torch.manual_seed(0)
    network = recipe.build().eval()
    folder.write_json("recipe.json", recipe)
    for which in ("best", "last"):
        folder.save_weights(network, which)
    figures = measure(network, recipe, *splits(dataset, recipe))
    folder.write_json(
        "metrics.json",
        RunMetrics(epochs=0, best_epoch=0, seconds=0, mean_over_epochs={}, best=figures, last=figures),
    )
    return folder


if __name__ == "__main__":
    main()
