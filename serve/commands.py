"""The commands of the device: what `liquidlens` and ``python -m serve.batch`` offer without torch."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from imaging import LiquidLensError
from imaging.files import replacing
from serve.console import console, fail, numbers, print_columns, printable, show_traceback

if TYPE_CHECKING:
    from imaging import Budget
    from serve.manifest import Manifest
    from serve.predictor import Predictor

Model = Annotated[str, typer.Argument(help="An exported .onnx file, a bundle, or the name of a pretrained model.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt; a device that cannot be had is an error.")]
Signature = Annotated[
    Path | None,
    typer.Option(help="A public key: refuse models that its owner has not signed.", metavar="KEY.pub"),
]
#: A heading in the help of `predict`.
TABLE = "With --out: many scans into one table"


def bench(
    models: Annotated[list[Path], typer.Argument(help="Exported .onnx files, or bundles: all their files.")],
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,8,32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads that ONNX Runtime may use.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Runs per file and batch size.")] = 50,
) -> None:
    """Time exported files: load, latency and throughput, by batch size, on the CPU and on CUDA where there is any."""
    from serve.bench import measure

    rows = measure(models, numbers(batch, int, "--batch"), threads, repeats)
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
        )
        for row in rows
    ]
    print_columns(("file", "on", "bytes", "load", "batch", "p50", "p99", "throughput"), shown, right={2, 3, 4, 5, 6, 7})
    console.print(f"{threads} CPU thread{'s' * (threads != 1)}, {repeats} runs each, in turn.")


def predict(
    model: Model,
    scans: Annotated[
        list[str],
        typer.Argument(
            help="Scans: DICOM files, folders or zip archives, NIfTI, NumPy, PNG, JPEG, TIFF or BMP; FILE#ITEM names "
            "one of many. With --out also folders of many, patterns, whole .npz arrays, lists (.csv, .parquet with a "
            "column path), and - for a list on standard input."
        ),
    ],
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads per run; by default up to 4.")] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", help="Another limit of a scan: seconds=600, file_bytes=8GiB. Repeatable.", metavar="NAME=VALUE"
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read files of your own faster: without a process of its own for each.")
    ] = False,
    require_signature: Signature = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a row per scan to this .csv, .jsonl or .parquet file.", rich_help_panel=TABLE),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted run left.", rich_help_panel=TABLE)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew, whatever is there.", rich_help_panel=TABLE)
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 if any scan has an error.", rich_help_panel=TABLE)
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Evaluate: a .csv with the columns path (item) and label, or an array: labels.npy, x.npz#test_labels.",
            rich_help_panel=TABLE,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Scans of one shape per run.", rich_help_panel=TABLE)] = 32,
    readers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that read scans; by default one per core, up to 8.", rich_help_panel=TABLE),
    ] = None,
    shard: Annotated[
        str,
        typer.Option(help="Part 2/8 of all scans, for array jobs; `merge` joins the parts.", rich_help_panel=TABLE),
    ] = "1/1",
    engine: Annotated[
        Literal["plain", "ray"], typer.Option(help="ray: on a cluster, with Ray Data.", rich_help_panel=TABLE)
    ] = "plain",
    actors: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of Ray: how many load the model; by default one per two cores, or per GPU.",
            rich_help_panel=TABLE,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of an existing Ray cluster; by default one is started here.", rich_help_panel=TABLE),
    ] = None,
) -> None:
    """Predict the label of each scan with an exported model: on the screen, or with --out into a table."""
    from imaging.budget import parse_budget

    budget = parse_budget(limits or ())
    if out is None:
        given = {
            "--resume": resume,
            "--overwrite": overwrite,
            "--strict": strict,
            "--labels": labels,
            "--shard": shard != "1/1",
            "--engine": engine != "plain",
            "--readers": readers,
            "--actors": actors,
            "--ray-address": ray_address,
        }
        for option in (option for option, value in given.items() if value):
            raise LiquidLensError(f"{option} is for tables; name one, as in --out results.csv.")
        from serve import pretrained
        from serve.predictor import Predictor

        predictor = Predictor(pretrained.find(model), device, threads, require_signature)
        _predict_here(predictor, scans, budget, trust, as_json)
        return
    if resume and overwrite:
        raise LiquidLensError("--resume goes on, and --overwrite starts anew: give one of them.")
    if trust:
        raise LiquidLensError("--trust is for few scans on the screen; with --out, readers stay from file to file.")
    if engine == "plain" and (actors or ray_address):
        raise LiquidLensError(f"{'--actors' if actors else '--ray-address'} is for --engine ray.")
    from serve.batch import command
    from serve.batch.cluster import Cluster
    from serve.batch.engine import Options

    summary = command.predict(
        model,
        scans,
        out,
        Options(batch_size, readers, budget),
        device=device,
        threads=threads,
        public_key=require_signature,
        shard=shard,
        resume=resume,
        overwrite=overwrite,
        labels=labels,
        cluster=Cluster(ray_address, actors) if engine == "ray" else None,
        as_json=as_json,
    )
    if strict and summary.errors:
        fail(f"{summary.errors:,} of {summary.scans:,} scans could not be predicted.", code=3)


def merge(
    parts: Annotated[list[Path], typer.Argument(help="The tables that --shard 1/8 to 8/8 wrote.")],
    out: Annotated[Path, typer.Option(help="The .csv, .jsonl or .parquet file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it is there.")] = False,
    labels: Annotated[str | None, typer.Option(help="Evaluate, as `predict --labels` does.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Join the tables of all parts of a job into one, in the order of its inputs."""
    from serve.batch import command

    command.merge(parts, out, overwrite, labels, as_json)


def _predict_here(predictor: "Predictor", scans: list[str], budget: "Budget", trust: bool, as_json: bool) -> None:
    from imaging import read, read_safely

    colour = predictor.manifest.input.channels == 3
    rows: list[dict] = []
    failures: list[str] = []
    for source in scans:
        try:
            started = time.perf_counter()
            scan = (read if trust else read_safely)(source, budget, colour=colour)
            reading = 1000 * (time.perf_counter() - started)
            row = predictor.predict(scan, name=source).to_json()
            row["milliseconds"] = {"read": reading, **row["milliseconds"]}
            rows.append({"scan": source, **row, "notes": [*scan.notes, *row["notes"]]})
        except LiquidLensError as error:
            show_traceback()
            rows.append({"scan": source, "error": str(error)})
            failures.append(str(error))
    if as_json:
        answer = {"model": predictor.manifest.model, "device": predictor.device, "predictions": rows}
        print(json.dumps(answer, indent=2))
    elif len(failures) < len(rows):
        _print_predictions([row for row in rows if "error" not in row], predictor.manifest, predictor.device)
    if failures:
        fail(*failures)


def _print_predictions(rows: list[dict], manifest: "Manifest", device: str) -> None:
    names = [printable(row["scan"]) for row in rows]
    labels = manifest.labels[-1:] if len(manifest.labels) == 2 else manifest.labels
    columns: list[Column | str] = [
        Column("scan", overflow="fold"),
        "label",
        *(f"p({printable(label)})" for label in labels),
        "reading",
        "model",
    ]
    table = Table(*columns, title=f"{printable(manifest.model)} on {device}")
    for name, row in zip(names, rows, strict=True):
        probabilities = (f"{row['probabilities'][label]:.3f}" for label in labels)
        label = f"{row['label']} (not sure)" if row["abstained"] else row["label"]
        times = (f"{row['milliseconds'][stage]:.1f} ms" for stage in ("read", "total"))
        table.add_row(name, printable(label), *probabilities, *times)
    console.print(table)
    for name, row in zip(names, rows, strict=True):
        for note in row["notes"]:
            console.print(f"{name}: {printable(note)}", style="dim", soft_wrap=True)
    for name, row in ((name, row) for name, row in zip(names, rows, strict=True) if row["ood"]):
        console.print(
            f"{name} is unlike the scans the model was trained on (score {row['ood_score']:.1f}, usual up to "
            f"{row['ood_threshold']:.1f}): do not rely on its label.",
            style="yellow",
            soft_wrap=True,
        )
    console.print(printable(manifest.intended_use), style="dim")


def explain(
    model: Model,
    scan: Annotated[str, typer.Argument(help="A scan, as of `predict`.")],
    out: Annotated[Path, typer.Option(help="The page to write; it shows the scan.")] = Path("explanation.html"),
    device: Device = "auto",
) -> None:
    """Explain the answer for one scan on a page: occlusion, slices, and the trace of liquid neurons."""
    from imaging import read_safely
    from serve import pretrained
    from serve.explain_page import page
    from serve.predictor import Predictor

    with console.status("Loading") as status:
        predictor = Predictor(pretrained.find(model), device)
        pixels = read_safely(scan, colour=predictor.manifest.input.channels == 3)
        file, mark, item = scan.partition("#")
        html = page(
            predictor,
            pixels,
            Path(file).name + mark + item,
            say=lambda done, total: status.update(f"Hiding parts of the scan: {done} of {total}"),
        )
    with replacing(out) as partial:
        partial.write_text(html, encoding="utf-8")
    console.print(f"Page: {out}", soft_wrap=True)


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Exported .onnx files, bundles, or pretrained names; by default all of these."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads per inference.")] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Largest upload, in MiB.")] = 512,
    queue: Annotated[int, typer.Option(min=1, help="How many requests may wait before the next is refused.")] = 64,
    concurrency: Annotated[int, typer.Option(min=1, help="How many are worked on at once.")] = 2,
    user: Annotated[str | None, typer.Option(help="Who logs in, by default liquidlens; needs a password.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="Its first line is the password; otherwise $LIQUIDLENS_PASSWORD, or none.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name of this server, such as that of a proxy. Repeatable.")
    ] = None,
    root_path: Annotated[str, typer.Option(help="The path under which a proxy offers this server, as in /lens.")] = "",
    require_signature: Signature = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the demo in a browser.")] = False,
) -> None:
    """Serve models to people (a demo in the browser) and to programs (the Open Inference Protocol)."""
    from serve.app import run
    from serve.settings import Settings, read_password

    password = read_password(password_file)
    if user is not None and password is None:
        raise LiquidLensError("--user needs a password: set $LIQUIDLENS_PASSWORD or give --password-file.")
    settings = Settings(
        host=host,
        port=port,
        allowed_hosts=tuple(allow_host or ()),
        root_path=root_path.rstrip("/"),
        user=user or "liquidlens",
        password=password,
        upload_bytes=max_upload * 2**20,
        queue_size=queue,
        concurrency=concurrency,
        device=device,
        threads=threads,
        public_key=require_signature,
    )
    run(models or [], settings, lambda line: console.print(line, soft_wrap=True), open_page)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False) -> None:
    """Say what this machine can do, and why not more: exit code 2 if it cannot even predict on the CPU."""
    from serve.doctor import examine, predicts

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
