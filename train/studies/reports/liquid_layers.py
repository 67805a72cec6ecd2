"""liquid-layers: what networks lose or gain by liquid layers, beside twins that differ in nothing else."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from liquidlens.train.comparison import ALL, CLEAN, FIGURES, MEAN, Condition
from liquidlens.train.names import Network, Rule
from liquidlens.train.studies.reports.liquidlens import ACCURACY, AUC, ECE, SELECTIVE
from liquidlens.train.studies.reports.markdown import NO_RUN, NOTHING, Plot, Tables, ours, table
from liquidlens.train.studies.reports.rows import Row, Summary
from liquidlens.words import counted

#: What passes the steps of a sequence, by the flag of the twin.
PASSED = {
    "mean": "nothing: each step alone",
    "gru": "GRU",
    "rnn": "simple RNN",
    "cfc": "CfC",
    "": "nothing, and fewer parameters",
}
#: The figures of `comparison.FIGURES` in a study's table, and in words; of calibration errors less is better.
COLUMNS = dict(zip(FIGURES, (AUC, ACCURACY, ECE, SELECTIVE), strict=True))
WORDS = dict(zip(FIGURES, ("AUC", "accuracy", "ECE", "accuracy on the surest 90 %"), strict=True))
LESS_IS_BETTER = {"ece"}
CORRUPTED: Condition = (ALL, MEAN)
ALL_SCANS = "all scans"


class Pair(NamedTuple):
    """Networks that differ in what passes their sequences alone, trained by one rule on one dataset."""

    dataset: str
    rule: Rule
    liquid: Network
    twin: Network

    @property
    def scans(self) -> str:
        """What both were trained on."""
        return _trained_on(self.rule)

    @property
    def words(self) -> str:
        few = "" if self.scans == ALL_SCANS else f", {self.scans},"
        return f"{self.dataset}{few} beside {_twin(self.twin) or 'CNN'}"

    @property
    def passed(self) -> str:
        return PASSED[_twin(self.twin)]


@dataclass
class Effect:
    """Liquid layers minus their twin, in one figure and condition, by seed.

    reaches: how far the interval over patients goes down and up from the difference, of each seed that was compared."""

    by_seed: dict[str, float] = field(default_factory=dict)
    reaches: list[tuple[float, float]] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.by_seed.values())

    @property
    def over_seeds(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean difference; None for a single seed."""
        values = list(self.by_seed.values())
        if len(values) < 2:
            return None
        from scipy.stats import t  # as in `rows`

        reach = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
        return self.mean - reach, self.mean + reach

    @property
    def over_patients(self) -> tuple[float, float] | None:
        """As wide as a seed's own interval is in the mean, around the mean difference."""
        if not self.reaches:
            return None
        down, up = (statistics.fmean(reach) for reach in zip(*self.reaches, strict=True))
        return self.mean + down, self.mean + up

    @property
    def sign(self) -> int:
        """1 or -1 if both intervals lie above or below 0, else 0."""
        return _side(self.over_seeds) if _side(self.over_seeds) == _side(self.over_patients) else 0

    def __str__(self) -> str:
        reaches = (
            NOTHING if interval is None else f"± {(interval[1] - interval[0]) / 2:.3f}"
            for interval in (self.over_seeds, self.over_patients)
        )
        text = f"{self.mean:+.3f} ({'; '.join(reaches)})"
        return f"**{text}**" if self.sign else text


#: By pair, condition and figure.
Effects = dict[Pair, dict[Condition, dict[str, Effect]]]


def _side(interval: tuple[float, float] | None) -> int:
    return 0 if interval is None else (interval[0] > 0) - (interval[1] < 0)


def _trained_on(rule: Rule) -> str:
    """How many training scans a rule takes; of all, for how many epochs if these are not its recipe's."""
    changes = dict(rule.changes)
    if "subset" in changes:
        return f"{changes['subset']} scans"
    return f"all scans, {changes['max_epochs']} epochs" if "max_epochs" in changes else ALL_SCANS


def _twin(network: Network) -> str:
    return next((flag for flag in network.flags if flag in PASSED), "")


def _liquid_of(network: Network) -> Network | None:
    """The network with liquid layers whose twin this is."""
    if twin := _twin(network):
        return replace(network, flags=tuple(flag for flag in network.flags if flag != twin))
    return replace(network, model="LiquidLens-S") if network.model == "LiquidLens-CNN" else None


def effects(rows: Sequence[Row], runs: Sequence[Summary]) -> Effects:
    """Of rows of `liquidlens compare`, and of the study's runs as they are where these were not compared.

    Both name the same figures of the same runs; runs have more seeds, whose weights need not be kept."""
    found: Effects = {}

    def effect(pair: Pair, condition: Condition, figure: str) -> Effect:
        return found.setdefault(pair, {}).setdefault(condition, {}).setdefault(figure, Effect())

    for row in rows:
        names = Network.parse(row["model"]), Network.parse(row["twin_model"])
        pair = Pair(row["dataset"], Rule.parse(row["recipe"]), *names)
        for figure in FIGURES:
            one = effect(pair, (row["corruption"], row["severity"]), figure)
            difference = float(row[figure]) - float(row[f"twin_{figure}"])
            one.by_seed[row["seed"]] = difference
            one.reaches.append((float(row[f"{figure}_low"]) - difference, float(row[f"{figure}_high"]) - difference))
    by_name = {(run.dataset, run.rule, run.network): run for run in runs}
    for twin in runs:
        liquid = _liquid_of(twin.network)
        if liquid is None or (run := by_name.get((twin.dataset, twin.rule, liquid))) is None:
            continue
        for figure, column in COLUMNS.items():
            one = effect(Pair(twin.dataset, twin.rule, liquid, twin.network), CLEAN, figure)
            theirs = {row["seed"]: float(row[column]) for row in twin.rows}
            ours_ = {row["seed"]: float(row[column]) for row in run.rows}
            one.by_seed |= {seed: ours_[seed] - theirs[seed] for seed in ours_.keys() & theirs.keys()}
    kinds = list(PASSED)
    order = sorted(found, key=lambda pair: (pair.dataset, pair.liquid.model, pair.scans, kinds.index(_twin(pair.twin))))
    return {pair: found[pair] for pair in order if found[pair][CLEAN]["auc"].by_seed}


# --- The page's parts ---------------------------------------------------------------------------------------


def _table(found: Effects) -> str:
    rows = []
    for pair, by_condition in found.items():
        for condition, words in ((CLEAN, "as they are"), (CORRUPTED, "corrupted")):
            if of_figures := by_condition.get(condition):
                about = pair.dataset, pair.scans, pair.passed, words, len(of_figures["auc"].by_seed)
                rows.append((*about, *of_figures.values()))
    header = ("dataset", "trained on", "the twin passes", "test scans", "seeds", *WORDS.values())
    return table(header, rows) if rows else NO_RUN


def _by_kind(found: Effects) -> str:
    compared = [pair for pair in found if CORRUPTED in found[pair]]
    if not compared:
        return NO_RUN
    named = dict.fromkeys(name for pair in compared for name, severity in found[pair] if severity == MEAN)
    kinds = (*(kind for kind in named if kind != ALL), ALL)
    rows = []
    for pair in compared:
        cells = [found[pair].get((kind, MEAN), {}).get("auc") for kind in kinds]
        about = pair.dataset, pair.scans, _twin(pair.twin) or "CNN"
        rows.append((*about, *(NOTHING if cell is None else _short(cell) for cell in cells)))
    return table(("dataset", "trained on", "twin", *kinds), rows)


def _short(effect: Effect) -> str:
    return f"**{effect.mean:+.3f}**" if effect.sign else f"{effect.mean:+.3f}"


def _conclusion(found: Effects) -> str:
    """How many differences both intervals decide, which ones, and what that says; of single seeds what patients say."""
    lines, judged, helps, harms = [], 0, 0, 0
    for figure, words in WORDS.items():
        better = -1 if figure in LESS_IS_BETTER else 1
        both, alone = {}, {}
        for pair, by in found.items():
            for condition, which in ((CLEAN, "as they are"), (CORRUPTED, "corrupted")):
                one = by.get(condition, {}).get(figure)
                if one is None or one.over_patients is None:
                    continue
                name = f"{pair.words}, {which}"
                if one.over_seeds is None:
                    alone[name] = better * _side(one.over_patients)
                else:
                    both[name] = better * one.sign
        judged += len(both)
        helps, harms = helps + list(both.values()).count(1), harms + list(both.values()).count(-1)
        lines.append(
            f"- {words}: of {counted(len(both), 'difference')} that both intervals can judge, {_counted(both)}; of "
            f"{len(alone)} of a single seed, by patients alone, {_counted(alone)}."
        )
    said = {
        (False, False): "Nothing here shows that liquid layers help, or that they harm.",
        (True, False): "Liquid layers help where a difference below is for them; nothing shows that they harm.",
        (False, True): "Nothing here shows that liquid layers help; where a difference is against them, they harm.",
        (True, True): "Liquid layers help in some of these, and harm in others.",
    }[_more_than_chance(helps, judged), _more_than_chance(harms, judged)]
    count = f"Of {judged} differences that both intervals can judge, {helps} are for them and {harms} against."
    return "\n".join((f"**{said}** {count}", "", *lines))


def _more_than_chance(hits: int, judged: int) -> bool:
    """Whether so many 95 % intervals on one side of 0 are more than one time in twenty finds if nothing differs."""
    from scipy.stats import binom  # as in `rows`

    return bool(binom.sf(hits - 1, judged, 0.025) < 0.05)


def _counted(signs: dict[str, int]) -> str:
    good, bad = ([name for name, sign in signs.items() if sign == wanted] for wanted in (1, -1))
    return f"{len(good)} for the liquid layers{_listed(good)}, {len(bad)} against them{_listed(bad)}"


def _listed(names: Iterable[str]) -> str:
    text = "; ".join(names)
    return f" ({text})" if text else ""


def _levels(runs: list[Summary]) -> str:
    ordered = sorted(runs, key=lambda run: (run.dataset, _trained_on(run.rule)))
    rows = [
        (
            run.dataset,
            _trained_on(run.rule),
            run.name,
            f"{run.parameters:,}",
            run.seeds,
            *(ours(run, column) for column in COLUMNS.values()),
        )
        for run in ordered
    ]
    header = ("dataset", "trained on", "network", "parameters", "seeds", *WORDS.values())
    return table(header, rows) if rows else NO_RUN


def _curves(figure: Any, rows: Sequence[Row]) -> None:
    """AUC over severity, the mean over corruptions and seeds: a panel for each dataset and number of training scans."""
    panels: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = {}
    seen = set()
    corrupted = {_runs(row) for row in rows if row["corruption"] == ALL}
    for row in rows:
        if row["severity"] == MEAN or _runs(row) not in corrupted:
            continue
        title = row["dataset"], _trained_on(Rule.parse(row["recipe"]))
        for prefix in ("", "twin_"):
            key = title, row[f"{prefix}model"], row[f"{prefix}seed"], row["corruption"], row["severity"]
            if key not in seen:  # a network with several twins stands in several rows
                seen.add(key)
                line = panels.setdefault(title, {}).setdefault(row[f"{prefix}model"], {})
                line.setdefault(int(row["severity"]), []).append(float(row[f"{prefix}auc"]))
    columns = min(3, len(panels))
    figure.set_size_inches(3.6 * columns, 3.2 * math.ceil(len(panels) / columns))
    axes = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
    for one, ((dataset, scans), lines) in zip(axes, sorted(panels.items()), strict=False):
        for model, by_severity in sorted(lines.items(), key=lambda line: _colour(line[0])):
            severities = sorted(by_severity)
            means = [statistics.fmean(by_severity[severity]) for severity in severities]
            one.plot(severities, means, marker="o", markersize=3, label=model, color=f"C{_colour(model)}")
        one.set(title=f"{dataset}, {scans}", xlabel="severity", ylabel="AUC")
        one.legend(frameon=False, fontsize=7)
    for unused in axes[len(panels) :]:
        unused.remove()


def _colour(model: str) -> int:
    """The same for a kind of twin in every panel; 0 for liquid layers."""
    network = Network.parse(model)
    return 0 if _liquid_of(network) is None else 1 + list(PASSED).index(_twin(network))


def _runs(row: Row) -> tuple[str, ...]:
    return tuple(row[column] for column in ("dataset", "recipe", "model", "seed", "twin_model", "twin_seed"))


def parts(rows: list[Row], runs: list[Summary]) -> tuple[Tables, dict[str, Plot]]:
    """The parts of the page that rows of `liquidlens compare` join to make."""
    found = effects(rows, runs)
    tables: Tables = {
        "conclusion": lambda _: _conclusion(found),
        "effects": lambda _: _table(found),
        "kinds": lambda _: _by_kind(found),
        "levels": _levels,
    }
    words = "AUC over the severity of corruptions, networks with liquid layers and their twins"
    return tables, {"liquid-layers": Plot(words, lambda figure, _: _curves(figure, rows))}
