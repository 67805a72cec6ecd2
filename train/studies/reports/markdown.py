"""Tables in Markdown, and where they stand in a page."""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from liquidlens.errors import LiquidLensError
from liquidlens.train.studies.published import Printed
from liquidlens.train.studies.reports.rows import Summary

NOTHING, NO_RUN = "-", "No run yet."


#: Makers of tables, by the names of the parts in which they stand.
Tables = Mapping[str, Callable[[list[Summary]], str]]


class Plot(NamedTuple):
    """words: what it shows, for who cannot see it; draw: draws it into a figure."""

    words: str
    draw: Callable[[Any, list[Summary]], None]


def table(header: Sequence[str], rows: Iterable[Sequence[object]], side: str = "---:") -> str:
    """A table; columns after the first one are set to the right, or to another side."""
    lines = [header, ["---", *[side] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def searched(path: Path) -> str:
    """The trials of a search, the best first.  Raises LiquidLensError if there is no such table."""
    if not path.is_file():
        raise LiquidLensError(f"There is no {path}: `liquidlens search` makes it.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    header = [name for name in rows[0] if name not in ("model", "recipe", "over")]
    ranked = sorted(rows, key=lambda row: float(row["auc"].replace("NaN", "0")), reverse=True)
    return table(header, [[row[name] for name in header] for row in ranked])


def cost(summary: Summary) -> tuple[str, str]:
    """Mean epochs, and mean seconds of all of them."""
    return f"{summary.mean('epochs'):.0f}", f"{summary.mean('seconds'):,.0f}"


def ours(summary: Summary, column: str, scale: float = 1.0, digits: int = 3) -> str:
    """Mean and standard deviation of a figure over the seeds; just the figure for a single one."""
    deviation = summary.deviation(column)
    text = f"{scale * summary.mean(column):.{digits}f}"
    return text if deviation is None else f"{text} ± {scale * deviation:.{digits}f}"


def theirs(printed: Printed | None, scale: float = 1.0, digits: int = 3) -> str:
    if printed is None:
        return NOTHING
    text = f"{scale * printed.value:.{digits}f}"
    return text if printed.deviation is None else f"{text} ± {scale * printed.deviation:.{digits}f}"


def difference(summary: Summary, column: str, printed: Printed | None, scale: float = 1.0, digits: int = 3) -> str:
    """Ours minus the published one, with a word on the spread of our seeds."""
    if printed is None:
        return NOTHING
    words = {None: "", True: " inside", False: " **outside**"}[summary.holds(column, printed)]
    return f"{scale * (summary.mean(column) - printed.value):+.{digits}f}{words}"


def replaced(page: str, name: str, text: str) -> str:
    """A page with another text in its part ``<!-- name -->`` ... ``<!-- /name -->``.  Raises LiquidLensError if it has
    no such part."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise LiquidLensError(f"The page has no part {begin} ... {end} for this table.")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page, count=1)
