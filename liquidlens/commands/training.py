"""The commands that train one model or compare settings: `train`, `evaluate`, `sweep`, `search`."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from liquidlens import memory
from liquidlens.commands.options import (
    Changes,
    Columns,
    DataRoot,
    Labels,
    NoCache,
    Positive,
    RecipeName,
    Runs,
    SkipBad,
    Spacing,
    Values,
    Window,
    parsed_changes,
    reading_of,
)
from liquidlens.console import console, numbers, print_columns
from liquidlens.errors import LiquidLensError

if TYPE_CHECKING:
    from liquidlens.train.run import RunFolder

#: The figures that `train` prints; metrics.json has them all.
SHOWN = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1": "F1",
    "dice": "Dice",
    "recall": "macro recall",
    "position_error": "position, m",
    "orientation_error": "orientation, degrees",
    "loss": "loss",
}


def train(
    model: Annotated[
        str, typer.Argument(help="A name that `liquidlens models` lists; leave it out for one that fits your scans.")
    ],
    data: Annotated[
        str | None,
        typer.Argument(help="A name that `liquidlens data` lists, or a table or a folder of your own scans."),
    ] = None,
    recipe: RecipeName = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Determines initialisation, batches, dropout and augmentation.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    changes: Changes = None,
    flags: Annotated[
        list[str] | None, typer.Option("--flag", help="A switch of the model, see `liquidlens models`. Repeatable.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Another input size than the paper's, such as 112 or 96x64.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, max=20, help="Cross-validate, and train a final model on all patients.")
    ] = None,
    columns: Columns = None,
    labels: Labels = "",
    positive: Positive = "",
    values: Values = None,
    window: Window = None,
    spacing: Spacing = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; figures depend on them in the last digits.")
    ] = None,
) -> None:
    """Train one model on one dataset, or on a table or folder of your own scans; an interrupted run goes on."""
    from liquidlens import models
    from liquidlens.train import asked, datasets
    from liquidlens.train.datasets import cache

    if no_cache:
        cache.turn_off()
    reading = reading_of(columns, labels, positive, values, window, folds, spacing)
    fields = parsed_changes(changes, epochs)
    chosen = data is not None
    if data is None:
        model, data = "", model
        if not datasets.own(data):
            raise LiquidLensError(f"{data} is no table and no folder of scans; give a model and a dataset.")
    wanted_size = _size(size, model)
    if datasets.own(data) and model not in models.names():
        from liquidlens.train.advice import advise, unknown_model

        dataset = datasets.load(data, data_root, skip_bad, reading)
        if chosen:
            raise unknown_model(model, dataset)
        advice = advise(dataset, recipe)
        for sentence in advice.why:
            console.print(sentence, soft_wrap=True)
        model, fields = advice.model, {**advice.changes, **fields}
        recipe, wanted_size = advice.recipe, _size(size, model) or advice.size
    asked.check(model, data, recipe, fields, flags or (), wanted_size, data_root)
    from liquidlens.train import train as train_model
    from liquidlens.train.studies.crossvalidation import crossvalidate

    memory.keep_all()
    rest = (recipe, seed, fields, flags or (), wanted_size, data_root, runs, skip_bad)
    if folds is None:
        folder = train_model(model, data, *rest, reading=reading, threads=threads)
    else:
        folder = crossvalidate(
            model, data, reading, *rest, threads=threads, say=lambda line: console.print(line, soft_wrap=True)
        )
    console.print(str(folder.path), style="bold", soft_wrap=True)
    if datasets.own(data):
        _print_input(folder)
    if folds is None:
        _print_metrics(folder)
    else:
        print_evaluation(folder.path)
    console.print(f"Next: liquidlens export {folder.path}", soft_wrap=True)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder that `liquidlens train` left.")],
    weights: Annotated[Literal["best", "last"], typer.Option(help="As of `liquidlens export`.")] = "best",
    out: Annotated[Path | None, typer.Option(help="Write the answers here, a .csv row for each scan.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    data_root: DataRoot = None,
) -> None:
    """Say how good a run is on scans it has not seen, with intervals over patients: no list of labels is needed."""
    print_evaluation(run, weights, out, as_json, data_root)


def print_evaluation(
    run: Path,
    weights: Literal["best", "last"] = "best",
    out: Path | None = None,
    as_json: bool = False,
    data_root: Path | None = None,
) -> None:
    from liquidlens.files import as_csv, replacing
    from liquidlens.train import RunFolder

    RunFolder(run).check_finished()
    from liquidlens.train.evaluation import evaluate_run
    from liquidlens.train.evidence import first

    found = evaluate_run(run, weights, data_root)
    beside = found.shortcut.beside(first(found.figures)) if found.shortcut else []
    if out is not None:
        with replacing(out) as partial:
            partial.write_text(as_csv(found.rows()), encoding="utf-8")
    if as_json:
        plain = {
            name: {part: None if math.isnan(value) else value for part, value in figure._asdict().items()}
            for name, figure in found.figures.items()
        }
        print(json.dumps({"of": found.of, "figures": plain, "shortcut": beside}, indent=2, allow_nan=False))
        return
    console.print(f"{found.of}; 95 % intervals over patients.", soft_wrap=True)
    print_columns(("figure", "value"), [(name, str(figure)) for name, figure in found.figures.items()])
    for sentence in beside:
        console.print(sentence, style="red" if "NOT" in sentence else None, soft_wrap=True)


def _print_input(folder: "RunFolder") -> None:
    """How one's own scans were read, and which class is positive."""
    recipe = folder.recipe()
    contract = recipe.input
    window = f" with the window {contract.window[0]:g},{contract.window[1]:g}" if contract.window else ""
    colour = "colour" if contract.channels == 3 else contract.values
    size = " x ".join(map(str, contract.size))
    seen = f"resized to {size}"
    if contract.extent is not None:
        seen = f"a field of view of {' x '.join(f'{mm:g}' for mm in contract.extent)} mm in {size} voxels"
    console.print(f"Values: {colour}{window}, {seen}. Classes: {', '.join(recipe.labels)}.", soft_wrap=True)
    if recipe.task == "classes" and len(recipe.labels) == 2:
        named = recipe.reading.positive or recipe.reading.labels
        hint = "" if named else ", the last in the alphabet; --positive names another"
        console.print(f"AUC, F1 and Dice are those of {recipe.labels[1]}{hint}.", soft_wrap=True)


def _print_metrics(folder: "RunFolder") -> None:
    from liquidlens.train.evidence import Figure

    metrics = folder.metrics()
    names = [name for name in SHOWN if name in metrics.best.test]
    chosen_on_test = folder.recipe().training.validate_on_test
    table = Table("weights", "split", *(SHOWN[name] for name in names))
    for weights, result in (("best", metrics.best), ("last", metrics.last)):
        if not chosen_on_test:
            table.add_row(weights, "validation", *(f"{result.val[name]:.3f}" for name in names))
        table.add_row(weights, "test", *(f"{result.test[name]:.3f}" for name in names))
    console.print(table)
    counted = f"{metrics.epochs} epoch{'s' * (metrics.epochs != 1)}"
    console.print(f"{counted}; the best weights are those after epoch {metrics.best_epoch + 1}.")
    if chosen_on_test:
        console.print("The best epoch was chosen on the test scans, as published; kth-2021-corrected does not do that.")
    if metrics.shortcut is not None:
        model = Figure(metrics.best.test["auc"], math.nan, math.nan)
        for sentence in metrics.shortcut.beside(model):
            console.print(sentence, style="red" if "NOT" in sentence else None, soft_wrap=True)
        console.print(f"With intervals over patients: liquidlens evaluate {folder.path}", soft_wrap=True)


def sweep(
    data: Annotated[str, typer.Argument(help="A name that `liquidlens data` lists, or a folder of images.")],
    models: Annotated[list[str], typer.Argument(help="Names that `liquidlens models` lists.")],
    rates: Annotated[str, typer.Option(help="Learning rates, separated by commas.")] = "0.01,0.03,0.1,0.3,1,3,10",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    recipe: RecipeName = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    changes: Changes = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    out: Annotated[Path, typer.Option(help="The table; the plot lies beside it, as .png.")] = Path("sweep.csv"),
) -> None:
    """Train models at several learning rates and plot their accuracy; an interrupted sweep goes on."""
    from liquidlens.train import asked

    tried, drawn = numbers(rates, float, "--rates"), numbers(seeds, int, "--seeds")
    fields = parsed_changes(changes, epochs)
    for model in models:
        asked.check(model, data, recipe, fields, data_root=data_root)
    from liquidlens.train.studies.sweep import sweep as sweep_rates

    memory.keep_all()
    table = sweep_rates(
        models,
        data,
        tried,
        drawn,
        fields,
        out,
        recipe=recipe,
        data_root=data_root,
        runs=runs,
    )
    console.print(f"{table} and {table.with_suffix('.png')}", soft_wrap=True)


def search(
    model: Annotated[str, typer.Argument(help="A name that `liquidlens models` lists.")],
    datasets: Annotated[list[str], typer.Argument(help="Names that `liquidlens data` lists, or folders.")],
    over: Annotated[
        list[str],
        typer.Option(
            help="A field and what it may be, the recipe's value included: learning_rate=0.001..0.01 or "
            "batch_size=32,64. Repeatable."
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="How many trials the table is to hold.")] = 20,
    seeds: Annotated[str, typer.Option(help="As in 0-4 or 0,2,5; every trial trains them all.")] = "0",
    recipe: RecipeName = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    changes: Changes = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    out: Annotated[Path, typer.Option(help="The table.")] = Path("search.csv"),
) -> None:
    """Search a recipe's settings on held-out training scans, never on test scans; an interrupted search goes on."""
    from liquidlens.train import asked
    from liquidlens.train.studies.plans import parse_seeds

    drawn, fields = tuple(parse_seeds(seeds)), parsed_changes(changes, epochs)
    for data in datasets:
        asked.check(model, data, recipe, fields, data_root=data_root)
    from liquidlens.train.studies import search as searching

    wanted = searching.Search(model, tuple(datasets), searching.parse_over(over), recipe, drawn, fields)
    memory.keep_all()
    best = searching.run(wanted, trials, out, data_root, runs, say=lambda line: console.print(line, soft_wrap=True))
    console.print(f"The best: {best}\nTable: {out}", soft_wrap=True)


def _size(text: str | None, model: str) -> tuple[int, ...] | None:
    """ "112" or "96x64" as the input size of a model."""
    if text is None:
        return None
    from liquidlens import models

    numbers = text.lower().split("x")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise LiquidLensError(f"--size is a number of pixels, or rows x columns as in 96x64, not {text!r}.")
    size = tuple(map(int, numbers))
    if len(size) > 1 or model not in models.names():
        return size
    return size * (len(models.entry(model).input_shape) - 1)
