"""Runs as they are compared: all seeds of a network together."""

import csv
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from liquidlens.train.names import Network, Rule
from liquidlens.train.recipes import RECIPES
from liquidlens.train.studies.published import Figures, Printed, published
from liquidlens.train.studies.results import curves_of

Row = dict[str, str]

#: So many seeds are enough to judge a published value by their spread.
ENOUGH = 3


@dataclass(frozen=True)
class Summary:
    """All seeds of a network on a dataset, trained by one rule (a recipe and what was changed of it).

    curves: the folder with the curves of a study's runs.
    """

    rows: tuple[Row, ...]
    curves: Path | None = None

    @cached_property
    def network(self) -> Network:
        return Network.parse(self.rows[0]["model"])

    @property
    def name(self) -> str:
        """The network in print."""
        return str(self.network)

    @property
    def dataset(self) -> str:
        return self.rows[0]["dataset"]

    @cached_property
    def rule(self) -> Rule:
        return Rule.parse(self.rows[0]["recipe"])

    @property
    def parameters(self) -> int:
        return int(self.rows[0]["parameters"])

    @property
    def seeds(self) -> int:
        return len(self.rows)

    @property
    def learning_rate(self) -> float:
        """The recipe's own, if the rule does not change it."""
        return float(dict(self.rule.changes).get("learning_rate", RECIPES[self.rule.recipe].learning_rate))

    def values(self, column: str) -> list[float]:
        return [float(row[column]) for row in self.rows]

    def curve(self, column: str) -> list[list[float]]:
        """A column of the epochs of each seed that has curves."""
        found = []
        for row in self.rows:
            if self.curves is not None and (path := curves_of(row, self.curves)).is_file():
                with path.open(encoding="utf-8", newline="") as file:
                    found.append([float(epoch[column]) for epoch in csv.DictReader(file)])
        return found

    def mean(self, column: str) -> float:
        return statistics.fmean(self.values(column))

    def deviation(self, column: str) -> float | None:
        """Standard deviation over the seeds (n - 1); None for a single one."""
        values = self.values(column)
        return statistics.stdev(values) if len(values) > 1 else None

    def printed(self, table: str | None = None) -> Figures:
        """What the paper prints for this network."""
        return published(self.rows[0]["paper"], self.network.model, self.dataset, self.rule.recipe, table)

    def holds(self, column: str, printed: Printed) -> bool | None:
        """Whether a published value lies where 95 % of means of as many further seeds of ours would: Student's
        prediction interval.  None for too few seeds."""
        deviation = self.deviation(column)
        if deviation is None or self.seeds < ENOUGH:
            return None
        from scipy.stats import t  # half a second, which a refused name need not wait for

        reach = t.ppf(0.975, self.seeds - 1) * deviation * math.sqrt(1 / printed.runs + 1 / self.seeds)
        return bool(abs(printed.value - self.mean(column)) <= reach)


def summaries(rows: Iterable[Row], curves: Path | None = None) -> list[Summary]:
    """Rows by dataset, model and rule, in the order in which these first appear; curves: see `Summary`."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["dataset_md5"], row["model"], row["recipe"]), []).append(row)
    return [Summary(tuple(sorted(group, key=lambda row: int(row["seed"]))), curves) for group in groups.values()]


def best_by_validation(candidates: Sequence[Summary], column: str) -> list[Summary]:
    """Of each model on each dataset the rule with the highest mean of a validation figure, in order."""
    best: dict[tuple[str, Network], Summary] = {}
    for one in candidates:
        here = best.get((one.dataset, one.network))
        if here is None or one.mean(column) > here.mean(column):
            best[one.dataset, one.network] = one
    return list(best.values())
