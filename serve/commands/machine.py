"""The commands about this machine: `bench` and `doctor`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from liquidlens.console import console, fail, numbers, print_columns
from liquidlens.words import counted


def bench(
    models: Annotated[list[Path], typer.Argument(help="Exported .onnx files, or bundles: all their files.")],
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,8,32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads that ONNX Runtime may use.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Runs per file and batch size.")] = 50,
) -> None:
    """Time exported files: load, latency and throughput, by batch size, on the CPU and on CUDA where there is any."""
    from liquidlens import memory
    from liquidlens.cores import usable_cores
    from liquidlens.serve.bench import measure
    from liquidlens.serve.predict.predictor import SCANS

    memory.keep_freed()
    beside = usable_cores()
    rows = measure(models, numbers(batch, int, "--batch"), threads, repeats, beside=beside)
    shown = [
        (
            str(row.file),
            row.provider.removesuffix("ExecutionProvider"),
            f"{row.bytes:,}",
            f"{row.load_milliseconds:.1f} ms",
            str(row.batch_size),
            f"{row.p50_milliseconds:.2f} ms",
            f"{row.p99_milliseconds:.2f} ms",
            f"{row.per_second:,.0f} {row.unit}s/s",
            "" if row.beside_per_second is None else f"{row.beside_per_second:,.0f} {row.unit}s/s",
        )
        for row in rows
    ]
    titles = ("file", "on", "bytes", "load", "batch", "p50", "p99", "throughput", "side by side")
    print_columns(titles, shown, right=set(range(2, len(titles))))
    console.print(f"{counted(threads, 'CPU thread')}, {repeats} runs each, in turn.")
    if beside > 1:
        console.print(
            f"Side by side: {beside} runs at once, each on one thread. `batch` runs its scans so, in batches of up to "
            f"{SCANS}, or as --batch-size and --threads say.",
            soft_wrap=True,
        )


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False) -> None:
    """Say what this machine can do, and why not more: exit code 2 if it cannot even predict on the CPU."""
    from liquidlens.serve.doctor import examine, predicts

    findings = examine()
    well = predicts(findings)
    if as_json:
        print(json.dumps({"predicts": well, "findings": [vars(finding) for finding in findings]}, indent=2))
    else:
        print_columns(("what", "found"), [(finding.about, finding.found) for finding in findings])
        for finding in (finding for finding in findings if finding.problem):
            console.print(f"{finding.about}: {finding.problem}", style="yellow", soft_wrap=True)
    if not well:
        fail("This machine cannot predict; see above.")
