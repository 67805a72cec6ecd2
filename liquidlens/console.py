"""What all commands share: how they print, how they fail, and how they take numbers."""

import sys
import traceback
from collections.abc import Container, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from liquidlens.errors import LiquidLensError, needing, printable


class Terminal(Console):
    """Prints text as it is, names of files and labels included, which are no markup; but nothing in it that would move
    the cursor, forge a line or steer the terminal."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Whatever is printed as a text, or stands as one in a table, comes through here."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)


console = Terminal()


def print_columns(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: Container[int] = ()) -> None:
    """Lines that a person can read and grep: columns side by side, never cut, the last one as long as it is."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, row in enumerate(lines):
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip(), soft_wrap=True, style=None if number else "bold")


def numbers(text: str, kind: type, option: str) -> list:
    try:
        numbers = [kind(part) for part in text.split(",") if part.strip()]
        if not numbers:
            raise ValueError(text)
        return numbers
    except ValueError as error:
        raise LiquidLensError(f"{option} takes numbers separated by commas, not {text!r}.") from error


def run(app: typer.Typer, arguments: Sequence[str]) -> None:
    """Run a command line.  Errors that a person can mend are one sentence on stderr and exit code 2; with --debug
    anywhere on the line, the traceback stands before it."""
    try:
        with needing("this command"):
            app([argument for argument in arguments if argument != "--debug"])
    except LiquidLensError as error:
        show_traceback()
        fail(str(error), code=getattr(error, "exit_code", 2))
    except OSError as error:
        show_traceback()
        fail(f"{error.filename or 'the system'}: {error.strerror or error}.")


def show_traceback() -> None:
    """With --debug anywhere on the command line, show where the error at hand comes from."""
    if "--debug" in sys.argv:
        traceback.print_exc()


def fail(*sentences: str, code: int = 2) -> NoReturn:
    for sentence in sentences:
        Terminal(stderr=True).print(Text.assemble(("Error: ", "red"), printable(sentence)), soft_wrap=True)
    sys.exit(code)
