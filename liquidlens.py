"""The command line: one subcommand per stage, each stage imported only when it is called."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from rich.table import Table

from imaging.errors import LiquidLensError
from imaging.files import replacing
from serve import commands, commands_signing, commands_web
from serve.console import console, fail, numbers, print_columns, run

T = TypeVar("T", bound=str)

app = typer.Typer(
    help="Train compact liquid networks, export them to self-describing ONNX files, and predict on scans.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with the datasets; otherwise $LIQUIDLENS_DATA, ~/.medmnist, or a download.")
]
Runs = Annotated[Path, typer.Option(help="Folder for run folders.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images of a folder that cannot be read.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    # `serve.console.run` reads --debug, anywhere on the line; here it stands for the help, whose text is that of `app`.
    pass


Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Another value for a field of the recipe: batch_size=32. Repeatable.", metavar="FIELD=VALUE"
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(help="By default that of the model's paper; without a name, lists them.", metavar="[NAME]"),
]


@app.command("models")
def list_models(
    find: Annotated[str, typer.Argument(help="Only names and papers that contain this.")] = "",
) -> None:
    """List the zoo: every model with its paper, input, outputs and parameters."""
    import models

    entries = [e for e in map(models.entry, models.names()) if find.lower() in f"{e.paper} {e.name}".lower()]
    if not entries:
        fail(f"No model and no paper has {find!r} in its name.")
    rows = [
        (
            entry.name,
            entry.paper,
            "x".join(map(str, entry.input_shape)),
            str(entry.outputs),
            f"{models.parameters(entry.name):,}",
            "-" if entry.published_parameters is None else f"{entry.published_parameters:,}",
            ", ".join(entry.flags),
        )
        for entry in entries
    ]
    print_columns(("model", "paper", "input", "logits", "parameters", "published", "flags"), rows, right={3, 4, 5})
    console.print(f"{len(rows)} models; parameters are the trainable ones, published what the paper prints.")


@app.command("recipes")
def list_recipes(name: Annotated[str | None, typer.Argument(help="Show all fields of this recipe.")] = None) -> None:
    """List the recipes, or one recipe's fields."""
    from train.recipes import RECIPES, training

    if name is not None:
        for field, value in training(name):
            console.print(f"{field} = {json.dumps(value)}", soft_wrap=True)
        return
    print_columns(("recipe", "in short"), [(settings.recipe, settings.about) for settings in RECIPES.values()])


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="Draw a contact sheet of this dataset or image folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to; by default NAME.png.")] = None,
    data_root: DataRoot = None,
    skip_bad: SkipBad = False,
) -> None:
    """List the datasets and where each was found, or draw a contact sheet of one."""
    from train import datasets

    if name is None:
        print_columns(
            ("dataset", "size", "classes", "licence", "where"),
            [(s.name, s.size, str(len(s.label_names)), s.licence, s.where) for s in datasets.sources(data_root)],
            right={2},
        )
        return
    from train.datasets.contact_sheet import contact_sheet

    dataset = datasets.load(name, data_root, skip_bad)
    for sentence in dataset.notes:
        print(f"Note: {sentence}", file=sys.stderr)
    picture = out or Path(f"{dataset.name.replace(':', '-')}.png")
    try:
        contact_sheet(dataset).save(picture)
    except ValueError as error:
        raise LiquidLensError(f"--out {picture}: a picture's name ends in .png.") from error
    note = datasets.note(dataset.name)
    counts = ", ".join(f"{len(labels):,} {split}" for split, labels in dataset.labels.items())
    console.print(f"{dataset.name}: {counts}. Contact sheet: {picture}", soft_wrap=True)
    if note:
        console.print(note, soft_wrap=True)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name that `liquidlens models` lists.")],
    data: Annotated[str, typer.Argument(help="A name that `liquidlens data` lists, or a folder of images.")],
    recipe: RecipeName = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Determines initialisation, batches, dropout and augmentation.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    changes: Changes = None,
    flags: Annotated[
        list[str] | None, typer.Option("--flag", help="A switch of the model, see `liquidlens models`. Repeatable.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Another input size than the paper's, such as 112 or 96x64.")] = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    skip_bad: SkipBad = False,
) -> None:
    """Train one model on one dataset; an interrupted run goes on where it stopped."""
    from train import train as train_model

    folder = train_model(
        model,
        data,
        recipe,
        seed,
        _changes(changes, epochs),
        flags or (),
        _size(size, model),
        data_root,
        runs,
        skip_bad,
    )
    metrics = folder.metrics()
    names = [name for name in SHOWN if name in metrics.best.test]
    chosen_on_test = folder.recipe().training.validate_on_test
    table = Table("weights", "split", *(SHOWN[name] for name in names))
    for weights, result in (("best", metrics.best), ("last", metrics.last)):
        if not chosen_on_test:
            table.add_row(weights, "validation", *(f"{result.val[name]:.3f}" for name in names))
        table.add_row(weights, "test", *(f"{result.test[name]:.3f}" for name in names))
    console.print(str(folder.path), style="bold", soft_wrap=True)
    console.print(table)
    counted = f"{metrics.epochs} epoch{'s' * (metrics.epochs != 1)}"
    console.print(f"{counted}; the best weights are those after epoch {metrics.best_epoch + 1}.")
    if chosen_on_test:
        console.print("The best epoch was chosen on the test scans, as published; kth-2021-corrected does not do that.")
    console.print(f"Next: liquidlens export {folder.path}", soft_wrap=True)


#: The figures that `train` prints; metrics.json has them all.
SHOWN = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1": "F1",
    "dice": "Dice",
    "recall": "macro recall",
    "position_error": "position, m",
    "orientation_error": "orientation, degrees",
    "loss": "loss",
}


@app.command()
def sweep(
    data: Annotated[str, typer.Argument(help="A name that `liquidlens data` lists, or a folder of images.")],
    models: Annotated[list[str], typer.Argument(help="Names that `liquidlens models` lists.")],
    rates: Annotated[str, typer.Option(help="Learning rates, separated by commas.")] = "0.01,0.03,0.1,0.3,1,3,10",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    recipe: RecipeName = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    changes: Changes = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    out: Annotated[Path, typer.Option(help="The table; the plot lies beside it, as .png.")] = Path("sweep.csv"),
) -> None:
    """Train models at several learning rates and plot their accuracy; an interrupted sweep goes on."""
    from train.sweep import sweep as sweep_rates

    table = sweep_rates(
        models,
        data,
        numbers(rates, float, "--rates"),
        numbers(seeds, int, "--seeds"),
        _changes(changes, epochs),
        out,
        recipe=recipe,
        data_root=data_root,
        runs=runs,
    )
    console.print(f"{table} and {table.with_suffix('.png')}", soft_wrap=True)


@app.command()
def search(
    model: Annotated[str, typer.Argument(help="A name that `liquidlens models` lists.")],
    datasets: Annotated[list[str], typer.Argument(help="Names that `liquidlens data` lists, or folders.")],
    over: Annotated[
        list[str],
        typer.Option(
            help="A field and what it may be, the recipe's value included: learning_rate=0.001..0.01 or "
            "batch_size=32,64. Repeatable."
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="How many trials the table is to hold.")] = 20,
    seeds: Annotated[str, typer.Option(help="As in 0-4 or 0,2,5; every trial trains them all.")] = "0",
    recipe: RecipeName = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    changes: Changes = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    out: Annotated[Path, typer.Option(help="The table.")] = Path("search.csv"),
) -> None:
    """Search a recipe's settings on held-out training scans, never on test scans; an interrupted search goes on."""
    from train import search as searching
    from train.study import parse_seeds

    wanted = searching.Search(
        model,
        tuple(datasets),
        searching.parse_over(over),
        recipe,
        tuple(parse_seeds(seeds)),
        _changes(changes, epochs),
    )
    best = searching.run(wanted, trials, out, data_root, runs, say=lambda line: console.print(line, soft_wrap=True))
    console.print(f"The best: {best}\nTable: {out}", soft_wrap=True)


@app.command()
def study(
    paper: Annotated[str, typer.Argument(help="hse-2024, tum-2018, kth-2021, cmu, truong-2022 or liquidlens.")],
    datasets: Annotated[str, typer.Option(help="Separated by commas; by default the study's.")] = "",
    models: Annotated[
        str, typer.Option(help="Some of its models, separated by commas; with a flag as LSTMExp5N2+source_layout.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="As in 0-4 or 0,2,5.")] = "0-4",
    jobs: Annotated[int, typer.Option(min=1, help="How many runs at a time, each on one thread.")] = 2,
    budget_hours: Annotated[float | None, typer.Option(min=0, help="No run is begun later than this.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another limit of epochs than the recipe's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("docs/results"),
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train a paper's models on its datasets, seed after seed, into one table; an interrupted study goes on."""
    from train.study import parse_seeds
    from train.study import study as train_all

    outcome = train_all(
        paper,
        [name for name in datasets.split(",") if name],
        [name for name in models.split(",") if name],
        parse_seeds(seeds),
        jobs,
        budget_hours,
        _changes(None, epochs),
        out,
        runs,
        data_root,
        say=lambda line: console.print(line, soft_wrap=True),
    )
    console.print(f"Table: {outcome.table}; runs left: {outcome.left}, failed: {len(outcome.failures)}", soft_wrap=True)
    if outcome.failures:
        fail(*outcome.failures)


@app.command()
def tables(
    papers: Annotated[list[str] | None, typer.Argument(help="By default all that have results.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the tables that `liquidlens study` fills.")] = Path(
        "docs/results"
    ),
    pages: Annotated[Path, typer.Option(help="Folder of the pages PAPER.md.")] = Path("docs/reproduction"),
    pictures: Annotated[Path, typer.Option(help="Folder of the plots.")] = Path("docs/pictures"),
) -> None:
    """Make the tables and plots of the studies' pages anew from their results."""
    from train.reports import write

    for paper in papers or sorted(path.stem for path in results.glob("*.csv")):
        for path in write(paper, results, pages, pictures):
            console.print(str(path), soft_wrap=True)


def _changes(assignments: list[str] | None, epochs: int | None) -> dict:
    from train.recipes import parse_changes

    changes = parse_changes(assignments or ())
    return changes if epochs is None else {**changes, "max_epochs": epochs}


def _choices(text: str, allowed: tuple[T, ...], option: str) -> tuple[T, ...]:
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    chosen = tuple(name for name in allowed if name in names)
    if len(chosen) < len(set(names)):
        raise LiquidLensError(f"{option} takes some of {', '.join(map(str, allowed))}, not {text!r}.")
    return chosen


def _size(text: str | None, model: str) -> tuple[int, ...] | None:
    """ "112" or "96x64" as the input size of a model."""
    if text is None:
        return None
    import models

    numbers = text.lower().split("x")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise LiquidLensError(f"--size is a number of pixels, or rows x columns as in 96x64, not {text!r}.")
    size = tuple(map(int, numbers))
    if len(size) > 1 or model not in models.names():
        return size
    return size * (len(models.entry(model).input_shape) - 1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder that `liquidlens train` left.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the bundle; by default bundles/NAME-OF-RUN.")] = None,
    weights: Annotated[
        Literal["best", "last"],
        typer.Option(help="best: after the best epoch, as the recipe selects it. last: after the last one."),
    ] = "best",
    profiles: Annotated[
        str, typer.Option(help="Also write a liquid model as: unrolled (no loop), step (one slice at a time), or both.")
    ] = "",
    variants: Annotated[
        str, typer.Option(help="Precision variants besides fp32, separated by commas.")
    ] = "fp16,int8-dynamic,int8-static",
    calibration: Annotated[
        Literal["minmax", "entropy", "percentile"],
        typer.Option(help="How int8-static finds the ranges of activations."),
    ] = "minmax",
    calibration_scans: Annotated[int, typer.Option(help="On how many training scans.")] = 128,
    threshold: Annotated[
        str, typer.Option(help="Of a binary model: youden, a number, or a wanted sensitivity as in sensitivity=0.95.")
    ] = "youden",
    abstain: Annotated[float, typer.Option(help="Share of validation scans on which the model is to be unsure.")] = 0.1,
    auc_budget: Annotated[
        float, typer.Option(help="By how much the recommended variant's validation AUC may lie below that of fp32.")
    ] = 0.005,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operator set, 18 to 23.")] = 20,
    triton: Annotated[Path | None, typer.Option(help="Also write this NVIDIA Triton model repository.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Export a trained run to a bundle: complete ONNX files, compared with torch, audited and measured."""
    from export import Options
    from export import export as export_run
    from export.facts import PRECISIONS, PROFILES
    from export.operating import parse_rule
    from export.printing import print_bundle

    options = Options(
        weights=weights,
        profiles=_choices(profiles, PROFILES, "--profiles"),
        precisions=_choices(variants, PRECISIONS, "--variants"),
        calibration=calibration,
        calibration_scans=calibration_scans,
        threshold=parse_rule(threshold),
        abstain=abstain,
        auc_budget=auc_budget,
        opset=opset,
    )
    if triton is not None:
        from export.triton import destination

        destination(triton, (out or run).resolve().name)
    with console.status("Loading") as status:
        bundle = export_run(run, out, options, data_root, say=lambda step: status.update(step))
    print_bundle(bundle)
    if triton is not None:
        from export.triton import write

        write(bundle.model, triton, bundle.path.resolve().name, bundle.manifest)
        console.print(f"Triton model repository: {triton}", soft_wrap=True)
    if bundle.manifest.input.channels == 1:  # `predict` reads grey scans
        console.print(f"Next: liquidlens predict {bundle.model} SCAN...", soft_wrap=True)


@app.command()
def audit(
    model: Annotated[
        Path, typer.Argument(help="Any ONNX file: one of a bundle, or one from elsewhere; or a pretrained model.")
    ],
    html: Annotated[Path | None, typer.Option(help="Write the page for people here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what an ONNX file holds and whether that is what was exported: exit code 1 if it is not."""
    from export.audit import audit as audit_file
    from export.bundle import to_json
    from export.printing import print_audit
    from export.report import audit_html

    found = audit_file(model)
    if html is not None:
        with replacing(html) as partial:
            partial.write_text(audit_html(found), encoding="utf-8")
    if as_json:
        print(to_json(found), end="")
    else:
        print_audit(found)
        if html is not None:
            console.print(f"Page: {html}", soft_wrap=True)
    if found.problems:
        fail(*found.problems, code=1)


for command in (
    commands.bench,
    commands.predict,
    commands.merge,
    commands.explain,
    commands.serve,
    commands.doctor,
    commands_signing.keygen,
    commands_signing.sign,
    commands_signing.verify,
    commands_web.web,
):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    arguments = sys.argv[1:]
    run(app, ["recipes"] if arguments[-1:] == ["--recipe"] else arguments)


if __name__ == "__main__":
    main()
