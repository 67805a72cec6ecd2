"""``python -m serve.batch MODEL INPUT... --out results.csv``: `liquidlens predict`, without anything else."""

import sys

import typer

from serve.commands import predict
from serve.console import run

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
app.command(name="predict")(predict)

if __name__ == "__main__":
    run(app, sys.argv[1:])
