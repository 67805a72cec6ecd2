"""Writing the pages: every table between its marks, every plot beside the others."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing
from liquidlens.train import comparison
from liquidlens.train.studies.plans import plan
from liquidlens.train.studies.published import original
from liquidlens.train.studies.reports import (
    cmu,
    hse2024,
    kth2021,
    liquid_layers,
    liquidlens,
    truong2022,
    tum2018,
    tum2018_claims,
)
from liquidlens.train.studies.reports.markdown import NO_RUN, Plot, Tables, replaced, searched
from liquidlens.train.studies.reports.missing import missing
from liquidlens.train.studies.reports.rows import Row, Summary, summaries
from liquidlens.train.studies.reports.verdicts import Claim, verdicts
from liquidlens.train.studies.results import tables_of


@dataclass(frozen=True)
class Report:
    """What a page holds.  tables: by the name of its part; plots: by the name of its picture; searches: tables
    ``RESULTS/search/NAME.csv`` in parts of that name; claims: of a paper, in the part "verdicts", and what has not run
    of its plan in the part "missing"; compared: makes further tables and plots of the rows of `liquidlens compare` in
    ``RESULTS/compared/PAPER.csv`` and of the runs, and has the part "missing", too."""

    tables: Tables
    plots: Mapping[str, Plot] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    searches: tuple[str, ...] = ()
    compared: Callable[[list[Row], list[Summary]], tuple[Tables, Mapping[str, Plot]]] | None = None


REPORTS = {
    "hse-2024": Report(hse2024.TABLES, hse2024.PLOTS, hse2024.CLAIMS),
    "tum-2018": Report(tum2018.TABLES, tum2018.PLOTS, tum2018_claims.CLAIMS),
    "kth-2021": Report(kth2021.TABLES, kth2021.PLOTS, kth2021.CLAIMS),
    "cmu": Report(cmu.TABLES, cmu.PLOTS, cmu.CLAIMS),
    "truong-2022": Report(truong2022.TABLES, claims=truong2022.CLAIMS),
    "liquidlens": Report(liquidlens.TABLES, searches=liquidlens.SEARCHES),
    "liquid-layers": Report({}, compared=liquid_layers.parts),
}


def write(
    paper: str,
    results: str | Path = "docs/results",
    pages: str | Path = "docs/reproduction",
    pictures: str | Path = "docs/pictures",
) -> list[Path]:
    """Make the tables and plots of ``PAGES/PAPER.md`` anew from ``RESULTS``; returns the files written.

    Only the study's own runs count: others may stand in the same table, with fewer epochs or on other data.  Those on
    a copy of a paper's dataset count where there are none on the dataset itself.

    Raises LiquidLensError for an unknown paper, a damaged table, one without a line, and a page without the parts in
    which the tables stand.
    """
    source, *shared = tables_of(paper, results)
    planned = plan(paper).lines(paper)
    found = summaries([row for table in (source, *shared) for row in table.rows()], source.path.parent / "curves")
    there = {(run.dataset, run.network, run.rule) for run in found}
    runs = []
    for run in found:
        meant = original(run.dataset), run.network, run.rule
        if meant in planned and (run.dataset == meant[0] or meant not in there):
            runs.append(run)
    if not found:
        raise LiquidLensError(f"{source.path} has no line yet: `liquidlens study {paper}` adds them.")
    page = Path(pages) / f"{paper}.md"
    if not page.is_file():
        raise LiquidLensError(f"There is no page {page}: name its folder with --pages.")
    text = page.read_text(encoding="utf-8")
    report = REPORTS[paper]
    if report.compared is not None:
        tables, drawn = report.compared(comparison.read(Path(results) / "compared" / f"{paper}.csv"), runs)
        report = replace(report, tables=tables, plots=drawn)
    for name, make in report.tables.items():
        text = replaced(text, name, make(runs))
    if report.claims:
        text = replaced(text, "verdicts", verdicts(report.claims, runs))
    if report.claims or report.compared:
        text = replaced(text, "missing", missing(paper, runs, found))
    for name in report.searches:
        text = replaced(text, name, searched(Path(results) / "search" / f"{name}.csv"))
    plots = []
    for name, plot in report.plots.items():
        if not runs:
            text = replaced(text, name, NO_RUN)
            continue
        plots.append(_draw(Path(pictures) / f"{name}.png", plot.draw, runs))
        link = Path(os.path.relpath(plots[-1], page.parent)).as_posix()
        text = replaced(text, name, f"![{plot.words}]({link})")
    with replacing(page) as partial:
        partial.write_text(text, encoding="utf-8")
    return [page, *plots]


def _draw(path: Path, draw: Callable[[Any, list[Summary]], None], runs: list[Summary]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure, runs)
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
    return path
