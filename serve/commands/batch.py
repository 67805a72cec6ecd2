"""The commands of tables: `batch` and `merge`, with their progress, summary and evaluation."""

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from liquidlens.console import Terminal, console, fail, print_columns
from liquidlens.errors import LiquidLensError
from liquidlens.serve.commands.options import Device, Limits, Model, Signature, Threads
from liquidlens.words import counted

if TYPE_CHECKING:
    from liquidlens.serve.batch.job import State, Summary

Labels = Annotated[
    str | None,
    typer.Option(
        help="Evaluate: a .csv with the columns path (item) and label, or an array: labels.npy, x.npz#test_labels."
    ),
]


#: Seconds between two lines of progress where there is no terminal.
_LINE = 30.0


class InterruptedJobError(LiquidLensError):
    """Somebody pressed Ctrl-C."""

    exit_code = 130


def batch(
    model: Model,
    scans: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or archives of scans, patterns, whole .npz arrays, lists (.csv, .parquet with a "
            "column path), and - for a list on standard input."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The .csv, .jsonl or .parquet file to write, a row for each scan.")],
    device: Device = "auto",
    threads: Threads = None,
    limits: Limits = None,
    require_signature: Signature = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew, whatever is there.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 if any scan has an error.")] = False,
    labels: Labels = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Scans of one shape per run; by default up to 8, or 32 on a GPU."),
    ] = None,
    readers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read scans; by default one per core, up to 8.")
    ] = None,
    shard: Annotated[str, typer.Option(help="Part 2/8 of all scans, for array jobs; `merge` joins the parts.")] = "1/1",
    engine: Annotated[Literal["plain", "ray"], typer.Option(help="ray: on a cluster, with Ray Data.")] = "plain",
    actors: Annotated[
        int | None,
        typer.Option(min=1, help="Of Ray: how many load the model; by default one per two cores, or per GPU."),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Of an existing Ray cluster; by default one is started here.")
    ] = None,
) -> None:
    """Predict many scans into one table, a row each; what cannot be read gets its error, and a kill loses nothing."""
    from liquidlens import memory
    from liquidlens.imaging.budget import parse_budget
    from liquidlens.serve.batch import cluster, job
    from liquidlens.serve.batch.engine import Options
    from liquidlens.serve.batch.inputs import STDIN, Inputs, Shard
    from liquidlens.serve.predict import Predictor

    memory.keep_freed()
    if resume and overwrite:
        raise LiquidLensError("--resume goes on and --overwrite starts anew: give one of them.")
    if engine == "plain" and (actors or ray_address):
        raise LiquidLensError(f"{'--actors' if actors else '--ray-address'} is for --engine ray.")
    options = Options(batch_size, readers, parse_budget(limits or ()))
    part = Shard.parse(shard)
    predictor = Predictor(model, device, threads, require_signature)
    evaluate = _evaluation(labels, predictor.manifest.labels, part.count > 1)
    if STDIN in scans and hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # names of files need not be text
    lines = sys.stdin if STDIN in scans else ()
    if out.exists() and any(Path(source).exists() and out.samefile(source) for source in scans):
        raise LiquidLensError(f"{out} is one of the inputs; name another --out.")
    expects = predictor.manifest.input
    inputs = Inputs(scans, len(expects.size), lines, part, pointed=expects.spacing is not None)
    run = job.run
    if engine == "ray":
        pool = cluster.Cluster(ray_address, actors)
        run = functools.partial(cluster.run, cluster=pool, device=device, threads=threads)
    try:
        with _progress() as say:
            summary = run(predictor, inputs, out, options, resume=resume, overwrite=overwrite, say=say)
    except KeyboardInterrupt:
        raise InterruptedJobError("Interrupted. What is done is kept, and --resume goes on from there.") from None
    _conclude(out, summary, evaluate, as_json)
    if resume and summary.errors and not as_json:
        console.print("--resume keeps rows with an error; --overwrite reads mended files anew, and all others.")
    if strict and summary.errors:
        fail(f"{summary.errors:,} of {summary.scans:,} scans could not be predicted.", code=3)


def merge(
    parts: Annotated[list[Path], typer.Argument(help="The tables that --shard 1/8 to 8/8 wrote.")],
    out: Annotated[Path, typer.Option(help="The .csv, .jsonl or .parquet file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it is there.")] = False,
    labels: Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Join the tables of all parts of a job into one, in the order of its inputs."""
    from liquidlens.serve.batch.merge import merge as merge_tables

    evaluate = _evaluation(labels)
    _conclude(out, merge_tables(parts, out, overwrite), evaluate, as_json)


#: Evaluates a table: returns what is printed as JSON, rows for a person, and the files that were written.
Evaluate = Callable[[Path], tuple[dict, list[tuple[str, str]], list[Path]]]


def _evaluation(labels: str | None, names: Sequence[str] = (), by_part: bool = False) -> Evaluate | None:
    """What evaluates a table with these labels.  They are read now, and compared with those of the model, `names`, so
    that wrong ones are refused before the work."""
    if labels is None:
        return None
    from liquidlens.serve.evaluate import run as evaluation

    truth = evaluation.read_labels(labels)
    if names:
        truth.numbers(names)
    if by_part and truth.scans is None:
        raise LiquidLensError(f"{labels}: labels in an array are those of all scans: give them to `merge`.")

    def evaluate(table: Path) -> tuple[dict, list[tuple[str, str]], list[Path]]:
        found = evaluation.evaluate(table, truth)
        return found.to_json(), evaluation.summary(found), evaluation.write(found, table)

    return evaluate


def _conclude(out: Path, summary: "Summary", evaluate: Evaluate | None, as_json: bool) -> None:
    figures, lines, files = evaluate(out) if evaluate is not None else (None, [], [])
    if as_json:
        answer = {"table": str(out), **vars(summary), "evaluation": figures, "files": [str(file) for file in files]}
        print(json.dumps(answer, indent=2))
        return
    if not summary.predicted:
        console.print("Nothing was left to do.")
    rate = f", {summary.predicted / summary.seconds:,.1f} per second" if summary.predicted and summary.seconds else ""
    labels = ", ".join(f"{label} {count:,}" for label, count in summary.labels.most_common())
    console.print(f"{counted(summary.scans, 'scan')}{rate}: {labels or 'no answer'}", soft_wrap=True)
    if summary.abstained or summary.ood:
        console.print(
            f"Not sure of {summary.abstained:,}. Unlike the scans the model was trained on: {summary.ood:,}; do not "
            "rely on their labels.",
            style="yellow" if summary.ood else None,
            soft_wrap=True,
        )
    if summary.errors:
        console.print(f"{summary.errors:,} could not be predicted:", style="red", soft_wrap=True)
        for error in summary.quoted:
            console.print(f"  {error}", soft_wrap=True)
        if summary.errors > len(summary.quoted):
            console.print(f"  ... and {summary.errors - len(summary.quoted):,} more, in the column error.")
    if lines:
        print_columns(("evaluation", ""), lines)
    for file in (out, *files):
        console.print(str(file), style="bold", soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Callable[["State"], None]]:
    """Shows on stderr how far a job is: a bar on a terminal, a line now and then elsewhere."""
    screen = Terminal(stderr=True)
    if not screen.is_terminal:
        yield _lines(screen)
        return
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=screen, transient=True) as progress:
        task, started = progress.add_task("starting"), time.monotonic()

        def say(state: "State") -> None:
            progress.update(task, total=state.of, completed=state.places, description=_state(state, started))

        yield say


def _lines(screen: Terminal) -> Callable[["State"], None]:
    started = last = time.monotonic()

    def say(state: "State") -> None:
        nonlocal last
        if time.monotonic() - last > _LINE:
            last = time.monotonic()
            screen.print(f"{state.places / max(state.of, 1):.1%}  {_state(state, started)}", soft_wrap=True)

    return say


def _state(state: "State", started: float) -> str:
    rate = state.predicted / max(time.monotonic() - started, 1e-9)
    errors = f", {state.errors:,} errors" if state.errors else ""
    return f"{state.rows:,} scans, {rate:,.0f}/s{errors}"
