"""What a study's plan has and its table has not, with the hours that it would take."""

import math
import re
from dataclasses import dataclass

from liquidlens import models
from liquidlens.train import recipes
from liquidlens.train.names import Network, Rule
from liquidlens.train.studies.plans import plan
from liquidlens.train.studies.published import original
from liquidlens.train.studies.reports.markdown import table
from liquidlens.train.studies.reports.rows import ENOUGH, Summary
from liquidlens.words import counted


@dataclass(frozen=True)
class Line:
    """A planned line of a table.  epochs: None where early stopping ends a training."""

    dataset: str
    network: Network
    rule: Rule
    rate: float
    epochs: int | None

    @property
    def at_other_rates(self) -> tuple[Network, str, Rule]:
        """What it has in common with the lines that differ from it in the learning rate alone."""
        rest = tuple(change for change in self.rule.changes if change[0] != "learning_rate")
        return self.network, self.dataset, Rule(self.rule.recipe, rest)


def missing(paper: str, runs: list[Summary], found: list[Summary]) -> str:
    """The planned lines without a run, and about how long one seed of each takes on one thread.

    runs: those of the plan; found: all that the table has, by which hours are estimated.
    """
    seeds = {(original(run.dataset), run.network, run.rule): run.seeds for run in runs}
    lines, few = [], 0
    for trial in plan(paper).trials:
        key = trial.line(paper)
        if key in seeds:
            few += seeds[key] < ENOUGH
            continue
        settings = recipes.training(trial.recipe or paper, dict(trial.changes))
        lines.append(Line(*key, settings.learning_rate, settings.max_epochs if settings.stop == "never" else None))
    hours = [_hours(line, found) for line in lines]
    said = f"Of {counted(len(plan(paper).trials), 'planned line')} {few} have run with fewer than {ENOUGH} seeds"
    if not lines:
        return f"{said}, and none has not run at all."
    whole = counted(math.ceil(math.fsum(hours)), "hour")
    said += f", and {len(lines)} not at all: about {whole} for one seed of each, on one thread."
    groups: dict[tuple[Network, str, Rule], list[tuple[Line, float]]] = {}
    for line, one in zip(lines, hours, strict=True):
        groups.setdefault(line.at_other_rates, []).append((line, one))
    rows = []
    for (network, dataset, rule), members in groups.items():
        rates = ", ".join(f"{rate:g}" for rate in sorted(line.rate for line, _ in members))
        words = members[0][0].rule if len(members) == 1 else f"{rule}, at rates {rates}"
        rows.append((network, dataset, words, f"{math.fsum(one for _, one in members):.2f}"))
    return f"{said}\n\n{table(('network', 'dataset', 'rule', 'hours'), rows)}"


def _hours(line: Line, found: list[Summary]) -> float:
    """By the run that is most like it: by the same recipe, on its dataset and as many scans of it, of the same network
    or one of its kind, of its size, in this order."""
    parameters, kind = models.parameters(line.network.model), _kind(line.network)

    def unlike(run: Summary) -> tuple[bool, bool, bool, bool, bool, float]:
        return (
            run.rule.recipe != line.rule.recipe,
            original(run.dataset) != line.dataset,
            _subset(run.rule) != _subset(line.rule),
            run.network.model != line.network.model,
            _kind(run.network) != kind,
            abs(math.log(run.parameters / parameters)),
        )

    like = min(found, key=unlike)
    epochs = like.mean("epochs")
    return like.mean("seconds") / epochs * (line.epochs or epochs) / 3600


def _subset(rule: Rule) -> str | None:
    return dict(rule.changes).get("subset")


def _kind(network: Network) -> tuple[str, ...]:
    """The first words of a name: LiqExp of LiqExp1N2, MLP and LSTM of 2MLP-LSTM-50x50."""
    return tuple(re.findall(r"[A-Za-z]{2,}", network.model)[:2])
