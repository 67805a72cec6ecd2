"""cmu: errors of a residual network and of its two recurrent readings on CIFAR-10."""

from functools import partial
from typing import Any

from liquidlens.train.studies.reports.markdown import NO_RUN, NOTHING, Plot, Tables, cost, table
from liquidlens.train.studies.reports.plots import Point, against
from liquidlens.train.studies.reports.rows import Summary
from liquidlens.train.studies.reports.verdicts import Claim, Finding, about, greater, not_greater

READINGS = {
    "ResNet-1": "ResNet, depth 1",
    "RecNet": "RecNet: one block seven times, shared weights",
    "RecNet-step-BN": "the same with batch norms of its own at each step",
    "ResNet-8": "ResNet, depth 8: as many blocks, each with weights of its own",
    "RecNet-RNN": "RecNet: a simple RNN of seven steps",
}
ACCURACY, TRAINING = "last_test_accuracy", "final_train_accuracy"


def _results(runs: list[Summary]) -> str:
    rows = []
    for model, words in READINGS.items():
        for run in (run for run in runs if run.name == model):
            printed = run.printed().get(ACCURACY)
            stated = NOTHING if printed is None else f"about {100 * (1 - printed.value):.0f}"
            ours_now = f"{100 * (1 - run.mean(ACCURACY)):.1f}"
            best = f"{100 * (1 - run.mean('best_test_accuracy')):.1f}"
            training = f"{100 * (1 - run.mean(TRAINING)):.1f}"
            rows.append((words, f"{run.parameters:,}", run.seeds, ours_now, stated, best, training, *cost(run)))
    header = (
        "network",
        "parameters",
        "seeds",
        "test error, %",
        "stated",
        "at the best validation loss",
        "training error",
    )
    return table((*header, "epochs", "seconds"), rows) if rows else NO_RUN


def _against(figure: Any, runs: list[Summary]) -> None:
    spreads = [(run, run.printed().get(ACCURACY), run.deviation(ACCURACY)) for run in runs]
    points = [
        Point(run.name, 1 - printed.value, 1 - run.mean(ACCURACY), spread)
        for run, printed, spread in spreads
        if printed
    ]
    against(figure, points, "test error, %", scale=100)


def _curves(figure: Any, runs: list[Summary]) -> None:
    """Figures 5 and 6: errors of training and test images over the epochs, of the first seed."""
    figure.set_size_inches(8, 3.6)
    axes = figure.subplots()
    for number, run in enumerate(runs):
        for column, style in (("train_accuracy", "--"), ("val_accuracy", "-")):
            for accuracies in run.curve(column)[:1]:
                errors = [100 * (1 - accuracy) for accuracy in accuracies]
                label = run.name if style == "-" else None
                axes.plot(range(1, len(errors) + 1), errors, style, color=f"C{number}", label=label)
    axes.set(xlabel="epochs", ylabel="error, %", title="solid: test images; dashed: training images")
    if axes.lines:
        axes.legend(frameon=False)


# --- Its claims ----------------------------------------------------------------------------------------------


def _values(runs: list[Summary], model: str, column: str = ACCURACY) -> list[float]:
    return [100 * value for run in runs if run.name == model for value in run.values(column)]


def _errs(runs: list[Summary], model: str, stated: float) -> Finding:
    return about([100 - value for value in _values(runs, model)], stated, within=3)


def _fewer_errors(runs: list[Summary], model: str, than: str) -> Finding:
    return greater(_values(runs, model), _values(runs, than), alone=1.5, digits=1)


def _overfits(runs: list[Summary], model: str, than: str) -> Finding:
    """By how much more than another network it is better on training images than on test images."""

    def gaps(of: str) -> list[float]:
        return [seen - unseen for seen, unseen in zip(_values(runs, of, TRAINING), _values(runs, of), strict=True)]

    return greater(gaps(model), gaps(than), alone=1.5, digits=1)


_SECTION = "section 5"
CLAIMS = (
    Claim(
        "a residual network of depth 1 errs on about 54 % of the test images",
        _SECTION,
        partial(_errs, model="ResNet-1", stated=54),
    ),
    *(
        claim
        for model, words in (("RecNet-RNN", "a simple RNN"), ("RecNet", "a block with shared weights"))
        for claim in (
            Claim(f"with {words}, seven times, on about 45 %", _SECTION, partial(_errs, model=model, stated=45)),
            Claim(
                f"{words}, seven times, lowers the error",
                _SECTION,
                partial(_fewer_errors, model=model, than="ResNet-1"),
            ),
            Claim(f"{words}, seven times, overfits", _SECTION, partial(_overfits, model=model, than="ResNet-1")),
        )
    ),
    Claim(
        "weights shared by seven blocks do as well as seven blocks of their own",
        "abstract",
        lambda runs: not_greater(_values(runs, "ResNet-8"), _values(runs, "RecNet"), alone=1.5, digits=1),
    ),
)

TABLES: Tables = {"results": _results}
PLOTS = {
    "cmu-published": Plot("Test error, ours against the stated one", _against),
    "cmu-curves": Plot("Errors on training and test images over the epochs", _curves),
}
