"""The commands that list what there is: `models`, `recipes`, `data`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from liquidlens.commands.options import DataRoot, SkipBad
from liquidlens.console import console, fail, print_columns
from liquidlens.errors import LiquidLensError


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
    name: Annotated[str | None, typer.Argument(help="Draw a contact sheet of this dataset or image folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to; by default NAME.png.")] = None,
    data_root: DataRoot = None,
    skip_bad: SkipBad = False,
) -> None:
    """List the datasets and where each was found, or draw a contact sheet of one."""
    from liquidlens.train import datasets

    if name is None:
        print_columns(
            ("dataset", "size", "classes", "licence", "where"),
            [(s.name, s.size, str(len(s.label_names)), s.licence, s.where) for s in datasets.sources(data_root)],
            right={2},
        )
        return
    from liquidlens.train.datasets.contact_sheet import contact_sheet

    dataset = datasets.load(name, data_root, skip_bad)
    for sentence in dataset.notes:
        print(f"Note: {sentence}", file=sys.stderr)
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
