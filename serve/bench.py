"""Timing exported files: how long they take to load, and to answer, on the providers that this machine really has.

All files and providers take turns, run by run, so that whatever else the machine does meanwhile slows all of them
alike.  No torch, no onnx.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError, first_line
from liquidlens.manifest import InputContract, Manifest
from liquidlens.serve.predict.devices import CPU, CUDA
from liquidlens.serve.predict.devices import session as open_session

LOADS = 5
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


@dataclass(frozen=True)
class Row:
    """What one file takes on one provider at one batch size.

    unit: what is counted, ``scan``, or ``slice`` for a file of the profile ``step``.
    load_milliseconds: the median of five loads, reading the file included.
    p50_milliseconds, p99_milliseconds: quantiles of the time of one run, copies to the device and back included.
    fastest_milliseconds: the fastest run, which other work on the machine disturbed least.
    per_second: units per second over all runs.
    beside_per_second: the same of runs side by side, each on one thread in a session of its own, as
    `Predictor.predict_many` makes them; None where they were not asked for.
    """

    file: Path
    model: str
    bytes: int
    provider: str
    batch_size: int
    unit: str
    load_milliseconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    fastest_milliseconds: float
    per_second: float
    beside_per_second: float | None = None


@dataclass(frozen=True)
class _Candidate:
    """One file on one provider."""

    file: Path
    provider: str
    session: onnxruntime.InferenceSession
    manifest: Manifest


def measure(
    paths: Iterable[str | Path],
    batch_sizes: Sequence[int] = (1, 8, 32),
    threads: int = 1,
    repeats: int | Mapping[int, int] = 50,
    providers: Sequence[str] | None = None,
    beside: int = 1,
) -> list[Row]:
    """Load and run every file `repeats` times per batch size, or as often as that says of each batch size, with
    generated scans of its input contract's size.

    paths: ``.onnx`` files, and folders, which stand for all their ``model*.onnx``.  threads: what ONNX Runtime may use
    on the CPU.  providers: names that ONNX Runtime knows; by default the CPU, and CUDA where a session really gets it.
    beside: so many runs at once are timed as well, on the CPU, if they are more than one.

    Raises LiquidLensError for what is not there, is no ONNX file or has no manifest, and for a provider that was asked
    for and cannot be had.
    """
    often = repeats if isinstance(repeats, Mapping) else dict.fromkeys(batch_sizes, repeats)
    if min(*batch_sizes, threads, *often.values(), beside) < 1:
        raise LiquidLensError("Batch sizes, threads and repeats are whole numbers from 1.")
    files = [file for path in paths for file in _files(Path(path))]
    candidates = [
        candidate
        for file in files
        for provider in (providers or (CPU, CUDA))
        if (candidate := _candidate(file, provider, threads, required=providers is not None))
    ]
    loads: list[list[float]] = [[] for _ in candidates]
    for _ in range(LOADS):
        for times, candidate in zip(loads, candidates, strict=True):
            started = time.perf_counter()
            _session(candidate.file, candidate.provider, threads)
            times.append(1000 * (time.perf_counter() - started))
    rows = []
    for size in batch_sizes:
        runs = _timed_runs(candidates, size, often[size], beside)
        for candidate, load, (run, rounds) in zip(candidates, loads, runs, strict=True):
            rows.append(
                Row(
                    file=candidate.file,
                    model=candidate.manifest.model,
                    bytes=candidate.file.stat().st_size,
                    provider=candidate.provider,
                    batch_size=size,
                    unit=candidate.session.get_inputs()[0].name,
                    load_milliseconds=float(np.median(load)),
                    p50_milliseconds=float(np.percentile(run, 50)),
                    p99_milliseconds=float(np.percentile(run, 99)),
                    fastest_milliseconds=min(run),
                    per_second=1000 * size * len(run) / sum(run),
                    beside_per_second=1000 * size * beside * len(rounds) / sum(rounds) if rounds else None,
                )
            )
    return sorted(rows, key=lambda row: (files.index(row.file), row.provider != CPU, row.batch_size))


def _timed_runs(
    candidates: Sequence[_Candidate], batch_size: int, repeats: int, beside: int
) -> list[tuple[list[float], list[float]]]:
    """Of each candidate, the milliseconds of each run, and of each round of so many runs side by side."""
    feeds = [inputs(candidate.session, candidate.manifest.input, batch_size) for candidate in candidates]
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in candidates]
    many = [beside if beside > 1 and candidate.provider == CPU else 0 for candidate in candidates]
    own = [[_session(one.file, CPU, 1) for _ in range(number)] for one, number in zip(candidates, many, strict=True)]
    with ThreadPoolExecutor(beside) as lanes:
        for repeat in range(repeats + 2):  # the first two are for warming up: memory is laid out, kernels are chosen
            # Each turn starts with another one, so that nothing periodic on the machine hits always the same.
            turn = repeat % len(candidates)
            in_turn = list(zip(times, candidates, own, feeds, strict=True))
            for (runs, rounds), candidate, sessions, feed in in_turn[turn:] + in_turn[:turn]:
                runs.append(_milliseconds(candidate, [candidate.session], feed, map))
                if sessions:
                    rounds.append(_milliseconds(candidate, sessions, feed, lanes.map))
    return [(runs[2:], rounds[2:]) for runs, rounds in times]


def _milliseconds(
    candidate: _Candidate, sessions: Sequence[onnxruntime.InferenceSession], feed: dict[str, NDArray], each: Callable
) -> float:
    """What a run in every session takes, by `each`, which is ``map``, or that of a pool of threads."""
    started = time.perf_counter()
    try:
        list(each(lambda session: session.run(None, feed), sessions))
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        size = len(next(iter(feed.values())))
        raise LiquidLensError(
            f"{candidate.file}: {candidate.provider} cannot run it at batch size {size} ({first_line(error)})."
        ) from error
    return 1000 * (time.perf_counter() - started)


def inputs(session: onnxruntime.InferenceSession, contract: InputContract, batch_size: int) -> dict[str, NDArray]:
    """Inputs that a file may get: the pixels first, and for the profile ``step`` the memory it starts from.

    Masks hold a ball, half as wide as the scan: a network may pass over slices that hold nothing.  Grey pixels are
    0..255 at random, and CT numbers -1024..3071: legal, though they show nothing.  Spacing and centre of a field of
    view are NaN: the model's own, and the middle.
    """
    pixels, *memory = session.get_inputs()
    size = contract.size[1:] if pixels.name == "slice" else contract.size
    shape = (batch_size, *size, 3) if contract.channels == 3 else (batch_size, *size)
    low, high = (-1024, 3072) if contract.values == "hu" else (0, 256)
    if contract.values == "mask":
        along = np.meshgrid(*(np.linspace(-2, 2, length) for length in size), indexing="ij")
        ball = np.where(np.square(along).sum(0) < 1, np.float32(255), np.float32(0))
        values = np.broadcast_to(ball if contract.channels == 1 else ball[..., None], shape).copy()
    else:
        values = np.random.default_rng(0).integers(low, high, shape).astype(np.float32)
    feed = {pixels.name: values}
    for value in memory:
        lengths = (length if isinstance(length, int) else batch_size for length in value.shape)
        default = np.nan if value.name in ("spacing", "centre") else 0
        feed[value.name] = np.full(tuple(lengths), default, _TYPES[value.type])
    if "largest" in feed:
        feed["largest"] = values.max(tuple(range(1, values.ndim)))
    return feed


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("model*.onnx"))
        if not found:
            raise LiquidLensError(f"{path}: there is no model*.onnx in this folder; give a bundle or an .onnx file.")
        return found
    if not path.is_file():
        raise LiquidLensError(f"{path}: there is no such file.")
    return [path]


def _candidate(file: Path, provider: str, threads: int, required: bool) -> _Candidate | None:
    """The file on this provider; None if the machine has no such provider and it is not required."""
    session = None
    if provider in onnxruntime.get_available_providers():  # which proves nothing: see what the session gets
        session = _session(file, provider, threads)
    if session is None or session.get_providers()[0] != provider:
        if required:
            raise LiquidLensError(f"{file}: {provider} cannot be had on this machine; without it the CPU is measured.")
        return None
    try:
        manifest = Manifest.from_metadata(session.get_modelmeta().custom_metadata_map)
    except LiquidLensError as error:
        raise LiquidLensError(f"{file}: {error}") from error
    return _Candidate(file, provider, session, manifest)


def _session(file: Path, provider: str, threads: int) -> onnxruntime.InferenceSession:
    """A session that asks for the provider and may get the CPU instead."""
    try:
        return open_session(file.read_bytes(), [provider] if provider == CPU else [provider, CPU], threads)
    except LiquidLensError as error:
        raise LiquidLensError(f"{file}: {error}") from error
