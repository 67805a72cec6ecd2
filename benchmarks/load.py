"""Fifty people at once on one server: errors, latency, and memory after 100 and after 1,000 requests of mixed sizes.

    .venv-serve/bin/python -m benchmarks.load [MODEL or MODEL=OLD.onnx]

Starts `liquidlens serve` on a free port of this machine and sends scans of random sizes, as binary tensors of the
Open Inference Protocol, from as many threads as there are users; each sends its next request when the last is answered.
Exit code 1 if a request failed or memory grew by more than 10 % between the two looks at it.
"""

import argparse
import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console

from liquidlens.imaging.phantoms import vessel3d
from liquidlens.manifest import Manifest
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server.codec import HEADER_LENGTH

USERS, FIRST, ALL = 50, 100, 1_000
#: Sides of the scans, in pixels: a crop to a small CT volume, a thumbnail to a radiograph.
SIDES = {3: (16, 64), 2: (64, 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "model",
        nargs="?",
        help="a file or a pretrained model, by default the first one; OLD.onnx: that of the older package",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--before",
        type=os.path.abspath,
        help="a folder with an older package (pip install --target), which takes turns",
    )
    arguments = parser.parse_args()
    if arguments.model is None and not pretrained.names():
        parser.error("there are no pretrained models here; name an exported .onnx file")
    new, _, old = (arguments.model or pretrained.names()[0]).partition("=")
    path, older = pretrained.find(new), pretrained.find(old or new)
    console = Console(highlight=False)
    before, now = [], []
    for _ in range(arguments.rounds):
        if arguments.before:
            console.print("The older package:")
            before.append(measure(older, arguments.seed, console, arguments.before))
        now.append(measure(path, arguments.seed, console))
    if before:
        ratio = np.median([one.slow for one in now]) / np.median([one.slow for one in before])
        console.print(f"p95 against that of the older package: {ratio:.2f}x")
    sys.exit(1 if any(one.errors or one.growth > 0.1 for one in now) else 0)


class Figures(NamedTuple):
    """slow: milliseconds, p95.  growth: of the memory, from the first look to the second."""

    errors: list[str]
    slow: float
    growth: float


def measure(path: Path, seed: int, console: Console, package: str | None = None) -> Figures:
    """Start a server of the `package` in that folder, by default of this one, and send all requests."""
    bodies = requests_of(Predictor(path).manifest, np.random.default_rng(seed))
    command = [sys.executable, "-m", "liquidlens", "serve", str(path.absolute()), "--port", "0"]
    environment = {**os.environ, **({} if package is None else {"PYTHONPATH": package})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=package, env=environment) as server:
        try:
            address = address_of(server)
            target = f"/v2/models/{pretrained.name_of(path)}/infer"
            errors, seconds, memory = [], [], []
            for count in (FIRST, ALL - FIRST):
                failed, took = send(address, target, itertools.islice(bodies, count))
                errors += failed
                seconds += took
                memory.append(resident_bytes(server.pid))
        finally:
            server.terminate()
    if not all(memory):
        raise SystemExit(f"The server ended: {errors[:3]}")
    growth = memory[1] / memory[0] - 1
    middle, slow = 1000 * np.quantile(seconds, (0.5, 0.95))
    console.print(f"{path}: {len(seconds)} requests, {USERS} at a time, {len(errors)} errors {errors[:3] or ''}")
    console.print(f"latency: p50 {middle:.0f} ms, p95 {slow:.0f} ms, longest {1000 * max(seconds):.0f} ms")
    console.print(
        f"memory of the server: {memory[0] / 2**20:.0f} MiB after {FIRST} requests, {memory[1] / 2**20:.0f} MiB after "
        f"{ALL} ({growth:+.1%})"
    )
    return Figures(errors, float(slow), growth)


def requests_of(manifest: Manifest, rng: np.random.Generator) -> Iterator[tuple[bytes, int]]:
    """Bodies of requests without end, and how many bytes of each are JSON.  Every one is a scan of another size.

    Where a model reads volumes of masks these are phantoms, enlarged voxel by voxel: noise has no empty slices, and
    models pass over those of real masks.
    """
    low, high = SIDES[len(manifest.input.size)]
    of_masks = manifest.input.values == "mask" and manifest.input.input_shape[0] == 1 and len(manifest.input.size) == 3
    masks = 255 * (vessel3d(splits={"test": 20})["test_images"] > 127) if of_masks else None
    while True:
        shape = (1, *rng.integers(low, high + 1, len(manifest.input.size)).tolist())
        shape += (3,) if manifest.input.channels == 3 else ()
        if masks is None:
            pixels = rng.integers(0, 256, shape)
        else:
            where = (np.arange(n) * m // n for n, m in zip(shape[1:], masks.shape[1:], strict=True))
            pixels = rng.choice(masks)[np.ix_(*where)]
        scan = pixels.astype("<f4").tobytes()
        tensor = {"name": "scan", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(scan)}}
        header = json.dumps({"inputs": [tensor]}).encode()
        yield header + scan, len(header)


def send(address: str, target: str, bodies: Iterator[tuple[bytes, int]]) -> tuple[list[str], list[float]]:
    """Send requests from `USERS` threads; what went wrong, and the seconds that each answer took."""
    errors: list[str] = []
    seconds: list[float] = []
    lock = threading.Lock()

    def user() -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        while True:
            with lock:
                body, length = next(bodies, (b"", 0))
            if not body:
                return
            started = time.perf_counter()
            try:
                connection.request("POST", target, body, {HEADER_LENGTH: str(length)})
                with connection.getresponse() as response:
                    content = response.read()
                if response.status != 200:
                    errors.append(f"{response.status}: {content[:200].decode(errors='replace')}")
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()
            seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=user) for _ in range(USERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors, seconds


def address_of(server: subprocess.Popen) -> str:
    """Host and port that the server prints when it is up."""
    assert server.stdout is not None
    for line in server.stdout:
        if " at http" in line:
            return urlsplit(line.partition(" at ")[2].split()[0]).netloc
    raise SystemExit("The server did not start.")


def resident_bytes(process: int) -> int:
    """Memory that a process holds, from Linux's /proc; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return 1024 * int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0


if __name__ == "__main__":
    main()
