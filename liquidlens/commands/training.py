"""The commands that train one model or compare settings: `train`, `sweep`, `search`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from liquidlens.commands.options import Changes, DataRoot, RecipeName, Runs, SkipBad, parsed_changes
from liquidlens.console import console, numbers
from liquidlens.errors import LiquidLensError
from liquidlens.words import counted

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
    model: Annotated[str, typer.Argument(help="A name that `liquidlens models` lists.")],
    data: Annotated[str, typer.Argument(help="A name that `liquidlens data` lists, or a folder of images.")],
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
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    skip_bad: SkipBad = False,
) -> None:
    """Train one model on one dataset; an interrupted run goes on where it stopped."""
    from liquidlens.train import train as train_model

    folder = train_model(
        model,
        data,
        recipe,
        seed=seed,
        changes=parsed_changes(changes, epochs),
        flags=flags or (),
        size=_size(size, model),
        data_root=data_root,
        runs=runs,
        skip_bad=skip_bad,
    )
    metrics = folder.metrics()
    names = [name for name in SHOWN if name in metrics.best.test]
    chosen_on_test = folder.recipe().training.validate_on_test
    table = Table("weights", "split", *(SHOWN[name] for name in names))
    for weights, result in (("best", metrics.best), ("last", metrics.last)):
        if not chosen_on_test:
            table.add_row(weights, "validation", *(f"{result.val[name]:.3f}" for name in names))
        table.add_row(weights, "test", *(f"{result.test[name]:.3f}" for name in names))
    console.print(str(folder.path), style="bold", soft_wrap=True)
    console.print(table)
    console.print(
        f"{counted(metrics.epochs, 'epoch')}; the best weights are those after epoch {metrics.best_epoch + 1}."
    )
    if chosen_on_test:
        console.print("The best epoch was chosen on the test scans, as published; kth-2021-corrected does not do that.")
    console.print(f"Next: liquidlens export {folder.path}", soft_wrap=True)


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
    from liquidlens.train.studies.sweep import sweep as sweep_rates

    table = sweep_rates(
        models,
        data,
        numbers(rates, float, "--rates"),
        numbers(seeds, int, "--seeds"),
        parsed_changes(changes, epochs),
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
    from liquidlens.train.studies import search as searching
    from liquidlens.train.studies.study import parse_seeds

    wanted = searching.Search(
        model,
        tuple(datasets),
        searching.parse_over(over),
        recipe,
        tuple(parse_seeds(seeds)),
        parsed_changes(changes, epochs),
    )
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
