"""Learning-rate sweeps: how robust networks are to the learning rate (tum-2018, figures 4.6 to 4.11)."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.files import as_csv, replacing
from liquidlens.train.datasets import load
from liquidlens.train.loop.fit import resolve, train
from liquidlens.train.recipes import settings_for
from liquidlens.words import counted


def sweep(
    models: Sequence[str],
    data: str,
    rates: Sequence[float],
    seeds: Sequence[int] = (0, 1, 2),
    changes: dict[str, Any] | None = None,
    out: str | Path = "sweep.csv",
    **options: Any,
) -> Path:
    """Train every model with every learning rate and seed; returns `out`, a table that grows with every finished run,
    and draws a picture beside it, of the same name with the ending .png.

    Runs that are finished already are not trained again, so an interrupted sweep goes on.  options: those of
    `train.train`.  Raises what `train.train` raises, before anything is trained, and LiquidLensError if the table is
    not a .csv or holds another sweep.
    """
    out, changes = Path(out), changes or {}
    _check(models, data, rates, seeds, changes, out, **options)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for row in _runs(models, data, rates, seeds, changes, options):
        rows.append(row)
        with replacing(out) as partial:
            partial.write_text(as_csv(rows), encoding="utf-8")
    plot(out)
    return out


def _check(
    models, data, rates, seeds, changes, out: Path, recipe=None, data_root=None, skip_bad=False, **others
) -> None:
    """Raise LiquidLensError for whatever would end the sweep later, after hours perhaps."""
    if not (models and rates and seeds):
        raise LiquidLensError("A sweep needs at least one model, one learning rate and one seed.")
    if "learning_rate" in changes:
        raise LiquidLensError("The learning rates of a sweep are its --rates, not a --set learning_rate.")
    if out.suffix != ".csv":
        raise LiquidLensError(f"--out {out}: the name of a table ends in .csv; the plot lies beside it.")
    settings = {
        (model, rate): settings_for(model, recipe, {**changes, "learning_rate": rate})
        for model, rate in itertools.product(models, rates)
    }
    dataset = load(data, data_root, skip_bad)
    if dataset.task == "pose":
        raise LiquidLensError("A sweep compares accuracies, and poses have none.")
    fitting = {option: value for option, value in others.items() if option in ("flags", "size")}
    for model, seed in itertools.product(models, seeds):
        resolve(model, data, dataset, settings[model, rates[0]], seed, **fitting)
    if out.is_file():
        with out.open(encoding="utf-8") as file:
            here = {(row.get("data"), row.get("model")) for row in csv.DictReader(file)}
        if here - set(itertools.product([data], models)):
            raise LiquidLensError(f"{out} holds another sweep: remove it or name another --out.")


def _runs(models, data, rates, seeds, changes, options) -> Iterator[dict[str, Any]]:
    for seed in seeds:  # outermost: an interrupted sweep has seen all models and rates
        for model in models:
            for rate in rates:
                folder = train(model, data, seed=seed, changes={**changes, "learning_rate": rate}, **options)
                metrics = folder.metrics()
                yield {
                    "data": data,
                    "model": model,
                    "learning_rate": rate,
                    "seed": seed,
                    "val_accuracy": metrics.best.val["accuracy"],
                    "test_accuracy": metrics.best.test["accuracy"],
                    "epochs": metrics.epochs,
                    "seconds": metrics.seconds,
                }


def plot(table: Path) -> Path:
    """Draw test accuracy against learning rate, mean and standard deviation over seeds, one line per model."""
    from matplotlib.figure import Figure

    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [
            (float(row["learning_rate"]), 100 * float(row["test_accuracy"])) for row in rows if row["model"] == model
        ]
        rates = sorted({rate for rate, _ in own})
        accuracies = [[accuracy for rate, accuracy in own if rate == here] for here in rates]
        means, deviations = [np.mean(a) for a in accuracies], [np.std(a) for a in accuracies]
        axes.errorbar(rates, means, deviations, marker="o", markersize=4, capsize=3, label=model)
    seeds = counted(len({row["seed"] for row in rows}), "seed")
    axes.set(xscale="log", xlabel="learning rate", ylabel="test accuracy, %")
    rates = sorted({float(row["learning_rate"]) for row in rows})
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.set_title(f"{rows[0]['data']}: mean and standard deviation of {seeds}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    picture = table.with_suffix(".png")
    with replacing(picture) as partial:
        figure.savefig(partial, format="png", dpi=150)
    return picture
