"""hse-2024: test AUC and accuracy of the 30 networks of its Table 1, beside those of its figures 4 to 18."""

from functools import partial
from typing import Any

import numpy as np

from liquidlens.train.names import Network
from liquidlens.train.studies.plans import COMPACT, HSE_DATASETS, LIQUID, NODULES, OTHER_NODULES, OTHERS, SOURCE_LAYOUT
from liquidlens.train.studies.published import HSE_COLUMNS
from liquidlens.train.studies.reports.markdown import NOTHING, Plot, Tables, cost, difference, ours, table, theirs
from liquidlens.train.studies.reports.rows import ENOUGH, Summary

ACCURACY, AUC = HSE_COLUMNS
ORDER = (*COMPACT, *OTHERS, *LIQUID)
TICKS = (10_000, 20_000, 50_000, 100_000)
KINDS = {"CNN": "tab:blue", "Liq": "tab:green", "LSTM": "tab:orange", "RNN": "tab:red"}


def _of(runs: list[Summary], dataset: str) -> list[Summary]:
    """The paper's own runs on a dataset, as its Table 2 and then its Table 1 list them."""
    return sorted(
        (run for run in runs if run.dataset == dataset),
        key=lambda run: (ORDER.index(run.network.model), run.name),
    )


def _name(run: Summary) -> str:
    """The network, set in bold where the paper's Table 2 has it."""
    return f"**{run.name}**" if run.name in COMPACT else run.name


def _results(runs: list[Summary], dataset: str) -> str:
    header = ("model", "parameters", "seeds", "test AUC", "published", "difference", "accuracy", "published")
    rows = []
    for run in _of(runs, dataset):
        printed = run.printed()
        auc = ours(run, AUC), theirs(printed.get(AUC)), difference(run, AUC, printed.get(AUC))
        accuracy = ours(run, ACCURACY), theirs(printed.get(ACCURACY))
        rows.append((_name(run), f"{run.parameters:,}", run.seeds, *auc, *accuracy, *cost(run)))
    return table((*header, "epochs", "seconds"), rows) if rows else "No run yet."


def _other_nodules(runs: list[Summary]) -> str:
    rows = [
        (_name(run), f"{run.parameters:,}", run.seeds, ours(run, AUC), ours(run, ACCURACY), *cost(run))
        for run in _of(runs, OTHER_NODULES)
    ]
    return table(("model", "parameters", "seeds", "test AUC", "accuracy", "epochs", "seconds"), rows)


def _summary(runs: list[Summary]) -> str:
    header = ("dataset", "networks", "runs", "mean absolute difference of AUC", "largest")
    return table(
        (*header, f"inside, of those with {ENOUGH} seeds or more"),
        [_line(_of(runs, dataset), dataset) for dataset in HSE_DATASETS],
    )


def _line(runs: list[Summary], dataset: str) -> tuple[object, ...]:
    # The printed figures of the LSTM and RNN rows are of the source's layout; and CNNExp1N3 is CNNExp1N1.
    rows = {Network(model) for model in set(ORDER) - {*SOURCE_LAYOUT, "CNNExp1N3"}}
    rows |= {Network(model, ("source_layout",)) for model in SOURCE_LAYOUT}
    compared = [(run, run.printed()[AUC]) for run in runs if run.network in rows]
    off = [abs(run.mean(AUC) - printed.value) for run, printed in compared]
    judged = [verdict for run, printed in compared if (verdict := run.holds(AUC, printed)) is not None]
    figures = (f"{np.mean(off):.3f}", f"{max(off):.3f}") if off else (NOTHING, NOTHING)
    return dataset, len(compared), sum(run.seeds for run in runs), *figures, f"{sum(judged)} of {len(judged)}"


def _auc_against_parameters(figure: Any, runs: list[Summary]) -> None:
    figure.set_size_inches(11, 4.5)
    for axes, dataset in zip(figure.subplots(1, len(HSE_DATASETS)), HSE_DATASETS, strict=True):
        for run in _of(runs, dataset):
            colour = KINDS[run.network.model.partition("Exp")[0]]
            # The printed figures of recurrent rows are of the source's layout.
            read_slices = run.name in SOURCE_LAYOUT
            mean, printed = run.mean(AUC), None if read_slices else run.printed().get(AUC)
            axes.errorbar(run.parameters, mean, run.deviation(AUC) or 0, marker="o", color=colour, capsize=3)
            if printed is not None:
                axes.plot([run.parameters] * 2, [mean, printed.value], color=colour, linewidth=0.7, alpha=0.5)
                axes.plot(run.parameters, printed.value, "o", markerfacecolor="white", color=colour)
        axes.set(xscale="log", title=dataset, xlabel="parameters", ylabel="test AUC")
        axes.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
        axes.minorticks_off()
    for kind, colour in KINDS.items():
        figure.axes[0].plot([], [], "o", color=colour, label=kind)
    figure.axes[0].plot([], [], "o", markerfacecolor="white", color="grey", label="published")
    figure.axes[0].legend(frameon=False, ncols=2)


TABLES: Tables = {
    "summary": _summary,
    **{dataset: partial(_results, dataset=dataset) for dataset in (*HSE_DATASETS, NODULES)},
    OTHER_NODULES: _other_nodules,
}
PLOTS = {"hse-2024-auc": Plot("Test AUC against the number of parameters, ours and published", _auc_against_parameters)}
