"""Learning-rate sweeps: how robust networks are to the learning rate (tum-2018, figures 4.6 to 4.11)."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.files import add_line, growing, replacing
from liquidlens.train.datasets import load
from liquidlens.train.loop.fit import resolve, train
from liquidlens.train.names import Network
from liquidlens.train.recipes import rule, settings_for
from liquidlens.words import counted

#: What makes a line of the table.
KEY = ("data", "data_md5", "model", "recipe", "learning_rate", "seed")
FIGURES = ("val_accuracy", "test_accuracy", "epochs", "seconds")


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

    Runs that the table has are not trained again, so an interrupted sweep goes on, and one may get more models, rates
    or seeds.  options: those of `train.train`.  Raises what `train.train` raises, before anything is trained, and
    LiquidLensError if the table is not a .csv, holds another sweep, or is another process's.
    """
    out, changes = Path(out), changes or {}
    md5, rules = _check(models, data, rates, seeds, changes, out, **options)
    names = dict(zip(rules, dict.fromkeys(models), strict=True))
    with growing(out) as table:
        finished = _finished(out, (data, md5), rules)
        for seed, network, rate in itertools.product(seeds, names, rates):  # interrupted, it has seen all networks
            key = (data, md5, network, rules[network], f"{rate:g}", str(seed))
            if key in finished:
                continue
            run = train(names[network], data, seed=seed, changes={**changes, "learning_rate": rate}, **options)
            metrics = run.metrics()
            accuracies = (split["accuracy"] for split in (metrics.best.val, metrics.best.test))
            figures = (*accuracies, metrics.epochs, metrics.seconds)
            add_line(table, out, dict(zip(KEY, key, strict=True)) | dict(zip(FIGURES, figures, strict=True)))
    plot(out)
    return out


def _check(
    models, data, rates, seeds, changes, out: Path, recipe=None, data_root=None, skip_bad=False, **others
) -> tuple[str, dict[str, str]]:
    """The data's MD5 and, network by network, the rule but for the rate.

    Raises LiquidLensError for whatever would end the sweep later, after hours perhaps.
    """
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
    dataset = load(data, data_root, skip_bad, **{"reading": others["reading"]} if "reading" in others else {})
    if dataset.task == "pose":
        raise LiquidLensError("A sweep compares accuracies, and poses have none.")
    fitting = {option: value for option, value in others.items() if option in ("flags", "size", "reading")}
    for model, seed in itertools.product(models, seeds):
        resolve(model, data, dataset, settings[model, rates[0]], seed, **fitting)
    flags, size = tuple(others.get("flags", ())), others.get("size")
    rules = {str(Network(model, flags, size)): str(rule(settings_for(model, recipe, changes))) for model in models}
    return dataset.md5, rules


def _finished(out: Path, data: tuple[str, str], rules: Mapping[str, str]) -> set[tuple[str, ...]]:
    """The keys of all lines that a table has.  Raises LiquidLensError if it is of other data, has one of these networks
    by another rule, or is no sweep's."""
    with out.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), tuple(reader.fieldnames or ())
    if columns not in ((), (*KEY, *FIGURES)):
        raise LiquidLensError(f"{out} holds another sweep: remove it or name another --out.")
    for number, row in enumerate(rows, start=2):
        if None in row.values():
            raise LiquidLensError(f"{out}, line {number} is not whole: remove it.")
        if (row["data"], row["data_md5"]) != data or row["recipe"] != rules.get(row["model"], row["recipe"]):
            raise LiquidLensError(f"{out} holds another sweep: remove it or name another --out.")
    return {tuple(row[column] for column in KEY) for row in rows}


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
