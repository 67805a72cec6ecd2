"""The predictor: one exported file, loaded on a device and ready to judge scans.  No torch, no onnx."""

import contextlib
import functools
import hashlib
import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens import imaging
from liquidlens.cores import usable_cores
from liquidlens.errors import LiquidLensError, first_line
from liquidlens.files import beside
from liquidlens.imaging import Scan
from liquidlens.manifest import Manifest
from liquidlens.serve.predict import devices, fitting, pretrained
from liquidlens.serve.predict.bounded_run import Inputs, Outputs, Replay, run
from liquidlens.serve.predict.prediction import Prediction, conclude
from liquidlens.serve.predict.presentation import presented
from liquidlens.signing import verified

#: CUDA graphs that are kept at a time, one for each shape.
REPLAYS = 4
#: Scans of one run where nobody says how many, and their pixels together, at most: what a layer hands to the next one
#: then stays in a core's cache.  A rule, and nothing measured, so that the same scans make the same batches everywhere.
SCANS, PIXELS = 8, 2**17
#: Scans of one run on a GPU, which wants many.
SCANS_ON_GPU = 32
#: From so many pixels on, runs are made one after the other, on all threads: resizing takes 16 bytes for each pixel.
LARGE = 2**22
#: What a predictor judges: a scan, its pixels as `Scan.pixels` has them, or a file as `imaging.read` reads it.
Given = Scan | NDArray | str | Path
#: A line of ``SHA256SUMS``, also as ``sha256sum -b`` writes it.
_SUM = re.compile(r"\\?(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>.+)|\s*|#.*")


class Predictor:
    """Loads one ``.onnx`` file on a device, and runs it once, so that the first scan is not slower than the others.

    path, sha256: where the file is, and the SHA-256 of its bytes.
    manifest: what it is.
    session: ONNX Runtime's.
    device: where it runs, ``cpu`` or ``cuda:0 NVIDIA H100``.
    nodes: how many nodes of the graph each of ONNX Runtime's providers runs.
    lanes: how many runs `predict_many` makes side by side: on the CPU as many as there are threads, each on one.
    replays: whether scans are run as CUDA graphs once their shape comes again: on CUDA, in the profile ``unrolled``.
    on_answer: is told every answer, if it is set: what a server counts.

    All methods may be called by several threads at once.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        threads: int | None = None,
        public_key: Path | None = None,
        sha256: str | None = None,
    ):
        """path: an exported file, a bundle's folder, or the name of a pretrained model.
        device: ``cpu``, ``cuda``, ``tensorrt``, or ``auto``, which takes CUDA where it works and else the CPU (small
            liquid models may be faster there: ``make gpu-check`` measures).
        threads: of the CPU, all for one scan, one each for many; by default one per core, of which a single scan takes
            up to `devices.default_threads()`.
        public_key: the file's bundle has to be signed by its owner, see `liquidlens.signing`.
        sha256: the file has to be the one with this digest.

        Raises LiquidLensError if the file is missing, is not ONNX, carries no manifest, is not signed by that key, or
        differs from the ``SHA256SUMS`` beside it; its subclass `devices.DeviceError` if the device cannot be had.
        """
        self.path = pretrained.find(path)
        self.on_answer: Callable[[Prediction], None] | None = None
        if threads is not None and threads < 1:
            raise LiquidLensError(f"The number of threads is a whole number from 1, not {threads}.")
        wanted = devices.candidates(device)
        if not self.path.is_file():
            raise LiquidLensError(f"{self.path}: there is no such file.")
        self._content = self.path.read_bytes() if public_key is None else verified(self.path, public_key)
        self.sha256 = hashlib.sha256(self._content).hexdigest()
        if sha256 not in (None, self.sha256):
            raise LiquidLensError(
                f"{self.path} is another file here than the one that was asked for (SHA-256 {self.sha256[:12]}..., not "
                f"{sha256[:12]}...)."
            )
        check_sum(self.path, self.sha256)
        for candidate in wanted:
            try:
                self._open(candidate, threads)
                break
            except devices.DeviceError:
                if candidate == wanted[-1]:
                    raise
            except LiquidLensError as error:
                if candidate == wanted[-1]:
                    raise LiquidLensError(f"{self.path}: {error}") from error

    def predict(self, scan: Given, name: str | None = None) -> Prediction:
        """Judge one scan.  Of a stranger's file, give ``imaging.read_safely(file)``.

        scan: a file; a `Scan`; or pixels as a `Scan` has them, in the input contract's units: (rows, columns), or
        (slices, rows, columns), from inferior to superior, anterior to posterior, and the patient's right to left.
        name: what errors call it, by default the file.
        Raises LiquidLensError if the file cannot be read, if the scan is not what the model reads (an image for a model
        of volumes, an MR for one of CT), and if the pixels are so large that the answer is not a number.
        """
        started = time.perf_counter()
        name = name or (str(scan) if isinstance(scan, str | Path) else "the scan")
        (answer,) = self._judge([self._read(scan, name)], [name], started)
        if isinstance(answer, LiquidLensError):
            raise answer
        return answer

    def predict_many(
        self, scans: Sequence[Given], names: Sequence[str] | None = None, batch_size: int | None = None
    ) -> list[Prediction | LiquidLensError]:
        """Judge scans in batches of equal shape, several of them side by side (`lanes`); answers come in the order of
        `scans`.  All are read before the first is judged.

        names: what errors call the scans, by default ``scan 0``, ``scan 1``, ... and the files.
        batch_size: scans of one run, at most; by default what `together` says.
        A scan that cannot be judged has its error in its place, and the others their answers.
        """
        names = names or [str(x) if isinstance(x, str | Path) else f"scan {i}" for i, x in enumerate(scans)]
        answers: dict[int, Prediction | LiquidLensError] = {}
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        read: dict[int, Scan] = {}
        for i, given in enumerate(scans):
            try:
                read[i] = self._read(given, names[i])
                groups[read[i].pixels.shape].append(i)
            except LiquidLensError as error:
                answers[i] = error
        batches = [
            batch for shape, group in groups.items() for batch in _cut(group, batch_size or self.together(shape))
        ]
        beside = self.lanes > 1 and len(batches) > 1

        def judge(batch: list[int]) -> list[Prediction | LiquidLensError]:
            return self._judge([read[i] for i in batch], [names[i] for i in batch], time.perf_counter(), beside)

        for batch, judged in zip(batches, (self._pool.map if beside else map)(judge, batches), strict=True):
            answers.update(zip(batch, judged, strict=True))
        return [answers[i] for i in range(len(scans))]

    def together(self, shape: tuple[int, ...]) -> int:
        """How many scans of this shape make one run, if nobody says otherwise."""
        return SCANS_ON_GPU if self.device != "cpu" else max(1, min(SCANS, PIXELS // math.prod(shape)))

    def run(
        self, scans: NDArray, spacing: NDArray | None = None, centre: NDArray | None = None, beside: bool = False
    ) -> Outputs:
        """The outputs by name for raw scans of one size: (batch, slices, rows, columns), (batch, rows, columns), or
        (batch, rows, columns, 3) in colour.

        spacing, centre: (batch, 3), of a model that looks at a field of view: millimetres between slices, rows,
        columns, and the voxel in its middle, counted from 0; NaN or None is the model's own spacing, and the middle of
        the scan.  beside: other runs are made meanwhile, so this one takes one thread; large ones wait for each other
        instead.  Raises LiquidLensError if the model takes no spacing or centre, and if ONNX Runtime cannot run them.
        """
        scans = np.ascontiguousarray(scans, np.float32)
        inputs = {"scan": scans, **self._where(len(scans), spacing=spacing, centre=centre)}
        try:
            if beside and scans.size < LARGE:
                return run(self._narrow(), self._names, inputs)
            with self._one_after_the_other if beside else contextlib.nullcontext():
                replay = self._replay(scans.shape)
                return run(self.session, self._names, inputs) if replay is None else replay.run(scans)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            raise LiquidLensError(f"ONNX Runtime cannot run {self.path} ({first_line(error)}).") from error

    def _where(self, batch: int, **given: NDArray | None) -> Inputs:
        """The further inputs of a model that looks at a field of view."""
        if self.manifest.input.spacing is None:
            if any(values is not None for values in given.values()):
                raise LiquidLensError(
                    f"{self.manifest.model} reads scans as wholes: it takes no spacing and no centre."
                )
            return {}
        inputs = {}
        for name, values in given.items():
            inputs[name] = np.full((batch, 3), np.nan, np.float32)
            inputs[name][:] = np.nan if values is None else values
        if (inputs["spacing"] <= 0).any() or np.isinf(inputs["spacing"]).any():
            raise LiquidLensError("A spacing is three lengths in millimetres, above 0.")
        return inputs

    def _read(self, given: Given, name: str) -> Scan:
        """The scan that was given.  Raises LiquidLensError if it cannot be read, or is not what the model reads."""
        if isinstance(given, str | Path):
            scan = imaging.read(given, colour=self.manifest.input.channels == 3)
        elif isinstance(given, Scan):
            scan = given
        else:
            try:
                array = np.asarray(given)
                scan = Scan(array.astype(np.float32, casting="same_kind" if array.dtype.kind in "fc" else "unsafe"))
            except LiquidLensError as error:
                raise LiquidLensError(f"{name}: {error}") from error
            except (TypeError, ValueError) as error:
                what = getattr(given, "dtype", type(given).__name__)
                raise LiquidLensError(f"{name}: give a file, a Scan or an array of numbers, not {what}.") from error
        self._check(scan, name)
        return scan

    def _open(self, device: devices.Device, threads: int | None) -> None:
        """Load the file on one device, see that graph and manifest agree, and warm up."""
        self.session = devices.open_session(self._content, device, threads)
        self.nodes = devices.nodes(self.session)
        self.device = devices.describe(device)
        self.lanes = (threads or usable_cores()) if device == "cpu" else 1
        self._one_after_the_other, self._own = threading.Lock(), threading.local()
        self.manifest = Manifest.from_metadata(self.session.get_modelmeta().custom_metadata_map)
        if self.manifest.profile == "step":
            raise LiquidLensError("it reads one slice at a time (profile step); give the bundle's model.onnx.")
        self._names = [output.name for output in self.session.get_outputs()]
        # A field of view has as many voxels as its spacing says: no fixed shapes that could be recorded.
        self.replays = device == "cuda" and self.manifest.profile == "unrolled" and self.manifest.input.spacing is None
        self._last_shape: tuple[int, ...] = ()
        self._new_replay = functools.lru_cache(REPLAYS)(functools.partial(self._record, device))
        self._warm_up()

    def _warm_up(self) -> None:
        expects = self.manifest.input
        colour = (3,) if expects.channels == 3 else ()
        outputs = self.run(np.zeros((1, *expects.size, *colour), np.float32))
        expected = {"probabilities": (1, len(self.manifest.labels)), "ood": (1,)}
        for name, shape in expected.items():
            found = outputs[name].shape if name in outputs else "missing"
            if found != shape:
                raise LiquidLensError(f"the graph does not fit its manifest: output {name} is {found}, not {shape}.")

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.lanes)

    def _narrow(self) -> Any:
        """A session for the runs of this thread, which take no other: in one for all, runs get in each other's way."""
        if not hasattr(self._own, "session"):
            self._own.session = devices.open_session(self._content, "cpu", threads=1)
        return self._own.session

    def _replay(self, shape: tuple[int, ...]) -> Replay | None:
        """The CUDA graph for scans of this shape, made when a shape comes twice in a row; None if there is none."""
        again, self._last_shape = shape == self._last_shape, shape
        if not (self.replays and again):
            return None
        try:
            return self._new_replay(shape)
        except LiquidLensError:  # some node is not on the GPU; without a graph it runs as well, only slower
            self.replays = False
            return None

    def _record(self, device: devices.Device, shape: tuple[int, ...]) -> Replay:
        outputs = run(self.session, self._names, {"scan": np.zeros(shape, np.float32)})
        return Replay(self._content, device, self.session.get_inputs()[0].shape, shape, outputs)

    def _check(self, scan: Scan, name: str) -> None:
        """Raise LiquidLensError if the model does not read scans of this kind."""
        if (why := fitting.refusal(self.manifest, scan)) is not None:
            raise LiquidLensError(f"{name}: {why}")

    def _judge(
        self, scans: Sequence[Scan], names: Sequence[str], started: float, beside: bool = False
    ) -> list[Prediction | LiquidLensError]:
        """Judge scans of one shape that passed `_check`, in one run.  beside: as of `run`."""
        pixels = [presented(self.manifest, scan) for scan in scans]
        batch = np.stack(pixels) if len(scans) > 1 else pixels[0][None]
        where = _places(scans) if self.manifest.input.spacing is not None else {}
        prepared = time.perf_counter()
        try:
            outputs = self.run(batch, **where, beside=beside)
        except LiquidLensError as error:
            if len(scans) == 1:
                return [error]
            alone = zip(scans, names, strict=True)  # perhaps they are too large only together
            return [self._judge([scan], [name], time.perf_counter(), beside)[0] for scan, name in alone]
        ended = time.perf_counter()
        stages = {"prepare": prepared - started, "run": ended - prepared, "total": ended - started}
        milliseconds = {stage: 1000 * seconds / len(scans) for stage, seconds in stages.items()}
        answers: list[Prediction | LiquidLensError] = []
        for i, (scan, name) in enumerate(zip(scans, names, strict=True)):
            own = {output: values[i] for output, values in outputs.items()}
            try:
                notes = (*scan.notes, *fitting.notes(self.manifest, scan))
                answer = conclude(self.manifest, own, dict(milliseconds), self.device, notes)
            except LiquidLensError as error:
                answers.append(LiquidLensError(f"{name}: {error}"))
                continue
            answers.append(answer)
            if self.on_answer is not None:
                self.on_answer(answer)
        return answers


def _cut(group: list[int], size: int) -> Iterator[list[int]]:
    return (group[first : first + size] for first in range(0, len(group), size))


def _places(scans: Sequence[Scan]) -> Inputs:
    """Spacing and centre of scans, NaN where they do not say."""
    return {
        name: np.array([getattr(scan, name) or (np.nan,) * 3 for scan in scans], np.float32)
        for name in ("spacing", "centre")
    }


def check_sum(path: Path, found: str) -> None:
    """Raise LiquidLensError if the ``SHA256SUMS`` beside a file says another SHA-256 than `found`, or is not
    understood."""
    for sums in beside(path, ("SHA256SUMS",)):
        for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = _SUM.fullmatch(line)
            if entry is None:
                raise LiquidLensError(f"{sums}: the line {line[:80]!r} is not as `sha256sum` writes it.")
            if entry["name"] == path.name and entry["digest"].lower() != found:
                raise LiquidLensError(f"{path} is not the file that was exported: its SHA-256 differs from {sums}.")
