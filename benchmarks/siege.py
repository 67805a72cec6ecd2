"""Ten thousand requests, good, broken and hostile, from twenty clients at once on one server.

    .venv-serve/bin/python -m benchmarks.siege [MODEL.onnx]

Starts `liquidlens serve` on a free port of this machine.  Every request is drawn by its number, so that the same seed
sends the same ones.  Good ones go to the Open Inference Protocol and to the demo, and their answers are compared with
the predictor's own.  Exit code 1 if one of them was wrong, if a request ended in a server error that is not a stated
"try again", or in none at all, if the server's memory grew by more than 10 % from the second tenth of the requests to
the last or was ever more than twice that at the start, if `/healthz` took more than a second, or if the log has more
than a megabyte or anything in it that a request brought.
"""

import argparse
import itertools
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import siege_requests
from benchmarks.load import address_of, resident_bytes
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor

REQUESTS, CLIENTS = 10_000, 20
#: Seconds between two looks at the memory; how long the server may rest before the last one.
LOOK, REST = 0.5, 15
#: Seconds in which the server says that it is well, bytes of its log, and how much more memory it may take than idle.
HEALTHY, LOGGED, TWICE = 1.0, 2**20, 2.0
#: The largest upload, in MiB.
UPLOAD = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "model", nargs="?", default="vessel", help="a file or the name of a pretrained model of volumes"
    )
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    path = pretrained.find(arguments.model)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    besieger = siege_requests.Besieger(Predictor(path), pretrained.name_of(path), UPLOAD * 2**20, arguments.seed)
    command = [sys.executable, "-m", "liquidlens", "serve", str(path), "--port", "0", "--max-upload", str(UPLOAD)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        try:
            address = address_of(server)
            memory = Memory(server.pid)
            started = time.monotonic()
            with Health(address) as health:
                results = send(besieger, address, arguments.requests, arguments.clients, memory)
            seconds = time.monotonic() - started
            memory.rest()
            alive = server.poll() is None and besieger.good_json(address, np.random.default_rng(0)).right
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        logged = log.read()
    assert len(results) == arguments.requests, "every request is counted"
    broken = [result for result in results if not result.right]
    growth = memory.growth()
    console.print(f"{path}: {len(results):,} requests from {arguments.clients} clients, seed {arguments.seed}")
    console.print(f"{seconds:.0f} s, {len(results) / seconds:.1f} requests per second")
    console.print(table_of(results))
    console.print(memory.table())
    console.print(f"usual memory of the server in the last tenth of the requests against the second: {growth:+.1%}")
    console.print(f"/healthz: longest {health.longest:.2f} s of {health.asked:,} times, {health.failed} failed")
    console.print(f"the server's log has {len(logged):,} bytes: {logged[:2_000].decode(errors='backslashreplace')}")
    for (kind, said), number in Counter((result.kind, result.said[:300]) for result in broken).most_common(20):
        console.print(f"Broken promise, {number} times: {kind}: {said}")
    promises = {
        "the server answers a good request after the siege": alive,
        "its memory does not grow by more than 10 %": growth <= 0.1,
        f"its memory is never more than {TWICE:g} times that at the start": memory.peak() <= TWICE,
        f"it says within {HEALTHY:g} s that it is well": health.longest <= HEALTHY and not health.failed,
        f"its log has at most {LOGGED:,} bytes, and none of a request's": len(logged) <= LOGGED
        and siege_requests.MARK not in logged
        and all(letter == 10 or 32 <= letter < 127 for letter in logged),
    }
    for promise, kept in promises.items():
        if not kept:
            console.print(f"Broken promise: {promise}.")
    sys.exit(1 if broken or not all(promises.values()) else 0)


class Health:
    """Asks a server all the while how it is, in a process of its own, which waits for no client's turn.  longest:
    seconds for an answer.  asked, failed: how often."""

    def __init__(self, address: str):
        context = multiprocessing.get_context("spawn")
        self._end, end = context.Pipe()
        self._process = context.Process(target=_watch, args=(address, end), daemon=True)
        self.longest, self.asked, self.failed = 0.0, 0, 0

    def __enter__(self) -> "Health":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.send("enough")
        self.longest, self.asked, self.failed = self._end.recv()
        self._process.join()


def _watch(address: str, end: Connection) -> None:
    longest, asked, failed = 0.0, 0, 0
    while not end.poll(0.1):
        began = time.perf_counter()
        try:
            healthy = siege_requests.ask(address, "GET", "/healthz", b"", {})[0] == 200
        except OSError:
            healthy = False
        asked += 1
        failed += not healthy
        longest = max(longest, time.perf_counter() - began)
    end.send((longest, asked, failed))


def send(
    besieger: siege_requests.Besieger, address: str, number: int, clients: int, memory: "Memory"
) -> list[siege_requests.Result]:
    """Send requests 0 to `number` - 1, each client its next one when the last is answered."""
    numbers = itertools.count()
    results: list[siege_requests.Result] = []

    def client() -> None:
        while (mine := next(numbers)) < number:
            results.append(besieger.send(address, mine))

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.look(len(results) / number)
        time.sleep(LOOK)
    return results


def table_of(results: list[siege_requests.Result]) -> Table:
    """How each kind of request was answered."""
    by_kind: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        by_kind[result.kind][result.status] += 1
    table = Table("requests", "number", "answers", "broken promises")
    for kind, counts in sorted(by_kind.items()):
        answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
        wrong = sum(result.kind == kind and not result.right for result in results)
        table.add_row(kind, f"{counts.total():,}", answers, str(wrong))
    return table


class Memory:
    """Resident memory of a server and of its workers, over time (from Linux's /proc)."""

    def __init__(self, process: int):
        self.process = process
        self.looks: list[tuple[float, int, int]] = []  # share of the requests, bytes of the server, of its workers
        self.look(0)

    def look(self, done: float) -> None:
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:  # it has ended
                    continue
        family = {self.process}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        self.looks.append((done, resident_bytes(self.process), sum(map(resident_bytes, family - {self.process}))))

    def rest(self) -> None:
        """Let the server end what clients left behind, and look once more."""
        time.sleep(REST)
        self.look(1)

    def growth(self) -> float:
        """Of the server alone, from its usual memory in the second tenth of the requests to that in the last: single
        looks meet requests of all sizes."""

        def usual(start: float, end: float) -> float:
            within = [server for done, server, _ in self.looks if start <= done <= end]
            return float(np.median(within or [self.looks[-1][1]]))

        return usual(0.9, 1) / usual(0.1, 0.2) - 1

    def peak(self) -> float:
        """The most memory of the server alone, as a multiple of that at the start."""
        return max(server for _, server, _ in self.looks) / self.looks[0][1]

    def table(self) -> Table:
        table = Table("memory, MiB", "start", "median", "end", "peak")
        server, workers = (np.array([look[i] for look in self.looks]) / 2**20 for i in (1, 2))
        for name, values in (("server", server), ("its workers", workers), ("together", server + workers)):
            numbers = (values[0], np.median(values), values[-1], values.max())
            table.add_row(name, *(f"{value:,.0f}" for value in numbers))
        return table


if __name__ == "__main__":
    main()
