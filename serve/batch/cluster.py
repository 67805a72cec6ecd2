"""The same job on a Ray cluster: a pool of actors, each with the model and readers of its own, behind Ray Data.

The scans are cut into parts, and each part becomes a Parquet file on the file system that all nodes share, written
whole or not at all.  An actor that dies is replaced and its part done again; an interrupted job goes on with the parts
that are missing.  At the end the parts are joined into the table, in the order of the inputs.
"""

import functools
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from liquidlens import memory
from liquidlens.errors import LiquidLensError
from liquidlens.files import lock
from liquidlens.imaging.collection import Place
from liquidlens.serve.batch import tables
from liquidlens.serve.batch.engine import Options, columns_of, predict
from liquidlens.serve.batch.inputs import Inputs
from liquidlens.serve.batch.job import State, Summary, is_done, job_of, journal_of, parts_of
from liquidlens.serve.batch.journal import Job, opened
from liquidlens.serve.batch.ray_session import cause_of, import_ray, session
from liquidlens.serve.batch.table_parts import cut, file_of, open_folder, rows_of
from liquidlens.serve.predict.predictor import Predictor

KEPT = "What is done is kept, and --resume goes on from there."


@dataclass(frozen=True)
class Cluster:
    """Where a job runs.

    address: of an existing Ray cluster; None starts one on this machine.
    actors: how many; None is one for every two cores, or one for every GPU if the model is to run on one.
    """

    address: str | None = None
    actors: int | None = None


def run(
    predictor: Predictor,
    inputs: Inputs,
    out: Path,
    options: Options,
    cluster: Cluster,
    *,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[State], None] = lambda state: None,
) -> Summary:
    """As `serve.batch.job.run`, with the parts in a folder beside the table instead of a journal.

    predictor: what the actors load as well, from the same path; on a GPU each, if it is on one here, else on the CPU.
    options, threads: of each actor, by default one reader and one thread.  The nodes must see model, scans and table
    under the paths that they have here.

    Raises LiquidLensError as well if Ray is not installed or its cluster cannot be joined, and if a node does not see
    the same files.
    """
    summary, job, started = Summary(), job_of(predictor, inputs), time.perf_counter()
    folder = parts_of(out)
    if not (resume and folder.exists()) and is_done(out, job, inputs, resume, overwrite):
        summary.count(tables.rows(out))
        return summary
    with _alone(journal_of(out), overwrite):
        ray = import_ray(cluster.address)
        parts = [json.dumps(part, default=asdict) for part in cut(inputs, predictor.manifest.input, options.budget)]
        open_folder(folder, job, parts, resume, overwrite)
        files = [file_of(folder, number) for number in range(len(parts))]
        found = [rows_of(file) for file in files]
        work = [{"part": number, "places": parts[number]} for number, rows in enumerate(found) if rows is None]
        judge = {
            "model": predictor.path.absolute(),
            "job": job,
            "device": "cpu" if predictor.device == "cpu" else device,
            "threads": threads or 1,
            "options": replace(options, readers=options.readers or 1),
            "folder": folder.absolute(),
            "here": os.getcwd(),
        }
        done, kept, predicted, errors = len(parts) - len(work), sum(rows or 0 for rows in found), 0, 0
        say(State(done, len(parts), kept, predicted, errors))
        try:
            with session(ray, cluster.address) if work else nullcontext():
                for part in _judged(ray, work, judge, cluster.actors) if work else ():
                    if part["failure"]:
                        raise LiquidLensError(f"{part['failure']} {KEPT}")
                    done, predicted, errors = done + 1, predicted + int(part["rows"]), errors + int(part["errors"])
                    say(State(done, len(parts), kept + predicted, predicted, errors))
        except LiquidLensError:
            if not any(file.exists() for file in files):  # nothing to go on with
                shutil.rmtree(folder)
            raise
        joined = (row for file in files for row in tables.rows(file))
        tables.write(out, columns_of(predictor), summary.watch(joined))
        shutil.rmtree(folder)
    summary.predicted, summary.seconds = predicted, time.perf_counter() - started
    return summary


class Judge:
    """An actor: the model, loaded once, and a part of the scans at a time."""

    def __init__(
        self, model: Path, job: Job, device: str, threads: int, options: Options, folder: Path, here: str
    ) -> None:
        """here: the folder in which the job was started, to which the paths of scans are relative."""
        self._model, self._device, self._threads, self._here = model, device, threads, here
        self._job, self._options, self._folder = job, options, folder

    def __call__(self, batch: dict[str, Any]) -> dict[str, list]:
        """Do one part, {"part": [its number], "places": [its places]}; returns how many rows and errors it has, and
        what kept it from being done: an error that is raised would reach the person as a page of Ray's."""
        (part,), (places,) = batch["part"], batch["places"]
        seen, failure = Summary(), ""
        try:
            self._write(int(part), json.loads(str(places)), seen)
        except LiquidLensError as error:
            failure = f"On node {platform.node()}: {error}"
        except OSError as error:
            failure = f"On node {platform.node()}: {error.filename or 'the system'}: {error.strerror or error}."
        return {"part": [part], "rows": [seen.scans], "errors": [seen.errors], "failure": [failure]}

    @functools.cached_property
    def _predictor(self) -> Predictor:
        memory.keep_freed()
        os.chdir(self._here)
        return Predictor(self._model, self._device, self._threads, sha256=self._job.model_sha256)

    def _write(self, part: int, places: list[tuple[int, dict[str, Any]]], seen: Summary) -> None:
        numbered = [(number, Place(**place)) for number, place in places]
        windows = predict(self._predictor, numbered, self._options, self._job.shard)
        rows = seen.watch(row for window in windows for row in window.rows)
        # under a name of its own, as an actor that was only believed to be dead may be writing the same part
        written = self._folder / f"{uuid.uuid4().hex}.parquet"
        tables.write(written, columns_of(self._predictor), rows)
        os.replace(written, file_of(self._folder, part))


def _judged(
    ray: Any, work: list[dict[str, Any]], judge: dict[str, Any], actors: int | None
) -> Iterator[dict[str, Any]]:
    """What `Judge` returns for each part, as they are done."""
    on_gpu = judge["device"] != "cpu"
    unit = "GPU" if on_gpu else "CPU"
    units = int(ray.cluster_resources().get(unit, 0))
    if not units:
        raise LiquidLensError(f"The Ray cluster has no {unit}.")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a part may take its time
    context.raise_original_map_exception = True
    pool = min(actors or max(1, units if on_gpu else units // 2), len(work))
    try:
        judged = ray.data.from_items(work, override_num_blocks=len(work)).map_batches(
            Judge,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=pool, max_tasks_in_flight_per_actor=1),
            fn_constructor_kwargs=judge,
            num_cpus=1,
            num_gpus=1 if on_gpu else 0,
        )
        yield from judged.iter_rows()
    except ray.exceptions.RayError as error:
        raise LiquidLensError(f"Ray gave up ({cause_of(error)}). {KEPT}") from error


@contextmanager
def _alone(journal: Path, overwrite: bool) -> Iterator[None]:
    """Keep other jobs from this table, by the journal that one without a cluster would write."""
    with opened(journal) as file:
        lock(file, journal)
        if overwrite:
            file.truncate(0)
        elif file.tell():
            raise LiquidLensError(
                f"{journal} is of an unfinished run without --engine ray: go on with it so, or start anew with "
                "--overwrite."
            )
        try:
            yield
        finally:
            journal.unlink()
