"""hse-2024: test AUC and accuracy of the 30 networks of its Table 1, beside those of its figures 4 to 18."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from liquidlens import models
from liquidlens.train.names import Network
from liquidlens.train.studies.plans import COMPACT, HSE_DATASETS, LIQUID, NODULES, OTHER_NODULES, OTHERS, SOURCE_LAYOUT
from liquidlens.train.studies.published import HSE_COLUMNS, Printed
from liquidlens.train.studies.reports.markdown import (
    NO_RUN,
    NOTHING,
    Plot,
    Tables,
    cost,
    difference,
    ours,
    table,
    theirs,
)
from liquidlens.train.studies.reports.plots import Point, against
from liquidlens.train.studies.reports.rows import ENOUGH, Summary
from liquidlens.train.studies.reports.verdicts import Claim, Finding, Verdict, greater, inside, not_greater, share

ACCURACY, AUC = HSE_COLUMNS
ORDER = (*COMPACT, *OTHERS, *LIQUID)
#: The printed figures of the LSTM and RNN rows are of the source's layout; and CNNExp1N3 is CNNExp1N1.
AS_PRINTED = {
    *(Network(model) for model in set(ORDER) - {*SOURCE_LAYOUT, "CNNExp1N3"}),
    *(Network(model, ("source_layout",)) for model in SOURCE_LAYOUT),
}
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
    return table((*header, "epochs", "seconds"), rows) if rows else NO_RUN


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


def _compared(runs: list[Summary]) -> list[tuple[Summary, Printed]]:
    """The runs of one dataset that are as the paper's are, with its AUC."""
    return [(run, run.printed()[AUC]) for run in runs if run.network in AS_PRINTED]


def _line(runs: list[Summary], dataset: str) -> tuple[object, ...]:
    compared = _compared(runs)
    off = [abs(run.mean(AUC) - printed.value) for run, printed in compared]
    judged = [verdict for run, printed in compared if (verdict := run.holds(AUC, printed)) is not None]
    figures = (f"{np.mean(off):.3f}", f"{max(off):.3f}") if off else (NOTHING, NOTHING)
    return dataset, len(compared), sum(run.seeds for run, _ in compared), *figures, f"{sum(judged)} of {len(judged)}"


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


def _against(figure: Any, runs: list[Summary]) -> None:
    points = [
        Point(dataset, printed.value, run.mean(AUC), run.deviation(AUC))
        for dataset in HSE_DATASETS
        for run, printed in _compared(_of(runs, dataset))
    ]
    against(figure, points, "test AUC")


# --- Its claims ----------------------------------------------------------------------------------------------

Judge = Callable[..., Finding]
_RECURRENT = ("LSTM", "RNN")


def _group(runs: list[Summary], dataset: str, *kinds: str, column: str = AUC) -> list[float]:
    """The means of all networks of some kinds, one for each."""
    compared = _compared(_of(runs, dataset))
    return [run.mean(column) for run, _ in compared if run.network.model.partition("Exp")[0] in kinds]


def _compared_groups(judge: Judge, runs: list[Summary], dataset: str, more: str, less: str) -> Finding:
    """Of two kinds of networks; undecided until half of either have run, and nothing is said of single ones."""
    groups = [_group(runs, dataset, kind) for kind in (more, less)]
    found = judge(*groups, alone=float("inf"), of="network")
    for kind, group in zip((more, less), groups, strict=True):
        whole = sum(network.model.startswith(kind) for network in AS_PRINTED)
        if found.verdict is not Verdict.NOT_RUN and 2 * len(group) < whole:
            why = f"{found.why}; {kind}: {len(group)} of {whole} have run"
            found = found._replace(verdict=Verdict.UNDECIDED, why=why)
    return found


_better, _not_better = partial(_compared_groups, greater), partial(_compared_groups, not_greater)


def _slower(runs: list[Summary]) -> Finding:
    liquid, cnn = (
        [v for d in HSE_DATASETS for v in _group(runs, d, kind, column="seconds")] for kind in ("Liq", "CNN")
    )
    found = greater(liquid, cnn, alone=float("inf"), digits=0, of="network")
    return found._replace(why=f"{found.why}; seconds of a training, on a machine that did other things, too")


def _ahead_of_recurrent(runs: list[Summary]) -> Finding:
    hits = [
        liquid > other
        for dataset in HSE_DATASETS
        for liquid in _group(runs, dataset, "Liq")
        for other in _group(runs, dataset, *_RECURRENT)
    ]
    counts = [sum(network.model.startswith(kinds) for network in AS_PRINTED) for kinds in ("Liq", _RECURRENT)]
    whole = len(HSE_DATASETS) * counts[0] * counts[1]
    return share(hits, 0.5, "pairs of a liquid network and an LSTM or RNN in the source's layout", whole)


def _smaller_than(kind: str) -> Finding:
    liquid, other = (
        np.mean([models.parameters(n.model) for n in AS_PRINTED if n.model.startswith(k)]) for k in ("Liq", kind)
    )
    reached = liquid < other
    verdict = Verdict.REPRODUCED if reached else Verdict.CONTRADICTED
    return Finding(f"{liquid:,.0f} against {other:,.0f}", verdict, "parameters, means over the rows of table 1")


def _printed_aucs(runs: list[Summary], dataset: str) -> Finding:
    return inside(_compared(_of(runs, dataset)), AUC, len(AS_PRINTED))


_RESULTS, _APPENDIX = "Experimental Results", "figures 4 to 18"
CLAIMS = (
    Claim(
        "CNNs have the better AUC on AdrenalMNIST3D",
        _RESULTS,
        partial(_better, dataset=HSE_DATASETS[0], more="CNN", less="Liq"),
    ),
    Claim(
        "liquid networks are comparable or better on VesselMNIST3D",
        _RESULTS,
        partial(_not_better, dataset=HSE_DATASETS[1], more="CNN", less="Liq"),
    ),
    Claim(
        "liquid networks are comparable or better on NoduleMNIST3D",
        _RESULTS,
        partial(_not_better, dataset=NODULES, more="CNN", less="Liq"),
    ),
    Claim(
        "no significant benefit over CNNs on VesselMNIST3D",
        "Conclusion",
        partial(_not_better, dataset=HSE_DATASETS[1], more="Liq", less="CNN"),
    ),
    Claim("liquid networks take longer to train than CNNs", _RESULTS, _slower),
    Claim("liquid networks outperform RNN and LSTM in most configurations", "Conclusion", _ahead_of_recurrent),
    Claim("with significantly fewer parameters than the LSTM rows", "Conclusion", lambda _: _smaller_than("LSTM")),
    Claim("with significantly fewer parameters than the RNN rows", "Conclusion", lambda _: _smaller_than("RNN")),
    *(
        Claim(f"the printed AUCs on {dataset}", _APPENDIX, partial(_printed_aucs, dataset=dataset))
        for dataset in (*HSE_DATASETS, NODULES)
    ),
)

TABLES: Tables = {
    "summary": _summary,
    **{dataset: partial(_results, dataset=dataset) for dataset in (*HSE_DATASETS, NODULES)},
    OTHER_NODULES: _other_nodules,
}
PLOTS = {
    "hse-2024-auc": Plot("Test AUC against the number of parameters, ours and published", _auc_against_parameters),
    "hse-2024-published": Plot("Test AUC, ours against the published one, a point for each network", _against),
}
