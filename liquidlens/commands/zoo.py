"""The commands that list what there is: `models`, `recipes`, `data`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquidlens.commands.options import (
    Columns,
    DataRoot,
    Labels,
    NoCache,
    Positive,
    SkipBad,
    Values,
    Window,
    reading_of,
)
from liquidlens.console import console, fail, print_columns, printable
from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing

if TYPE_CHECKING:
    from liquidlens.train.datasets import Reading
    from liquidlens.train.datasets.cache import Cache


def list_models(
    find: Annotated[str, typer.Argument(help="Only names and papers that contain this.")] = "",
) -> None:
    """List the zoo: every model with its paper, input, outputs and parameters."""
    from liquidlens import models

    entries = [e for e in map(models.entry, models.names()) if find.lower() in f"{e.paper} {e.name}".lower()]
    if not entries:
        fail(f"No model and no paper has {find!r} in its name.")
    rows = [
        (
            entry.name,
            entry.paper,
            "x".join(map(str, entry.input_shape)),
            str(entry.outputs),
            f"{models.parameters(entry.name):,}",
            "-" if entry.published_parameters is None else f"{entry.published_parameters:,}",
            ", ".join(entry.flags),
        )
        for entry in entries
    ]
    print_columns(("model", "paper", "input", "logits", "parameters", "published", "flags"), rows, right={3, 4, 5})
    console.print(f"{len(rows)} models; parameters are the trainable ones, published what the paper prints.")


def list_recipes(name: Annotated[str | None, typer.Argument(help="Show all fields of this recipe.")] = None) -> None:
    """List the recipes, or one recipe's fields."""
    from liquidlens.train.recipes import RECIPES, training

    if name is not None:
        for field, value in training(name):
            console.print(f"{field} = {json.dumps(value)}", soft_wrap=True)
        return
    print_columns(("recipe", "in short"), [(settings.recipe, settings.about) for settings in RECIPES.values()])


def data(
    name: Annotated[
        str | None, typer.Argument(help="Draw this dataset, or report on a table or a folder of your own scans.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The picture to write, by default NAME.png; of your own scans the page, NAME.html."),
    ] = None,
    columns: Columns = None,
    labels: Labels = "",
    positive: Positive = "",
    values: Values = None,
    window: Window = None,
    data_root: DataRoot = None,
    skip_bad: SkipBad = False,
    no_cache: NoCache = False,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Remove all that is kept of your own scans, and do nothing else.")
    ] = False,
) -> None:
    """List the datasets and where each was found, draw one, or say what there is to know about your own scans."""
    from liquidlens.train import datasets
    from liquidlens.train.datasets import cache

    if clear_cache:
        _clear(cache.opened())
        return
    if no_cache:
        cache.turn_off()
    if name is None:
        print_columns(
            ("dataset", "size", "classes", "licence", "where"),
            [(s.name, s.size, str(len(s.label_names)), s.licence, s.where) for s in datasets.sources(data_root)],
            right={2},
        )
        return
    if datasets.own(name):
        _report(name, out, data_root, reading_of(columns, labels, positive, values, window))
        return
    from liquidlens.train.datasets.contact_sheet import contact_sheet

    dataset = datasets.load(name, data_root, skip_bad)
    picture = out or Path(f"{dataset.name.replace(':', '-')}.png")
    try:
        contact_sheet(dataset).save(picture)
    except ValueError as error:
        raise LiquidLensError(f"--out {picture}: a picture's name ends in .png.") from error
    note = datasets.note(dataset.name)
    counts = ", ".join(f"{len(labels):,} {split}" for split, labels in dataset.labels.items())
    console.print(f"{dataset.name}: {counts}. Contact sheet: {picture}", soft_wrap=True)
    if note:
        console.print(note, soft_wrap=True)


def _clear(cache: "Cache | None") -> None:
    if cache is None:
        console.print("There is no cache.")
        return
    entries, size = cache.clear()
    console.print(f"{cache.folder}: {entries:,} entries of {size / 1e6:,.1f} MB were removed.", soft_wrap=True)


def _report(name: str, out: Path | None, data_root: Path | None, reading: "Reading") -> None:
    from liquidlens.train import datasets
    from liquidlens.train.datasets.contact_sheet import contact_sheet
    from liquidlens.train.datasets.table.page import data_page
    from liquidlens.train.datasets.table.report import dataset_or_why, report

    collection = datasets.collect(name, data_root, reading=reading, with_failures=True)
    title = datasets.name_of(collection)
    dataset, why_not = dataset_or_why(collection, reading, title)
    sections = report(collection, reading, dataset, why_not)
    for section in sections:
        console.print(section.title, style="bold red" if section.alarm else "bold")
        for sentence in section.sentences:
            console.print(printable(sentence), style="red" if section.alarm else None, soft_wrap=True)
        if section.rows:
            print_columns(section.header, section.rows)
        console.print()
    path = out or Path(f"{title.partition(':')[2]}.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise LiquidLensError(f"--out {path}: the name of a page ends in .html.")
    with replacing(path) as partial:
        sheet = contact_sheet(dataset) if dataset is not None else None
        partial.write_text(data_page(title.partition(":")[2], sections, sheet), encoding="utf-8")
    console.print(f"Page: {path}", soft_wrap=True)
    if dataset is not None:
        console.print(f"Next: liquidlens train {name}", soft_wrap=True)
