"""liquidlens: our own networks beside those of hse-2024's Table 2 and the benchmark rows that it quotes."""

from collections.abc import Iterator

from liquidlens import models
from liquidlens.train.studies.plans import COMPACT, HSE_DATASETS, XRAYS
from liquidlens.train.studies.published import MEDMNIST_BENCHMARK, Printed, published
from liquidlens.train.studies.reports.markdown import NOTHING, Tables, ours, table, theirs
from liquidlens.train.studies.reports.rows import Summary

AUC, ACCURACY = "best_test_auc", "best_test_accuracy"
ECE, SELECTIVE = "best_test_ece_calibrated", "best_test_selective_accuracy"


#: By dataset.
FIGURES = [f"{figure}, {dataset}" for dataset in HSE_DATASETS for figure in ("AUC", "accuracy")]
#: What the liquid layers of LiquidLens-S know of the slices that are left out.
UNEVEN = {
    "LiquidLens-S": "all slices",
    "LiquidLens-S+uneven": "a third left out, without time spans",
    "LiquidLens-S+uneven+timespans": "a third left out, with time spans",
}


#: What passes the rows of LiquidLens-X.
TWINS = {
    "": "liquid layers (LTC)",
    "cfc": "closed-form liquid layers (CfC)",
    "gru": "GRU",
    "rnn": "simple recurrent network",
    "mean": "nothing: each row alone",
}


def _comparison(runs: list[Summary]) -> str:
    rows = [(f"**{model}**", *_own(model, runs)) for model in dict.fromkeys(run.name for run in _whole(runs))]
    return table(("network", "parameters", "seeds", *FIGURES), [*rows, *_printed()])


def _uneven(runs: list[Summary]) -> str:
    there = {run.name for run in runs}
    rows = [(words, *_own(model, runs)[1:]) for model, words in UNEVEN.items() if model in there]
    return table(("slices", "seeds", *FIGURES), rows)


def _xrays(runs: list[Summary]) -> str:
    found = {(run.dataset, "".join(run.network.flags)): run for run in runs if run.network.model == "LiquidLens-X"}
    there = [found[data, twin] for data, *_ in XRAYS for twin in TWINS if (data, twin) in found]
    header = ("dataset", "its rows are passed by", "parameters", "seeds", "AUC", "accuracy", "ECE")
    rows = [
        (
            run.dataset,
            TWINS["".join(run.network.flags)],
            f"{run.parameters:,}",
            run.seeds,
            *(ours(run, column) for column in (AUC, ACCURACY, ECE)),
        )
        for run in there
    ]
    return table(header, rows) if rows else "No run yet."


def _whole(runs: list[Summary]) -> list[Summary]:
    """Runs on whole volumes."""
    return [run for run in runs if not run.network.flags and run.dataset in HSE_DATASETS]


def _own(model: str, runs: list[Summary]) -> tuple[object, ...]:
    """Parameters, seeds and figures of one of our networks."""
    by_dataset = {run.dataset: run for run in runs if run.name == model}
    figures: list[str] = []
    for dataset in HSE_DATASETS:
        run = by_dataset.get(dataset)
        figures += [NOTHING] * 2 if run is None else [ours(run, AUC), ours(run, ACCURACY)]
    seeds = "/".join(str(by_dataset[dataset].seeds) if dataset in by_dataset else "0" for dataset in HSE_DATASETS)
    return f"{next(iter(by_dataset.values())).parameters:,}", seeds, *figures


def _certainty(runs: list[Summary]) -> str:
    header = ("network", "dataset", "seeds", "ECE", "accuracy", "accuracy on the surest 90 %")
    columns = (ECE, ACCURACY, SELECTIVE)
    return table(header, [(r.name, r.dataset, r.seeds, *(ours(r, column) for column in columns)) for r in _whole(runs)])


def _printed() -> Iterator[tuple[object, ...]]:
    for model in COMPACT:
        figures = (published("hse-2024", model, dataset, "hse-2024") for dataset in HSE_DATASETS)
        cells = [
            theirs(printed.get(c)) for printed in figures for c in ("last_test_auc", "last_test_accuracy_batch_mean")
        ]
        yield model, f"{models.parameters(model):,}", NOTHING, *cells
    for network, by_dataset in MEDMNIST_BENCHMARK.items():
        cells = [theirs(Printed(value)) for dataset in HSE_DATASETS for value in reversed(by_dataset[dataset])]
        yield network, NOTHING, NOTHING, *cells


TABLES: Tables = {
    "comparison": _comparison,
    "certainty": _certainty,
    "uneven": _uneven,
    "x-rays": _xrays,
}
#: Tables of `liquidlens search`.
SEARCHES = ("liquidlens-s",)
