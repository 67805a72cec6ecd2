"""kth-2021: recall of the eleven configurations, and whether their order is the paper's."""

from typing import Any

from liquidlens.train.studies.plans import KTH
from liquidlens.train.studies.reports.markdown import NOTHING, Plot, Tables, cost, ours, table, theirs
from liquidlens.train.studies.reports.rows import Summary

TRAIN, TEST = "mean_train_recall", "mean_val_recall"
#: Of the test images after the last epoch.  Networks that still predict a single class differ in it already.
AUC = "last_test_auc"


def _named(runs: list[Summary]) -> dict[str, Summary]:
    """The configurations that were run, in the report's order."""
    found = {(run.name, run.rule.recipe): run for run in runs}
    in_order = sorted(KTH, key=lambda name: (name != "DEFAULT", name))
    return {name: found[KTH[name]] for name in in_order if KTH[name] in found}


def _results(runs: list[Summary]) -> str:
    rows = []
    for name, run in _named(runs).items():
        printed = run.printed()
        # The corrected one validates on training images.
        test = NOTHING if run.rule.recipe == "kth-2021-corrected" else ours(run, TEST)
        columns = (ours(run, TRAIN), theirs(printed.get(TRAIN)), test, theirs(printed.get(TEST)))
        at_the_end = ours(run, "last_test_accuracy"), ours(run, AUC)
        rows.append((name, f"{run.parameters:,}", *columns, *at_the_end, *cost(run)))
    header = ("configuration", "parameters", "train recall", "published", "test recall", "published")
    return table((*header, "test accuracy at the end", "test AUC at the end", "epochs", "seconds"), rows)


def _ranking(runs: list[Summary]) -> str:
    compared = {name: run for name, run in _named(runs).items() if run.printed()}
    lines = []
    for words, ours_by, theirs_by in (
        ("recall on test images", TEST, TEST),
        ("recall on training images", TRAIN, TRAIN),
        ("AUC on test images at the end, of the report recall", AUC, TEST),
    ):
        mine = {name: run.mean(ours_by) for name, run in compared.items()}
        papers = {name: run.printed()[theirs_by].value for name, run in compared.items()}
        from scipy.stats import spearmanr

        agreement = spearmanr(list(mine.values()), list(papers.values())).statistic if len(mine) > 2 else None
        orders = (" > ".join(sorted(values, key=lambda name: -values[name])) for values in (mine, papers))
        lines.append((words, *orders, NOTHING if agreement is None else f"{agreement:.2f}"))
    return table(("by", "our order", "the report's", "Spearman's rank correlation"), lines)


def _order(figure: Any, runs: list[Summary]) -> None:
    figure.set_size_inches(5.5, 5)
    axes = figure.subplots()
    together: dict[tuple[float, float], list[tuple[float, float, str]]] = {}
    for name, run in _named(runs).items():
        if printed := run.printed():
            x, y = printed[TEST].value, run.mean(AUC)
            axes.plot(x, y, "o", color="tab:blue")
            together.setdefault((round(x, 1), round(y, 2)), []).append((x, y, name))
    for points in together.values():  # names of points side by side would cover each other
        names = ", ".join(name for *_, name in sorted(points))
        axes.annotate(names, min(points)[:2], (-6, 0), textcoords="offset points", fontsize=8, ha="right", va="center")
    axes.set(xlabel="published test recall, mean over 300 epochs", ylabel="our test AUC after the last epoch run")
    axes.margins(x=0.12)


TABLES: Tables = {"results": _results, "ranking": _ranking}
PLOTS = {
    "kth-2021-order": Plot("AUC on the test images against the published recall, a point for each", _order),
}
