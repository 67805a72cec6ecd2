"""Options that several commands share, and what their text means."""

from pathlib import Path
from typing import Annotated

import typer

DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with the datasets; otherwise $LIQUIDLENS_DATA, ~/.medmnist, or a download.")
]

Runs = Annotated[Path, typer.Option(help="Folder for run folders.")]

SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images of a folder that cannot be read.")]

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Another value for a field of the recipe: batch_size=32. Repeatable.", metavar="FIELD=VALUE"
    ),
]

RecipeName = Annotated[
    str | None,
    typer.Option(help="By default that of the model's paper; without a name, lists them.", metavar="[NAME]"),
]


def parsed_changes(assignments: list[str] | None, epochs: int | None) -> dict:
    from liquidlens.train.recipes import parse_changes

    changes = parse_changes(assignments or ())
    return changes if epochs is None else {**changes, "max_epochs": epochs}
