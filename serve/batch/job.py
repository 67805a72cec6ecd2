"""The job: one table for all inputs, through a journal, so that it can be interrupted at any moment."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from imaging import LiquidLensError
from imaging.collection import Place
from serve.batch import tables
from serve.batch.engine import Options, predict
from serve.batch.inputs import Inputs
from serve.batch.journal import Job, Journal
from serve.batch.tables import Row
from serve.predictor import Predictor

#: Errors that a summary quotes.
_QUOTED = 5


@dataclass
class Summary:
    """What a table holds.  scans: all rows.  errors: those with an error, of which the first few are quoted.
    predicted, seconds: how many rows this run added, and in what time."""

    scans: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    abstained: int = 0
    ood: int = 0
    errors: int = 0
    quoted: list[str] = field(default_factory=list)
    predicted: int = 0
    seconds: float = 0.0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, counted as they pass."""
        for row in rows:
            self.scans += 1
            if row["error"] is None:
                self.labels[row["label"]] += 1
                self.abstained += row["abstained"]
                self.ood += row["ood"]
            else:
                self.errors += 1
                if len(self.quoted) < _QUOTED:
                    self.quoted.append(row["error"])
            yield row


@dataclass(frozen=True)
class State:
    """How far a job is.  places: of the `of` places of scans, those that are done.  rows: kept so far, those of earlier
    runs included.  predicted, errors: rows of this run, and those with an error among them."""

    places: float
    of: int
    rows: int
    predicted: int
    errors: int


def run(
    predictor: Predictor,
    inputs: Inputs,
    out: Path,
    options: Options,
    *,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[State], None] = lambda state: None,
) -> Summary:
    """Predict all scans and write their table, whole, when all is done; rows are kept in a journal until then.

    out: the table; its ending tells the format.  resume: go on with what an interrupted run left; if there is nothing
    left to do, the table stays as it is.  overwrite: start anew, whatever is there.  say: is told how far it is.

    Raises LiquidLensError, before any scan is read, if table or journal are there and neither is set, if they are of
    another job, and if the folder cannot be written.  An error later on leaves the rows so far to be resumed.
    """
    summary, job, started = Summary(), job_of(predictor, inputs), time.perf_counter()
    if is_done(out, job, resume, overwrite):
        for _ in summary.watch(tables.rows(out)):
            pass
        return summary
    _check_parts(parts_of(out), overwrite)
    journal = Journal(journal_of(out), job, anew=overwrite)
    try:
        if journal.rows and not resume:
            raise LiquidLensError(
                f"{journal.path} holds {journal.rows:,} rows of an unfinished run: go on with it by --resume, or start "
                "anew with --overwrite."
            )
        skipped, places, predicted, errors = 0, 0.0, 0, 0

        def left() -> Iterator[tuple[int, Place]]:
            nonlocal skipped
            for number, place in inputs:
                rest = journal.left(place)
                if rest is not None:
                    yield number, rest
                else:
                    skipped += 1

        say(State(0, inputs.count, journal.rows, 0, 0))
        for window in predict(predictor, left(), options):
            journal.append(window.rows, window.progress)
            places += window.places
            predicted += len(window.rows)
            errors += sum(row["error"] is not None for row in window.rows)
            say(State(skipped + places, inputs.count, journal.rows, predicted, errors))
        tables.write(out, tables.columns(job.labels), summary.watch(journal.read()))
        journal.remove()
    finally:
        journal.close()
    summary.predicted, summary.seconds = predicted, time.perf_counter() - started
    return summary


def is_done(out: Path, job: Job, resume: bool, overwrite: bool) -> bool:
    """Whether a table is there that this job would write.  Raises LiquidLensError if it must not be written."""
    tables.check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if overwrite or not out.exists() or (resume and journal_of(out).exists()):
        return False
    if not resume:
        raise LiquidLensError(f"{out} is there already: start anew with --overwrite, or name another --out.")
    row = next(tables.rows(out), None)
    if row is not None:
        job.check(replace(job, model=row["model"], model_sha256=row["model_sha256"]), out)
    return row is not None


def journal_of(out: Path) -> Path:
    """The journal of a table lies beside it."""
    return out.with_name(f"{out.name}.journal")


def parts_of(out: Path) -> Path:
    """So does the folder of the parts that a cluster makes."""
    return out.with_name(f"{out.name}.parts")


def _check_parts(folder: Path, overwrite: bool) -> None:
    if overwrite and (folder / "job.json").exists():
        shutil.rmtree(folder)
    if folder.exists():
        raise LiquidLensError(
            f"{folder} is of an unfinished run with --engine ray: go on with it so, or start anew with --overwrite."
        )


def job_of(predictor: Predictor, inputs: Inputs) -> Job:
    manifest = predictor.manifest
    return Job(manifest.model, predictor.sha256, manifest.labels, str(inputs.shard))
