"""A search for the settings of a recipe, on held-out training scans: no test scan is looked at.

The table is all there is to a search: every trial is a line in it, and the next one follows from those lines, so a
search that was interrupted goes on from its table, and draws what it would have drawn.
"""

import csv
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import create_trial

from liquidlens.errors import LiquidLensError
from liquidlens.files import add_line, growing
from liquidlens.train.datasets import HELD_OUT, load
from liquidlens.train.loop.fit import raw_splits, resolve, train
from liquidlens.train.recipes import Training, json_or_text, rule, settings_for

#: The column of a table by which trials are judged: the mean of one figure per dataset and seed.
JUDGED = "auc"
#: Fields of a recipe that change what is judged or written down, not what is trained.
FIXED = {
    "recipe", "about", "evaluation_batch_size", "measure_training", "statistics", "subset_seed", "test_subset",
    "validate_on_test",
}  # fmt: skip
#: Trials that are drawn evenly before the others make a difference.
EVENLY = 4

Over = FloatDistribution | CategoricalDistribution
Row = dict[str, str]


@dataclass(frozen=True)
class Search:
    """What is searched: the settings `over` of a model's recipe, judged by the mean AUC over datasets and seeds.

    over: field of the recipe -> what it may be, see `parse_over`.  changes: other values for fields that are not
    searched.
    """

    model: str
    datasets: tuple[str, ...]
    over: Mapping[str, Over]
    recipe: str | None = None
    seeds: tuple[int, ...] = (0,)
    changes: Mapping[str, Any] | None = None

    def settings(self, values: Mapping[str, Any]) -> Training:
        return settings_for(self.model, self.recipe, {**(self.changes or {}), **values})

    @property
    def same(self) -> Row:
        """What is the same in all lines of its table."""
        over = "; ".join(
            f"{field}={values.low:g}..{values.high:g}"
            if isinstance(values, FloatDistribution)
            else f"{field}={','.join(map(json.dumps, values.choices))}"
            for field, values in self.over.items()
        )
        return {"model": self.model, "recipe": str(rule(self.settings({}))), "over": over}

    @property
    def columns(self) -> tuple[str, ...]:
        by_run = (f"{data} {seed}" for data in self.datasets for seed in self.seeds)
        return (*self.same, "trial", *self.over, *by_run, JUDGED, "seconds")


def run(
    search: Search,
    trials: int,
    out: str | Path,
    data_root: str | Path | None = None,
    runs: str | Path = "runs",
    say: Callable[[str], None] = print,
) -> str:
    """Train until the table `out` holds so many trials; returns a line about the best one.  say: takes such lines.

    The first trial is the recipe as it is, the next ones are drawn evenly, and then by Optuna's tree-structured Parzen
    estimator (Bergstra et al., 2011).  Each is trained on 70 % of every dataset's training scans, its epoch is chosen
    on the validation scans, and the other training scans judge it.

    Raises LiquidLensError before anything is trained for what does not fit together, and for a table that is damaged,
    of another search, or at which another process is at work.
    """
    out = Path(out)
    _check(search, trials, out, data_root)
    with growing(out) as table:
        rows = _rows(search, out)
        while len(rows) < trials:
            values = _next(search, rows)
            say(f"trial {len(rows)}, {len(rows) + 1} of {trials}: {_settings(search, values)}")
            shown = {field: _cell(value) for field, value in values.items()}
            judged = {name: _cell(value) for name, value in _judged(search, values, data_root, runs).items()}
            rows.append({**search.same, "trial": str(len(rows)), **shown, **judged})
            add_line(table, out, rows[-1])
            say(_line(search, rows[-1]))
    return _line(search, max(rows, key=_score))


def parse_over(assignments: Sequence[str]) -> dict[str, Over]:
    """``learning_rate=0.001..0.01``, a range searched by its logarithm, or ``batch_size=32,64``, one of two or more
    values, each as JSON or else as text.

    Raises LiquidLensError for anything else.
    """
    over: dict[str, Over] = {}
    for text in assignments:
        field, _, values = text.partition("=")
        low, dots, high = values.partition("..")
        if field in over:
            raise LiquidLensError(f"--over {text}: {field} is there twice.")
        over[field] = _range(text, low, high) if dots else _list(text, values.split(","))
    return over


def _range(text: str, low: str, high: str) -> FloatDistribution:
    with suppress(ValueError):
        if 0 < float(low) < float(high) < math.inf:
            return FloatDistribution(float(low), float(high), log=True)
    raise LiquidLensError(
        f"--over {text}: a range is searched by its logarithm; it goes from a number above 0 to a larger one."
    )


def _list(text: str, values: Sequence[str]) -> CategoricalDistribution:
    if len(set(values)) < max(2, len(values)):
        raise LiquidLensError(f"--over {text}: name different values, at least two, as in batch_size=32,64.")
    return CategoricalDistribution([json_or_text(value) for value in values])


def _check(search: Search, trials: int, out: Path, data_root) -> None:
    """Raise LiquidLensError for whatever would end the search later, after hours perhaps."""
    if not (search.over and search.datasets and search.seeds) or trials < 1:
        raise LiquidLensError("A search needs a setting to search over, a dataset, a seed and a trial.")
    if len(set(search.datasets)) < len(search.datasets):
        raise LiquidLensError("A search takes each dataset once.")
    if named := [data for data in search.datasets if data.endswith(HELD_OUT)]:
        raise LiquidLensError(f"A search holds training scans out by itself: {named[0].removesuffix(HELD_OUT)}.")
    if out.suffix != ".csv":
        raise LiquidLensError(f"--out {out}: the name of a table ends in .csv.")
    if fixed := FIXED.intersection(search.over):
        raise LiquidLensError(f"--over {fixed.pop()}: it changes how trials are judged, not how they are trained.")
    ends = {
        field: (values.low, values.high) if isinstance(values, FloatDistribution) else values.choices
        for field, values in search.over.items()
    }
    possible = [  # each value may fit by itself, and two of them not
        search.settings(dict(zip(fields, values, strict=True)))
        for fields in itertools.combinations(ends, min(2, len(ends)))
        for values in itertools.product(*(ends[field] for field in fields))
    ]
    drawn = {(settings.subset, settings.validation_subset): settings for settings in possible}
    _first(search)
    for data in search.datasets:
        dataset = load(data + HELD_OUT, data_root)
        if dataset.task == "pose":
            raise LiquidLensError("A search compares AUCs, and poses have none.")
        for settings in possible:
            if settings.validate_on_test:
                raise LiquidLensError(
                    f"{settings.recipe} chooses epochs on the scans that judge it: --set validate_on_test=false."
                )
            resolve(search.model, data + HELD_OUT, dataset, settings, max(search.seeds))
        for settings in drawn.values():
            raw_splits(dataset, resolve(search.model, data + HELD_OUT, dataset, settings))


def _first(search: Search) -> dict[str, Any]:
    """What the recipe has.  Raises LiquidLensError if that is not among what is searched."""
    recipe = search.settings({}).model_dump()
    first: dict[str, Any] = {}
    for field, values in search.over.items():
        value = recipe[field]
        if isinstance(values, CategoricalDistribution):
            among = [choice for choice in values.choices if choice == value]  # 1 where the recipe has 1.0
        elif isinstance(value, float):
            among = [value] if values.low <= value <= values.high else []
        else:
            raise LiquidLensError(f"--over {field}: a range draws fractions; list its values, as in batch_size=32,64.")
        if not among:
            raise LiquidLensError(f"--over {field}: the first trial is the recipe as it is; include its {value}.")
        first[field] = among[0]
    return first


def _next(search: Search, rows: Sequence[Row]) -> dict[str, Any]:
    """The settings of a trial, determined by those before it."""
    if not rows:
        return _first(search)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Not constant_liar, which is for trials that run side by side.
    sampler = TPESampler(seed=len(rows), n_startup_trials=EVENLY, constant_liar=False)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for row in rows:
        values = {field: _parsed(row[field], values) for field, values in search.over.items()}
        study.add_trial(create_trial(params=values, distributions=dict(search.over), value=_score(row)))
    drawn = study.ask(dict(search.over)).params
    return {field: _rounded(drawn[field], values) for field, values in search.over.items()}


def _rounded(value: Any, values: Over) -> Any:
    """A number that people can read, and that is the same in the table."""
    if isinstance(values, CategoricalDistribution):
        return value
    return min(max(float(f"{value:.3g}"), values.low), values.high)


def _parsed(cell: str, values: Over) -> Any:
    """A value from its cell.  Raises ValueError for what is none of `values`."""
    if isinstance(values, FloatDistribution):
        return float(cell)
    return values.choices[[_cell(choice) for choice in values.choices].index(cell)]


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, int | str) else json.dumps(value)


def _judged(search: Search, values: Mapping[str, Any], data_root, runs) -> dict[str, float]:
    aucs, seconds = {}, 0.0
    for data in search.datasets:
        for seed in search.seeds:
            changes = {**(search.changes or {}), **values}
            folder = train(
                search.model,
                data + HELD_OUT,
                search.recipe,
                seed=seed,
                changes=changes,
                data_root=data_root,
                runs=runs,
                progress=False,
            )
            metrics = folder.metrics()
            aucs[f"{data} {seed}"] = round(metrics.best.test["auc"], 6)
            seconds += metrics.seconds
    return {**aucs, JUDGED: round(float(np.mean(list(aucs.values()))), 6), "seconds": round(seconds)}


def _score(row: Row) -> float:
    """What a trial is worth: nothing if it has no AUC, because its training diverged.  Raises ValueError for what is no
    AUC."""
    auc = float(row[JUDGED])
    if math.isnan(auc):
        return 0.0
    if not 0 <= auc <= 1:
        raise ValueError(auc)
    return auc


def _settings(search: Search, values: Mapping[str, Any]) -> str:
    return ", ".join(f"{field}={_cell(values[field])}" for field in search.over)


def _line(search: Search, row: Row) -> str:
    return f"trial {row['trial']}: {_settings(search, row)}: held-out AUC {float(row[JUDGED]):.3f}"


def _rows(search: Search, out: Path) -> list[Row]:
    """The lines of a table.  Raises LiquidLensError if they are another search's, or not whole."""
    if not out.stat().st_size:
        return []
    with out.open(encoding="utf-8", errors="replace", newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    if JUDGED not in header:
        raise LiquidLensError(f"{out} is no search's table: name another --out.")
    if tuple(header) != search.columns:
        raise LiquidLensError(f"{out} holds another search: remove it or name another --out.")
    rows = []
    for number, line in enumerate(lines):
        row = dict(zip(header, line, strict=False))
        if len(line) == len(header) and not search.same.items() <= row.items():
            raise LiquidLensError(f"{out} holds another search: remove it or name another --out.")
        try:
            if len(line) != len(header) or row["trial"] != str(number):
                raise ValueError(line)
            for field, values in search.over.items():
                _parsed(row[field], values)
            _score(row)
        except ValueError as error:
            raise LiquidLensError(f"{out}, line {number + 2} is damaged: remove it and those below it.") from error
        rows.append(row)
    return rows
