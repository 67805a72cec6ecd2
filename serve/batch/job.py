"""The job: one table for all inputs, through a journal, so that it can be interrupted at any moment."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from liquidlens.errors import LiquidLensError
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.engine import Options, columns_of, predict, text
from liquidlens.serve.batch.inputs import Inputs
from liquidlens.serve.batch.journal import Job, Journal
from liquidlens.serve.batch.tables import Row
from liquidlens.serve.predict.predictor import Predictor

#: Errors that a summary quotes.
_QUOTED = 5


@dataclass
class Summary:
    """What a table holds.

    scans: how many rows.
    errors, quoted: how many have an error, and the first few of these.
    predicted, seconds: how many rows this run added, and in what time.
    """

    scans: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    abstained: int = 0
    ood: int = 0
    errors: int = 0
    quoted: list[str] = field(default_factory=list)
    predicted: int = 0
    seconds: float = 0.0

    def count(self, rows: Iterable[Row]) -> None:
        """Count rows that nobody else needs."""
        for _ in self.watch(rows):
            pass

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
    """How far a job is.

    places, of: how many places of scans are done, and how many there are.
    rows: kept so far, those of earlier runs included.
    predicted, errors: rows of this run, and those with an error among them.
    """

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
    left to do, the table stays as it is.  overwrite: start anew, whatever is there.  say: is given how far it is.

    Raises LiquidLensError, before any scan is read, if table or journal are there and neither is set, if they are of
    another job, and if the folder cannot be written.  An error later on leaves the rows so far to be resumed.
    """
    summary, job, started = Summary(), job_of(predictor, inputs), time.perf_counter()
    if is_done(out, job, inputs, resume, overwrite):
        summary.count(tables.rows(out))
        return summary
    parts = parts_of(out)
    _check_parts(parts, overwrite)
    journal = Journal(journal_of(out), job, anew=overwrite)
    try:
        if parts.exists():  # only now that no other process is at work on them
            shutil.rmtree(parts)
        if journal.rows and not resume:
            raise LiquidLensError(
                f"{journal.path} holds {journal.rows:,} rows of an unfinished run: go on with it by --resume, or start "
                "anew with --overwrite."
            )
        left = ((number, rest) for number, place in inputs if (rest := journal.left(number, place)))
        places = float(sum(journal.left(number, place) is None for number, place in inputs))
        predicted, errors = 0, 0
        say(State(places, inputs.count, journal.rows, 0, 0))
        for window in predict(predictor, left, options, job.shard):
            journal.append(window.rows, window.position)
            places += window.places
            predicted += len(window.rows)
            errors += sum(row["error"] is not None for row in window.rows)
            say(State(places, inputs.count, journal.rows, predicted, errors))
        kept = map(tables.with_task, journal.read())
        tables.write(out, columns_of(predictor), summary.watch(kept))
        journal.remove()
    finally:
        journal.close()
    summary.predicted, summary.seconds = predicted, time.perf_counter() - started
    return summary


def is_done(out: Path, job: Job, inputs: Inputs, resume: bool, overwrite: bool) -> bool:
    """Whether a table is there that this job would write.  Raises LiquidLensError if it must not be written."""
    tables.check(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise LiquidLensError(f"{out}: a file is in the place of its folder.") from None
    if overwrite or not out.exists() or (resume and journal_of(out).exists()):
        return False
    if not resume:
        raise LiquidLensError(
            f"{out} is there already: name another --out, or start anew with `liquidlens batch ... --overwrite`."
        )
    here = job  # an empty table does not say whose it is
    for row in tables.rows(out):
        here = Job(row["model"], row["model_sha256"], job.inputs, row["shard"])
        break
    job.check(here if _holds(out, inputs) else replace(here, inputs="others"), out)
    return True


def _holds(out: Path, inputs: Inputs) -> bool:
    """Whether a table has rows of these inputs, and of no others."""
    found = {(row["input"], row["path"], row.get("at") or "") for row in tables.rows(out)}
    places = [(number, text(place.path), text(place.where), place.first) for number, place in inputs]
    # Of a short array nothing may be left for a shard; the first scan of a place, or its error, is always somebody's.
    return {place[:3] for place in places if place[3] == 0} <= found <= {place[:3] for place in places}


def journal_of(out: Path) -> Path:
    """The journal of a table lies beside it."""
    return out.with_name(f"{out.name}.journal")


def parts_of(out: Path) -> Path:
    """So does the folder of the parts that a cluster makes."""
    return out.with_name(f"{out.name}.parts")


def _check_parts(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not (overwrite and (folder / "job.json").exists()):
        raise LiquidLensError(
            f"{folder} is of an unfinished run with --engine ray: go on with it so, or start anew with --overwrite."
        )


def job_of(predictor: Predictor, inputs: Inputs) -> Job:
    return Job(predictor.manifest.model, predictor.sha256, inputs.fingerprint, str(inputs.shard))
