"""Writing the pages: every table between its marks, every plot beside the others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging import LiquidLensError
from train.plans import PLANS, plan
from train.reports import cmu, hse2024, kth2021, truong2022, tum2018
from train.reports.markdown import replaced
from train.reports.rows import Summary, summaries
from train.results import ResultsTable


@dataclass(frozen=True)
class Report:
    """What a page holds.  tables: by the name of its part; plots: by the name of its picture, drawn into a figure."""

    tables: dict[str, Callable[[list[Summary]], str]]
    plots: dict[str, Callable[[Any, list[Summary]], None]]


REPORTS = {
    paper: Report(module.TABLES, module.PLOTS)
    for paper, module in zip(PLANS, (hse2024, tum2018, kth2021, cmu, truong2022), strict=True)
}


def write(
    paper: str,
    results: str | Path = "docs/results",
    pages: str | Path = "docs/reproduction",
    pictures: str | Path = "docs/pictures",
) -> list[Path]:
    """Make the tables and plots of ``PAGES/PAPER.md`` anew from ``RESULTS/PAPER.csv``; returns the files written.

    Raises LiquidLensError for an unknown paper, a damaged table, one without a line, and a page without the parts in
    which the tables stand.
    """
    source = ResultsTable(Path(results) / f"{paper}.csv", plan(paper).figures)
    runs = summaries(source.rows())
    if not runs:
        raise LiquidLensError(f"{source.path} has no line yet: `liquidlens study {paper}` adds them.")
    page = Path(pages) / f"{paper}.md"
    if not page.is_file():
        raise LiquidLensError(f"There is no page {page}: name its folder with --pages.")
    text = page.read_text(encoding="utf-8")
    for name, make in REPORTS[paper].tables.items():
        text = replaced(text, name, make(runs))
    page.write_text(text, encoding="utf-8")
    return [page, *(_draw(Path(pictures) / f"{name}.png", draw, runs) for name, draw in REPORTS[paper].plots.items())]


def _draw(path: Path, draw: Callable[[Any, list[Summary]], None], runs: list[Summary]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure, runs)
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
