"""The reproduction study: a paper's models on its datasets, seed after seed, as one table that grows with every run.

The table is OUT/PAPER.csv.  A run that has a line in it is not trained again, on no machine; one that was interrupted
goes on from its run folder.  So a study can be stopped at any time, and the same command goes on.
"""

import fcntl
import functools
import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from liquidlens import memory
from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets import load
from liquidlens.train.loop import precision
from liquidlens.train.loop.fit import InterruptedTrainingError, resolve, train
from liquidlens.train.names import Network, Rule
from liquidlens.train.recipes import settings_for
from liquidlens.train.run import RunRecipe
from liquidlens.train.studies.plans import Trial, plan, selected
from liquidlens.train.studies.published import published
from liquidlens.train.studies.results import ResultsTable, curves_of, keep_curves, tables_of


@dataclass(frozen=True)
class Run:
    """One run of a study.  changes: those of its trial and of the study; key: what its line has under `results.KEY`."""

    trial: Trial
    changes: dict[str, Any]
    seed: int
    folder: Path
    key: tuple[str, ...]

    def __str__(self) -> str:
        dataset, _, model, rule, seed = self.key
        return f"{model} on {dataset}, {rule}, seed {seed}"


@dataclass(frozen=True)
class Outcome:
    """How a study ended: its table, how many runs were not begun, and a sentence for each that failed."""

    table: Path
    left: int
    failures: tuple[str, ...]


def study(
    paper: str,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    jobs: int = 2,
    budget_hours: float | None = None,
    changes: dict[str, Any] | None = None,
    out: str | Path = "docs/results",
    runs: str | Path = "runs",
    data_root: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Train what the table ``OUT/PAPER.csv`` lacks of a paper's study, `jobs` runs at a time, each on one thread.

    datasets, models: see `plans.selected`.  budget_hours: no run is begun later than this.  changes: other values
    for fields of the recipes.  say: takes a line about every run that ends.

    A run that fails does not end the study.  Raises LiquidLensError before anything is trained if something does not
    fit together or the table is damaged, and InterruptedTrainingError if somebody interrupts it.
    """
    started = time.monotonic()
    if jobs < 1:
        raise LiquidLensError(f"A study takes at least one process, not --jobs {jobs}.")
    trials = selected(paper, datasets, models)
    table, *shared = tables_of(paper, out)
    grid = _grid(trials, seeds, changes or {}, Path(runs), data_root)
    done = table.finished().union(*(other.finished() for other in shared))
    waiting = deque(run for run in grid if run.key not in done)
    say(f"{len(grid)} runs, {len(grid) - len(waiting)} of them are in {table.path}.")
    for chosen in {run.changes.get("precision", "float32") for run in waiting}:
        for sentence in precision.notes(chosen):
            say(f"Note: {sentence}")

    task = functools.partial(_finish, paper=paper, table=table, data_root=data_root)
    busy: dict[Any, tuple[_Worker, Run]] = {}
    idle: list[_Worker] = []
    failures: list[str] = []
    try:
        while True:
            in_time = budget_hours is None or time.monotonic() - started < 3600 * budget_hours
            while waiting and len(busy) < jobs and in_time:
                run = waiting.popleft()
                if run.key in table.finished():  # by now: another study may fill the same table
                    continue
                worker = idle.pop() if idle else _Worker(task)
                worker.connection.send(run)
                busy[worker.connection] = worker, run
            if not busy:
                break
            for connection in wait(list(busy)):
                worker, run = busy.pop(connection)
                answer = worker.answer()
                if worker.process.is_alive():
                    idle.append(worker)
                if isinstance(answer, str):
                    failures.append(f"{run}: {answer}")
                ended = "failed" if isinstance(answer, str) else _summary(answer)
                say(f"{run}: {ended}; {len(waiting) + len(busy)} left")
    except KeyboardInterrupt:
        left = len(waiting) + len(busy)
        raise InterruptedTrainingError(f"Interrupted, {left} left: the same command goes on from there.") from None
    finally:
        for worker in (*idle, *(worker for worker, _ in busy.values())):
            worker.process.kill()
    return Outcome(table.path, len(waiting), tuple(failures))


def _grid(trials: Sequence[Trial], seeds: Sequence[int], changes: dict[str, Any], runs: Path, data_root) -> list[Run]:
    """All runs in their order: seed by seed, trial by trial.  Raises LiquidLensError if one of them cannot be."""
    loaded = {data: load(data, data_root) for data in dict.fromkeys(trial.data for trial in trials)}
    recipes: list[tuple[Trial, RunRecipe]] = []
    for trial in trials:
        settings = settings_for(trial.model, trial.recipe, {**dict(trial.changes), **changes})
        dataset = loaded[trial.data]
        seed = max(seeds, default=0)
        recipes.append((trial, resolve(trial.model, trial.data, dataset, settings, seed, trial.flags, trial.size)))
    grid = []
    for seed in seeds:
        for trial, recipe in recipes:
            folder = runs / recipe.model_copy(update={"seed": seed}).name
            key = (loaded[trial.data].name, recipe.dataset_md5, str(recipe.network), str(recipe.rule), str(seed))
            grid.append(Run(trial, {**dict(trial.changes), **changes}, seed, folder, key))
    return grid


def _summary(row: dict[str, Any]) -> str:
    """What one reads of a finished run."""
    column = plan(row["paper"]).reported
    network, rule = Network.parse(row["model"]), Rule.parse(row["recipe"])
    printed = published(row["paper"], network.model, row["dataset"], rule.recipe).get(column)
    theirs = "none is published" if printed is None else f"published {printed.value:.3f}"
    figure = column.split("_", 1)[1].replace("_", " ").replace("auc", "AUC")
    return f"{figure} {row[column]:.3f}, {theirs}; {row['epochs']} epochs, {row['seconds']:.0f} s"


# --- In the worker processes ---------------------------------------------------------------------------------


class _Worker:
    """A process of one thread that does a task for one run after another."""

    def __init__(self, task: Callable[[Run], Any]):
        context = multiprocessing.get_context("spawn")
        os.environ["OMP_NUM_THREADS"] = "1"  # several processes of several threads get in each other's way
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        self.process.start()
        theirs.close()

    def answer(self) -> Any:
        """What the task returned, or a sentence if the process has ended instead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return f"Its process ended with exit code {self.process.exitcode}, perhaps for want of memory."


def _serve(connection: Connection, task: Callable[[Run], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches all processes of a terminal; the study decides
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    memory.keep_all()
    with suppress(EOFError):
        while True:
            connection.send(task(connection.recv()))
            gc.collect()  # a trainer and its data refer to each other: gigabytes, after some runs


def _end_with_the_study() -> None:
    """A worker that outlived a killed study would write into the run folder that the next one goes on with."""
    study = multiprocessing.parent_process()
    assert study is not None
    wait([study.sentinel])
    os._exit(1)


def _finish(run: Run, paper: str, table: ResultsTable, data_root) -> dict[str, Any] | str:
    """Train to the end and add the line to the table; returns the line's cells, or why there is none."""
    try:
        with _claimed(run.folder):
            trial = run.trial
            folder = train(
                trial.model,
                trial.data,
                trial.recipe,
                seed=run.seed,
                changes=run.changes,
                flags=trial.flags,
                size=trial.size,
                data_root=data_root,
                runs=run.folder.parent,
                progress=False,
                threads=torch.get_num_threads(),
            )
            row = table.cells(paper, run.key, plan(paper).reported, torch.get_num_threads(), folder)
            if plan(paper).curves:
                keep_curves(folder, plan(paper).curves, curves_of(row, table.path.parent / "curves"))
            table.append(row)
            return row
    except LiquidLensError as error:
        return str(error)
    except Exception as error:  # whatever it is, the other runs go on
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other studies out of a run folder; a claim ends with its process.  Raises LiquidLensError if one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LiquidLensError(f"Another study is training in {folder}.") from None
        yield
    finally:
        os.close(descriptor)
