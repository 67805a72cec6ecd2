"""The command line: one subcommand per stage, each stage imported only when it is called."""

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from imaging.errors import LiquidLensError

if TYPE_CHECKING:
    from serve.manifest import Manifest

app = typer.Typer(
    help="Train compact liquid networks, export them to self-describing ONNX files, and predict on scans.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(markup=False, highlight=False)  # names of files and labels are not markup

DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with the datasets; otherwise $LIQUIDLENS_DATA, ~/.medmnist, or a download.")
]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    # `main` reads --debug, anywhere on the command line; here it stands for the help, whose text is that of `app`.
    pass


@app.command("models")
def list_models() -> None:
    """List the zoo: every model with its paper, input and parameter count."""
    import models

    table = Table("model", "paper", "input", "parameters", title=f"{len(models.names())} models")
    table.columns[3].justify = "right"
    for entry in map(models.entry, models.names()):
        size = " x ".join(map(str, entry.input_shape))
        table.add_row(entry.name, entry.paper, size, f"{entry.published_parameters:,}")
    console.print(table)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name that `liquidlens models` lists.")],
    data: Annotated[str, typer.Argument(help="vesselmnist3d, adrenalmnist3d, nodulemnist3d or phantom-vessel3d.")],
    recipe: Annotated[str, typer.Option(help="hse-2024: as published. quick: a useful model in minutes.")] = "hse-2024",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Determines initialisation, batches, dropout and augmentation.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    data_root: DataRoot = None,
    runs: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
) -> None:
    """Train one model on one dataset; an interrupted run goes on where it stopped."""
    from train import train as train_model

    folder = train_model(model, data, recipe, seed, epochs, data_root, runs)
    metrics = folder.metrics()
    table = Table("weights", "split", "AUC", "accuracy", "loss", title=str(folder.path))
    for weights, result in (("best", metrics.best), ("last", metrics.last)):
        for split, figures in (("validation", result.val), ("test", result.test)):
            table.add_row(weights, split, *(f"{figures[key]:.3f}" for key in ("auc", "accuracy", "loss")))
    console.print(table)
    console.print(f"{metrics.epochs} epochs, lowest validation loss after {metrics.best_epoch + 1}.")
    console.print(f"Next: liquidlens export {folder.path}", soft_wrap=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder that `liquidlens train` left.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle; by default bundles/NAME-OF-RUN.")] = None,
    weights: Annotated[
        Literal["best", "last"], typer.Option(help="best: lowest validation loss. last: after the last epoch.")
    ] = "best",
    data_root: DataRoot = None,
) -> None:
    """Export a trained run to one complete ONNX file, checked against torch on real scans."""
    from export import export as export_run

    bundle = export_run(run, out, weights, data_root)
    parity = bundle.parity
    console.print(
        f"{bundle.model}: {bundle.model.stat().st_size:,} bytes, {bundle.manifest.parameters.trainable:,} parameters.",
        soft_wrap=True,
    )
    console.print(
        f"Parity with torch on {parity.scans} scans: logits differ by at most {parity.max_logit_difference:.1e}, "
        f"{parity.changed_labels} labels change.",
        soft_wrap=True,
    )
    console.print(f"Next: liquidlens predict {bundle.model} SCAN...", soft_wrap=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="An exported .onnx file.")],
    scans: Annotated[
        list[str], typer.Argument(help="Scan files: .npy, .npz, .nii or .nii.gz; FILE#ITEM names one of many.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Predict the label of each scan with an exported model."""
    from imaging import read
    from serve.predictor import Predictor

    predictor = Predictor(model)
    rows: list[dict] = []
    failures: list[str] = []
    for source in scans:
        try:
            scan = read(source)
            rows.append({"scan": source, **vars(predictor.predict(scan, name=source))})
        except LiquidLensError as error:
            _show_traceback()
            rows.append({"scan": source, "error": str(error)})
            failures.append(str(error))
    if as_json:
        print(json.dumps({"model": predictor.manifest.model, "predictions": rows}, indent=2))
    elif len(failures) < len(rows):
        _print_predictions([row for row in rows if "error" not in row], predictor.manifest)
    if failures:
        _fail(*failures)


def _print_predictions(rows: list[dict], manifest: "Manifest") -> None:
    labels = manifest.labels[-1:] if len(manifest.labels) == 2 else manifest.labels
    columns: list[Column | str] = [
        Column("scan", overflow="fold"),
        "label",
        *(f"p({label})" for label in labels),
        "time",
    ]
    table = Table(*columns, title=manifest.model)
    for row in rows:
        probabilities = (f"{row['probabilities'][label]:.3f}" for label in labels)
        table.add_row(row["scan"], row["label"], *probabilities, f"{row['milliseconds']:.1f} ms")
    console.print(table)
    for row in (row for row in rows if row["ood"]):
        console.print(
            f"{row['scan']} is unlike the scans the model was trained on (score {row['ood_score']:.1f}, usual up to "
            f"{manifest.out_of_distribution.threshold:.1f}): do not rely on its label.",
            style="yellow",
            soft_wrap=True,
        )
    console.print(manifest.intended_use, style="dim")


def main() -> None:
    """Run the command line.  Errors that a person can mend are one sentence on stderr and exit code 2."""
    try:
        app([argument for argument in sys.argv[1:] if argument != "--debug"])
    except LiquidLensError as error:
        _show_traceback()
        _fail(str(error), code=getattr(error, "exit_code", 2))
    except OSError as error:
        _show_traceback()
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}.")
    except ModuleNotFoundError as error:
        _show_traceback()
        _fail(
            f"this command needs the package {error.name}, which is not installed in this environment: the workshop "
            "(.venv) trains and exports, the device (.venv-serve) predicts; `make environments` makes both."
        )


def _show_traceback() -> None:
    """With --debug anywhere on the command line, show where the error at hand comes from."""
    if "--debug" in sys.argv:
        traceback.print_exc()


def _fail(*sentences: str, code: int = 2) -> NoReturn:
    for sentence in sentences:
        Console(stderr=True).print(Text.assemble(("Error: ", "red"), sentence), soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
