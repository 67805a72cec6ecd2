"""The command line: one subcommand per stage, each stage imported only when it is called."""

import sys
from typing import Annotated

import typer

from liquidlens.commands import exporting, phantoms, studies, training, zoo
from liquidlens.console import run
from liquidlens.serve import commands as device

app = typer.Typer(
    help="Train compact liquid networks, export them to self-describing ONNX files, and predict on scans.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("models")(zoo.list_models)
app.command("recipes")(zoo.list_recipes)
own = (zoo.data, phantoms.phantom, training.train, training.evaluate)
workshop = (*own, training.sweep, training.search, studies.study, studies.tables, studies.compare)
for command in (*workshop, exporting.export, exporting.onnx, exporting.audit, *device.COMMANDS):
    app.command()(command)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    # `liquidlens.console.run` reads --debug, anywhere on the line; here it stands for the help.
    pass


def main() -> None:
    """Run the command line."""
    arguments = sys.argv[1:]
    run(app, ["recipes"] if arguments[-1:] == ["--recipe"] else arguments)
