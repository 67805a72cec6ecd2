"""The commands of studies: `study`, `tables`, and of two runs `compare`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from liquidlens.commands.options import DataRoot, Runs, parsed_changes
from liquidlens.console import console, fail, print_columns


def study(
    paper: Annotated[
        str, typer.Argument(help="hse-2024, tum-2018, kth-2021, cmu, truong-2022, liquidlens or liquid-layers.")
    ],
    datasets: Annotated[str, typer.Option(help="Separated by commas; by default the study's.")] = "",
    models: Annotated[
        str, typer.Option(help="Some of its models, separated by commas; with a flag as LSTMExp5N2+source_layout.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="As in 0-4 or 0,2,5.")] = "0-4",
    jobs: Annotated[int, typer.Option(min=1, help="How many runs at a time, each on one thread.")] = 2,
    budget_hours: Annotated[float | None, typer.Option(min=0, help="No run is begun later than this.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("docs/results"),
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train a paper's models on its datasets, seed after seed, into one table; an interrupted study goes on."""
    from liquidlens.train import asked
    from liquidlens.train.studies.plans import parse_seeds, selected

    on, of = ([name for name in names.split(",") if name] for names in (datasets, models))
    drawn, changes = parse_seeds(seeds), parsed_changes(None, epochs)
    for trial in selected(paper, on, of):
        fields = {**dict(trial.changes), **changes}
        asked.check(trial.model, trial.data, trial.recipe, fields, trial.flags, trial.size, data_root)
    from liquidlens.train.studies.study import study as train_all

    outcome = train_all(
        paper,
        datasets=on,
        models=of,
        seeds=drawn,
        jobs=jobs,
        budget_hours=budget_hours,
        changes=changes,
        out=out,
        runs=runs,
        data_root=data_root,
        say=lambda line: console.print(line, soft_wrap=True),
    )
    console.print(f"Table: {outcome.table}; runs left: {outcome.left}, failed: {len(outcome.failures)}", soft_wrap=True)
    if outcome.failures:
        fail(*outcome.failures)


def tables(
    papers: Annotated[list[str] | None, typer.Argument(help="By default all that have results.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the tables that `liquidlens study` fills.")] = Path(
        "docs/results"
    ),
    pages: Annotated[Path, typer.Option(help="Folder of the pages PAPER.md.")] = Path("docs/reproduction"),
    pictures: Annotated[Path, typer.Option(help="Folder of the plots.")] = Path("docs/pictures"),
) -> None:
    """Make the tables and plots of the studies' pages anew from their results."""
    from liquidlens.train.studies.reports import write

    for paper in papers or sorted(path.stem for path in results.glob("*.csv")):
        for path in write(paper, results, pages, pictures):
            console.print(str(path), soft_wrap=True)


def compare(
    first: Annotated[Path, typer.Argument(help="A run folder that `liquidlens train` left.")],
    others: Annotated[list[Path], typer.Argument(help="Others, of the same data.")],
    weights: Annotated[Literal["best", "last"], typer.Option(help="As of `liquidlens export`.")] = "best",
    out: Annotated[Path | None, typer.Option(help="Add the figures of all severities to this .csv table.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Say how a run differs from others on the same test scans, as they are and corrupted, with intervals over
    patients."""
    from liquidlens.train import RunFolder

    for run in (first, *others):
        if not any(run.glob("fold-*")):
            RunFolder(run).check_finished(weights)
    from liquidlens.train import comparison

    if out is not None and out.is_file():
        comparison.read(out)
    for other, found in zip(others, comparison.compare(first, others, weights, data_root), strict=True):
        if out is not None:
            found.add_to(out)
        of = f"{found.scans:,} test scans of {found.patients:,} patients"
        console.print(f"{of}; {first.name} minus {other.name}, 95 % intervals over patients.", soft_wrap=True)
        rows = [
            (line.words, f"{line.first[0]:.3f}", f"{line.second[0]:.3f}", *line.differences)
            for line in found.lines
            if line.condition[1] in ("0", comparison.MEAN)
        ]
        named = ("AUC", "accuracy", "ECE", "accuracy on the surest 90 %")
        print_columns(("scans", "AUC of the first", "of the second", *(f"{name}, difference" for name in named)), rows)
