"""Options that several commands share, and what their text means."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquidlens.console import numbers
from liquidlens.errors import LiquidLensError

if TYPE_CHECKING:
    from liquidlens.train.datasets import Reading

DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with the datasets; otherwise $LIQUIDLENS_DATA, ~/.medmnist, or a download.")
]

Runs = Annotated[Path, typer.Option(help="Folder for run folders.")]

SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out scans of your own that cannot be read.")]

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

Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="What a column of the table is called: label=diagnosis. Also path, patient, split, mask. Repeatable.",
        metavar="MEANING=NAME",
    ),
]

Labels = Annotated[
    str, typer.Option("--labels", help="The classes in their order, separated by commas; other scans are left out.")
]

Positive = Annotated[
    str, typer.Option(help="The class that sensitivity is about; by default the last of two in the alphabet.")
]

Values = Annotated[
    str | None, typer.Option(help="What the pixels mean: hu, grey, mask, relative or colour; found out by default.")
]

Window = Annotated[
    str | None, typer.Option(help="Hounsfield units that become black and white, as in -1000,400.", metavar="LOW,HIGH")
]


Spacing = Annotated[
    str | None,
    typer.Option(
        help="Millimetres between the voxels that the network sees of a volume, 1 or 1,0.7,0.7: a field of view around "
        "the point or the mask of the table, or the middle; by default whole scans are resized.",
        metavar="MM",
    ),
]

NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Keep nothing of your own scans for the next start, and look for nothing there."),
]


def reading_of(
    columns: list[str] | None,
    labels: str,
    positive: str = "",
    values: str | None = None,
    window: str | None = None,
    folds: int | None = None,
    spacing: str | None = None,
) -> "Reading":
    """What a person said about a table or a folder.  Raises LiquidLensError for what makes no sense."""
    import pydantic

    from liquidlens.train.datasets import Reading

    pairs = [column.partition("=") for column in columns or ()]
    if wrong := next((column for column, pair in zip(columns or (), pairs, strict=True) if not all(pair)), None):
        raise LiquidLensError(f"--column {wrong!r} names no column: write MEANING=NAME, as in label=diagnosis.")
    ends = numbers(window, float, "--window") if window is not None else None
    if ends is not None and len(ends) != 2:
        raise LiquidLensError(f"--window is two numbers, as in -1000,400, not {window!r}.")
    steps = numbers(spacing, float, "--spacing") if spacing is not None else None
    if steps is not None and len(steps) not in (1, 3):
        raise LiquidLensError(f"--spacing is one number of millimetres or three, as in 1,0.7,0.7, not {spacing!r}.")
    try:
        return Reading(
            columns={meaning.strip(): name.strip() for meaning, _, name in pairs},
            labels=tuple(name.strip() for name in labels.split(",") if name.strip()),
            positive=positive,
            values=values,  # type: ignore[arg-type]  # what it may be, the model says
            window=ends and tuple(ends),  # type: ignore[arg-type]
            spacing=steps and tuple(steps * (3 // len(steps))),  # type: ignore[arg-type]
            folds=folds,
        )
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}: " if first["loc"] else ""
        raise LiquidLensError(f"{option}{first['msg'].removeprefix('Value error, ')}.") from error


def parsed_changes(assignments: list[str] | None, epochs: int | None) -> dict:
    from liquidlens.train.recipes import parse_changes

    changes = parse_changes(assignments or ())
    return changes if epochs is None else {**changes, "max_epochs": epochs}
