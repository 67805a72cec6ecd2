"""The commands of the DICOM node: `node`, and `drift` over its journal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from liquidlens.console import console, fail, print_columns
from liquidlens.serve.commands.options import JsonLog, Limits
from liquidlens.words import counted


def node(
    rules: Annotated[Path, typer.Argument(help="A TOML file: who may send, which model reads what, where reports go.")],
    limits: Limits = None,
    json_log: JsonLog = False,
    check: Annotated[bool, typer.Option("--check", help="Only read the file and load its models.")] = False,
) -> None:
    """Receive DICOM series, judge them by rules, and send structured reports back to the archive."""
    from liquidlens.imaging.budget import parse_budget
    from liquidlens.serve.node import settings

    told, budget = settings.read(rules), parse_budget(limits or ())
    if check:
        from liquidlens.serve.node.judge import Judge

        for name, predictor in Judge(told, budget).predictors.items():
            console.print(f"{name}: {predictor.manifest.model}, {predictor.path}", soft_wrap=True)
        return
    from liquidlens.serve.node.running import run

    run(told, budget, lambda line: console.print(line, soft_wrap=True), json_log)


def drift(
    journal: Annotated[Path, typer.Argument(help="A node's journal.db, or its folder.")],
    out: Annotated[Path | None, typer.Option(help="A folder for a plot of each rule.")] = None,
    newest: Annotated[
        int, typer.Option(min=20, help="How many of the newest answers are held against the others.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 if anything drifts.")] = False,
) -> None:
    """Say whether the scans that a node gets are still like those that its models were validated on."""
    from liquidlens.serve.node.drift import FEWEST, LEVEL, find, plot
    from liquidlens.serve.node.journal import Journal

    opened = Journal(journal / "journal.db" if journal.is_dir() else journal, only_read=True)
    found = find(opened, newest)
    if as_json:
        print(json.dumps([{**asdict(one), "drifts": one.drifts} for one in found], indent=2))
    for one in () if as_json else found:
        console.print(f"{one.rule}: {one.model}, {counted(one.answers, 'answer')}", style="bold", soft_wrap=True)
        if not one.tests:
            console.print(f"  Too few to test: there have to be {2 * FEWEST}.")
            continue
        rows = [(test.name, f"{test.expected:.4g}", f"{test.found:.4g}", _shown(test.p)) for test in one.tests]
        print_columns(("", "expected, or before", f"newest {one.newest}", "p (Holm)"), rows)
        names = ", ".join(test.name for test in one.tests if test.drifts)
        console.print(f"  Drift at the level of {LEVEL}: {names}." if names else f"  No drift at the level of {LEVEL}.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for one in found:
            path = out / f"{one.rule}-{one.model_sha256[:12]}.png"
            plot(opened, one, path)
            if not as_json:
                console.print(str(path), style="bold", soft_wrap=True)
    if strict and any(one.drifts for one in found):
        fail("The newest scans differ from what was expected.", code=3)


def _shown(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"
