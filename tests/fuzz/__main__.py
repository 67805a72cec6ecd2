"""Fuzz one target after another, each in a process of its own, and print what was found.

    python -m tests.fuzz [TARGET ...] --seconds 180

The corpus grows in ``.fuzz/`` from run to run.  What ends the process, takes over 5 s or over 1 GiB is tried again as
the product takes it, in a worker: where that answers with a sentence it is listed as contained, else it is a finding,
as every broken promise is.  Exit code 1 if there is a finding; its file belongs into
``tests/fuzz/regressions/TARGET/``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz import child
from tests.fuzz.seeds import ROOT
from tests.fuzz.targets import TARGETS

WORK = ROOT / ".fuzz"
#: A target whose process ended so often is left: it would find the same again.
DEATHS = 8
#: How much longer a process may take than it was told to: it instruments its imports first.
GRACE = 300


@dataclass
class Result:
    """What one target came to.  features: edges and features that its corpus reaches; None without atheris."""

    executions: int = 0
    seconds: float = 0
    features: str | None = None
    findings: list[Path] = field(default_factory=list)
    contained: int = 0
    notes: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"by default all: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=180, help="for each target (180)")
    arguments = parser.parse_args()
    if wrong := set(arguments.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(wrong))}; there are {', '.join(TARGETS)}")
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if child.atheris is None:
        console.print("atheris is not installed here: inputs are changed blindly, without coverage.")
    WORK.mkdir(exist_ok=True)
    (WORK / ".gitignore").write_text("*\n")
    table = Table("target", "executions", "per second", "edges, features", "findings", "contained")
    findings = []
    for name in arguments.targets or TARGETS:
        if not TARGETS[name].here:
            console.print(f"{name}: left out, it needs {TARGETS[name].needs}, which is not installed here.")
            continue
        result = fuzz(name, arguments.seconds)
        rate = result.executions / max(result.seconds, 1)
        counts = (
            f"{result.executions:,}",
            f"{rate:,.0f}",
            result.features or "",
            len(result.findings),
            result.contained,
        )
        table.add_row(name, *map(str, counts))
        findings += result.findings
        console.print(f"{name}: {counts[0]} executions, {len(result.findings)} findings", *result.notes, sep="\n  ")
    console.print(table)
    for path in findings:
        console.print(f"Finding: {path}")
    sys.exit(1 if findings else 0)


def fuzz(name: str, seconds: int) -> Result:
    """Fuzz one target for so long, in a new process whenever one ended."""
    work, result = WORK / name, Result()
    work.mkdir(exist_ok=True)
    for leftover in ("findings", "deaths"):
        shutil.rmtree(work / leftover, ignore_errors=True)
    end = time.monotonic() + seconds
    deaths = 0
    while (left := int(end - time.monotonic())) > 0:
        started = time.monotonic()
        died = _run(name, work, left, deaths, result)
        result.seconds += time.monotonic() - started
        if died is None:
            break
        deaths += 1
        judge(name, died, result)
        if deaths == DEATHS:
            result.notes.append(f"left after {DEATHS} ends of the process")
            break
    result.findings += sorted(path for path in work.glob("findings/*") if path.suffix != ".txt")
    return result


def _run(name: str, work: Path, seconds: int, number: int, result: Result) -> Path | None:
    """Run one process.  Returns the input that ended it; None if its time was up."""
    before = set(work.glob("deaths/*"))
    with tempfile.TemporaryDirectory(prefix="liquidlens-fuzz-") as folder, (work / "log").open("w+b") as log:
        command = [sys.executable, "-m", "tests.fuzz.child", name, str(work)]
        try:
            done = subprocess.run(
                [*command, "--seconds", str(seconds), "--seed", str(number)],
                cwd=ROOT,
                env=_environment(folder),
                stdout=log,
                stderr=log,
                timeout=seconds + GRACE,
                check=False,
            )
            code = str(done.returncode)
        except subprocess.TimeoutExpired:
            code = "none, as it did not end"
        log.seek(0)
        told = log.read().decode(errors="replace")
    _count(told, result)
    new = sorted(set(work.glob("deaths/*")) - before)
    if code != "0" and not new:
        raise SystemExit(f"{name}: exit code {code}, and no input is left:\n{told[-2000:]}")
    return new[0] if new else None


def _count(told: str, result: Result) -> None:
    """Read executions and features from what atheris, or the blind run, printed."""
    counts = re.findall(r"^#(\d+)\t|number_of_executed_units: (\d+)|\"executions\": (\d+)", told, re.MULTILINE)
    result.executions += max((int(number) for found in counts for number in found if number), default=0)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", told)
    if reached:
        edges, features = map(int, reached[-1])
        result.features = f"{edges:,}, {features:,}"


def judge(name: str, path: Path, result: Result) -> None:
    """Whether an input that ended the process is a finding: it is tried alone, as the product takes it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="liquidlens-fuzz-") as folder:
        command = [sys.executable, "-c", _MEASURED, "-m", "tests.fuzz.child", name, str(path), "--contained"]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=_environment(folder), capture_output=True, text=True, timeout=600, check=False
            )
            peak, code = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            peak, code = 0, "no answer"
    took = time.monotonic() - started
    what = f"{path.name}: alone {took:.1f} s with the start of Python, {peak:,} MiB, exit code {code}"
    result.notes.append(what)
    if code == 0 and took < 2 * child.SECONDS and peak < child.MEGABYTES:
        result.contained += 1
    else:
        result.findings.append(path)


#: Runs Python with the arguments that follow; prints the most memory that it or a worker took, and its exit code.
_MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, *sys.argv[1:]])
unit = 2**20 if sys.platform == "darwin" else 2**10
print(json.dumps([resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // unit, done.returncode]))
"""


def _environment(folder: str) -> dict[str, str]:
    return os.environ | {"TMPDIR": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


if __name__ == "__main__":
    main()
