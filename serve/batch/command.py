"""`liquidlens predict --out` and `liquidlens merge`, as a person sees them: progress, summary, evaluation."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from imaging import LiquidLensError
from serve import pretrained
from serve.batch import job
from serve.batch.cluster import Cluster
from serve.batch.cluster import run as run_on_cluster
from serve.batch.engine import Options
from serve.batch.inputs import STDIN, Inputs, Shard
from serve.batch.job import State, Summary
from serve.batch.merge import merge as merge_tables
from serve.console import console, print_columns, printable
from serve.predictor import Predictor


class InterruptedJobError(LiquidLensError):
    """Somebody pressed Ctrl-C."""

    exit_code = 130


#: Seconds between two lines of progress where there is no terminal.
_LINE = 30.0


def predict(
    model: str,
    sources: list[str],
    out: Path,
    options: Options,
    *,
    device: str,
    threads: int | None,
    public_key: Path | None,
    shard: str,
    resume: bool,
    overwrite: bool,
    labels: str | None,
    cluster: Cluster | None,
    as_json: bool,
) -> Summary:
    """Predict all scans into one table, evaluate it if there are labels, and say what came out."""
    part = Shard.parse(shard)
    predictor = Predictor(pretrained.find(model), device, threads, public_key)
    evaluate = _evaluation(labels, predictor.manifest.labels, part.count > 1)
    if STDIN in sources and hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # names of files need not be text
    lines = sys.stdin if STDIN in sources else ()
    if out.exists() and any(Path(source).exists() and out.samefile(source) for source in sources):
        raise LiquidLensError(f"{out} is one of the inputs; name another --out.")
    inputs = Inputs(sources, len(predictor.manifest.input.size), lines, part)
    again = {"resume": resume, "overwrite": overwrite}
    try:
        with _progress() as say:
            if cluster is None:
                summary = job.run(predictor, inputs, out, options, **again, say=say)
            else:
                summary = run_on_cluster(
                    predictor, inputs, out, options, cluster, device=device, threads=threads, **again, say=say
                )
    except KeyboardInterrupt:
        raise InterruptedJobError("Interrupted. What is done is kept, and --resume goes on from there.") from None
    _conclude(out, summary, evaluate, as_json)
    return summary


def merge(parts: list[Path], out: Path, overwrite: bool, labels: str | None, as_json: bool) -> None:
    """Join the tables of all shards into one, evaluate it if there are labels, and say what came out."""
    evaluate = _evaluation(labels)
    _conclude(out, merge_tables(parts, out, overwrite), evaluate, as_json)


#: Evaluates a table: returns what is printed as JSON, rows for a person, and the files that were written.
Evaluate = Callable[[Path], tuple[dict, list[tuple[str, str]], list[Path]]]


def _evaluation(labels: str | None, names: Sequence[str] = (), by_part: bool = False) -> Evaluate | None:
    """What evaluates a table with these labels.  They are read now, and compared with those of the model, `names`, so
    that what is wrong with them is said before the work."""
    if labels is None:
        return None
    from serve import evaluation

    truth = evaluation.read_labels(labels)
    if names:
        truth.numbers(names)
    if by_part and truth.scans is None:
        raise LiquidLensError(f"{labels}: labels in an array are those of all scans: give them to `merge`.")

    def evaluate(table: Path) -> tuple[dict, list[tuple[str, str]], list[Path]]:
        found = evaluation.evaluate(table, truth)
        return found.to_json(), evaluation.summary(found), evaluation.write(found, table)

    return evaluate


def _conclude(out: Path, summary: Summary, evaluate: Evaluate | None, as_json: bool) -> None:
    figures, lines, files = evaluate(out) if evaluate is not None else (None, [], [])
    if as_json:
        answer = {"table": str(out), **vars(summary), "evaluation": figures, "files": [str(file) for file in files]}
        print(json.dumps(answer, indent=2))
        return
    if not summary.predicted:
        console.print("Nothing was left to do.")
    rate = f", {summary.predicted / summary.seconds:,.1f} per second" if summary.predicted and summary.seconds else ""
    labels = ", ".join(f"{label} {count:,}" for label, count in summary.labels.most_common())
    console.print(f"{summary.scans:,} scan{'s' * (summary.scans != 1)}{rate}: {labels or 'no answer'}", soft_wrap=True)
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
            console.print(f"  {printable(error)}", soft_wrap=True)
        if summary.errors > len(summary.quoted):
            console.print(f"  ... and {summary.errors - len(summary.quoted):,} more, in the column error.")
    if lines:
        print_columns(("evaluation", ""), lines)
    for file in (out, *files):
        console.print(str(file), style="bold", soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Callable[[State], None]]:
    """Shows on stderr how far a job is: a bar on a terminal, a line now and then elsewhere."""
    screen = Console(stderr=True, highlight=False)
    if not screen.is_terminal:
        yield _lines(screen)
        return
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=screen, transient=True) as progress:
        task, started = progress.add_task("starting"), time.monotonic()

        def say(state: State) -> None:
            progress.update(task, total=state.of, completed=state.places, description=_state(state, started))

        yield say


def _lines(screen: Console) -> Callable[[State], None]:
    started = said = time.monotonic()

    def say(state: State) -> None:
        nonlocal said
        if time.monotonic() - said > _LINE:
            said = time.monotonic()
            screen.print(f"{state.places / max(state.of, 1):.1%}  {_state(state, started)}", soft_wrap=True)

    return say


def _state(state: State, started: float) -> str:
    rate = state.predicted / max(time.monotonic() - started, 1e-9)
    errors = f", {state.errors:,} errors" if state.errors else ""
    return f"{state.rows:,} scans, {rate:,.0f}/s{errors}"
