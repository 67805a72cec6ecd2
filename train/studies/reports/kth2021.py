"""kth-2021: recall of the eleven configurations, and whether their order is the paper's."""

from functools import partial
from statistics import fmean as mean
from typing import Any

from liquidlens.train.studies.plans import KTH
from liquidlens.train.studies.reports.markdown import NO_RUN, NOTHING, Plot, Tables, cost, ours, table, theirs
from liquidlens.train.studies.reports.plots import Point, against
from liquidlens.train.studies.reports.rows import Summary
from liquidlens.train.studies.reports.verdicts import NOT_RUN, Claim, Finding, Verdict, greater, share

TRAIN, TEST = "mean_train_recall", "mean_val_recall"
#: Of the test images after the last epoch.  Networks that still predict a single class differ in it already.
AUC = "last_test_auc"


def _named(runs: list[Summary]) -> dict[str, Summary]:
    """The configurations that were run, in the report's order."""
    found = {(run.name, run.rule.recipe): run for run in runs if _variant(run) is None}
    in_order = sorted(KTH, key=lambda name: (name != "DEFAULT", name))
    return {name: found[KTH[name]] for name in in_order if KTH[name] in found}


def _variant(run: Summary) -> str | None:
    """What a run beside the configurations is called: that of another network, or with another batch."""
    if batch := dict(run.rule.changes).get("batch_size"):
        return f"{run.name}, batches of {batch}"
    return run.name if run.network.flags else None


def _results(runs: list[Summary]) -> str:
    rows = []
    variants = [(name, run) for run in runs if (name := _variant(run))]
    for name, run in [*_named(runs).items(), *variants]:
        printed = run.printed()
        # The corrected one validates on training images.
        test = NOTHING if run.rule.recipe == "kth-2021-corrected" else ours(run, TEST)
        columns = (ours(run, TRAIN), theirs(printed.get(TRAIN)), test, theirs(printed.get(TEST)))
        at_the_end = ours(run, "last_test_accuracy"), ours(run, AUC)
        rows.append((name, f"{run.parameters:,}", *columns, *at_the_end, *cost(run)))
    header = ("configuration", "parameters", "train recall", "published", "test recall", "published")
    last = ("test accuracy at the end", "test AUC at the end", "epochs", "seconds")
    return table((*header, *last), rows) if rows else NO_RUN


def _ranking(runs: list[Summary]) -> str:
    compared = {name: run for name, run in _named(runs).items() if run.printed()}
    if not compared:
        return NO_RUN
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
    axes.margins(x=0.2)


def _against(figure: Any, runs: list[Summary]) -> None:
    points = [
        Point(words, run.printed()[column].value, run.mean(column), run.deviation(column))
        for run in _named(runs).values()
        if run.printed()
        for words, column in (("test images", TEST), ("training images", TRAIN))
    ]
    against(figure, points, "mean recall over the epochs")


# --- Its claims ----------------------------------------------------------------------------------------------

#: A difference of two runs of one seed each that counts: two points of recall.
ALONE = 0.02


def _recalls(runs: list[Summary], name: str) -> list[float]:
    run = _named(runs).get(name)
    return [] if run is None else run.values(TEST)


def _raises(runs: list[Summary], name: str, over: str = "DEFAULT") -> Finding:
    return greater(_recalls(runs, name), _recalls(runs, over), ALONE)


def _lowers(runs: list[Summary], name: str) -> Finding:
    return greater(_recalls(runs, "DEFAULT"), _recalls(runs, name), ALONE)


def _largest(runs: list[Summary]) -> Finding:
    """Of all configurations that change one thing."""
    others = [name for name in KTH if name not in ("DEFAULT", "4E", "best", "corrected")]
    best = _recalls(runs, "4E")
    hits = [mean(best) > mean(values) for name in others if best and (values := _recalls(runs, name))]
    return share(hits, 1.0, "configurations below 4E", len(others))


def _ordered(runs: list[Summary]) -> Finding:
    compared = [run for run in _named(runs).values() if run.printed()]
    if len(compared) < 3:
        return NOT_RUN
    from scipy.stats import spearmanr

    found = spearmanr([run.mean(TEST) for run in compared], [run.printed()[TEST].value for run in compared])
    why = f"Spearman's rank correlation of {len(compared)} configurations; p = {found.pvalue:.3f}"
    verdict = Verdict.UNDECIDED
    if found.pvalue < 0.05:
        verdict = Verdict.REPRODUCED if found.statistic > 0 else Verdict.CONTRADICTED
    return Finding(f"{found.statistic:.2f}", verdict, why)


_TABLE_1, _TABLE_2 = "table 1", "table 2"
CLAIMS = (
    Claim("more filters raise recall (4A1)", _TABLE_1, partial(_raises, name="4A1")),
    Claim("one more fully connected layer lowers it (4A2)", _TABLE_1, partial(_lowers, name="4A2")),
    Claim("larger filters lower it (4B)", _TABLE_1, partial(_lowers, name="4B")),
    Claim("leaky ReLU raises it (4C)", _TABLE_1, partial(_raises, name="4C")),
    Claim("dropout raises it (4D)", _TABLE_1, partial(_raises, name="4D")),
    Claim("batch normalisation raises it (4E)", _TABLE_1, partial(_raises, name="4E")),
    Claim("batch normalisation raises it more than anything else", "section 4", _largest),
    Claim("batches of 256 lower it (5A)", _TABLE_2, partial(_lowers, name="5A")),
    Claim("a rate of 0.1 lowers it (5B)", _TABLE_2, partial(_lowers, name="5B")),
    Claim("shuffling raises it (5C)", _TABLE_2, partial(_raises, name="5C")),
    Claim(
        "all that raises it together is the best configuration", "section 4", partial(_raises, name="best", over="4E")
    ),
    Claim("the order of the ten configurations", "tables 1 and 2", _ordered),
)

TABLES: Tables = {"results": _results, "ranking": _ranking}
PLOTS = {
    "kth-2021-published": Plot("Recall, ours against the published one, a point for each configuration", _against),
    "kth-2021-order": Plot("AUC on the test images against the published recall, a point for each", _order),
}
