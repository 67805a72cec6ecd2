"""What is fuzzed: functions that take any bytes and return, or end in a sentence; anything else is a finding."""

import functools
import importlib.util
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read, read_safely
from liquidlens.imaging.collection import Place, each
from liquidlens.imaging.read import split
from liquidlens.manifest import Manifest, metadata
from liquidlens.serve.batch import inputs
from liquidlens.serve.predict.prediction import conclude
from tests.fuzz import seeds

#: What a request may unpack to here.
UNPACKED = 2**20


@dataclass(frozen=True)
class Target:
    """run: takes an input in this process; says whether it was accepted.  seeds: inputs that are.
    contained: takes it as the product does, where decoders that may crash run in a process of their own; None where the
    product has no such process.  needs: a module that not every environment has."""

    run: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]
    contained: Callable[[bytes], bool] | None = None
    needs: str = "imaging"

    @property
    def here(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None


@functools.cache
def folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="liquidlens-fuzz-")


def written(name: str, data: bytes) -> Path:
    path = Path(folder().name) / name
    path.write_bytes(data)
    return path


def reader(name_of: Callable[[bytes], str], seeds: Callable[[], list[bytes]]) -> Target:
    """Reads a file as a person asks for it, one item of it, and its first scans as a batch does; in a worker, the first
    two."""

    def run(data: bytes) -> bool:
        path = written(name_of(data), data)
        found = [is_scan(functools.partial(read, path)), is_scan(functools.partial(read, f"{path}#0", colour=True))]
        for axes in (2, 3):
            found += [is_scan(item.read) for item in islice(each(Place(str(path)), axes=axes), 2)]
        return any(found)

    def contained(data: bytes) -> bool:
        path = written(name_of(data), data)
        return is_scan(lambda: read_safely(path)) | is_scan(lambda: read_safely(f"{path}#0", colour=True))

    return Target(run, seeds, contained)


def is_scan(ask: Callable[[], Any]) -> bool:
    """Whether a reader finds a scan; if not, it says why."""
    try:
        found = ask()
        scan = getattr(found, "scan", found)  # of a batch, an error comes as a scan does
    except LiquidLensError as error:
        scan = error
    if isinstance(scan, LiquidLensError):
        return refused(scan)
    if not isinstance(scan, Scan) or scan.pixels.dtype != np.float32 or "LEAK" in repr(scan.notes):
        raise AssertionError(f"{scan!r} is no scan")
    return True


def refused(error: LiquidLensError) -> bool:
    """False.  The error must be one line that says nothing of the patient whom the seeds name."""
    sentence = str(error)
    if "\n" in sentence or "^PATIENT" in sentence or not sentence.strip():
        raise AssertionError(f"{sentence!r} is no sentence for everybody's eyes") from error
    return False


def manifest(data: bytes) -> bool:
    """A manifest that is accepted is the same after a round trip, and an answer can be concluded with it."""
    try:
        found = Manifest.from_metadata(metadata(data.decode(errors="replace")))
    except LiquidLensError as error:
        return refused(error)
    if Manifest.from_metadata(found.to_metadata()).to_json() != found.to_json():
        raise AssertionError("the manifest is another one after a round trip")
    classes = len(found.labels)
    outputs = {
        "probabilities": np.full(classes, 1 / classes, np.float32),
        "ood": np.zeros((), np.float32),
        "slice_logits": np.eye(classes, dtype=np.float32),
    }
    json.dumps(conclude(found, outputs, {}, "cpu").to_json())
    return True


def paths(data: bytes) -> bool:
    """A list of scans; the paths are split, and not followed: a list may name any folder of this machine."""
    path = written("list.parquet" if data[:4] == b"PAR1" else "list.csv", data)
    try:
        return len([split(one.source) for one in islice(inputs._listed(path, pointed=True), 1_000)]) > 0
    except LiquidLensError as error:
        return refused(error)


@functools.cache
def predictor() -> Any:
    from liquidlens.serve.predict.predictor import Predictor

    return Predictor("vessel", "cpu", threads=1)


def request(data: bytes) -> bool:
    """An inference request; header length and content encoding stand on the first line.  Answered with 200 and numbers,
    or with a refusal that is no server error."""
    from starlette.exceptions import HTTPException

    from liquidlens.serve.server.codec import HEADER_LENGTH, answer, inflated
    from liquidlens.serve.server.guards.refusal import refuse

    head, _, body = data.partition(b"\n")
    length, _, encoding = head.decode("latin-1").partition(" ")  # as HTTP servers decode headers
    try:
        content = inflated(body, encoding, UNPACKED)
        response = answer("vessel", predictor(), content, length or None)
    except HTTPException as refusal:
        if refusal.status_code not in (400, 413, 415):
            raise
        refuse(refusal.status_code, refusal.detail)  # can be encoded
        return False
    told = json.loads(response.body[: int(response.headers.get(HEADER_LENGTH, len(response.body)))])
    if response.status_code != 200 or not told["outputs"]:
        raise AssertionError(f"{response.status_code}, {told}")
    return True


TARGETS = {
    "arrays": reader(lambda data: "scan.npz" if data[:2] == b"PK" else "scan.npy", seeds.arrays),
    "nifti": reader(lambda data: "scan.nii.gz" if data[:2] == b"\x1f\x8b" else "scan.nii", seeds.niftis),
    "images": reader(lambda data: "scan.tif", seeds.images),  # the content says which kind
    "dicom": reader(lambda data: "scan.dcm", seeds.dicoms),
    "zip": reader(lambda data: "scan.zip", seeds.zips),
    "manifest": Target(manifest, seeds.manifests),
    "lists": Target(paths, seeds.lists),
    "request": Target(request, seeds.requests, needs="starlette"),
}
