"""Whether a paper's claims show in our runs: a table of verdicts, computed from the results."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from liquidlens.train.studies.published import Printed
from liquidlens.train.studies.reports.markdown import NOTHING, table
from liquidlens.train.studies.reports.rows import ENOUGH, Summary
from liquidlens.words import counted


class Verdict(StrEnum):
    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"
    NOT_RUN = "not run"


class Finding(NamedTuple):
    """What our runs say of a claim: our figure, the verdict, and why."""

    ours: str
    verdict: Verdict
    why: str


NOT_RUN = Finding(NOTHING, Verdict.NOT_RUN, "no such run is in the table")


class Claim(NamedTuple):
    """A sentence of a paper, where it stands there, and what decides it."""

    says: str
    where: str
    judge: Callable[[list[Summary]], Finding]


def verdicts(claims: Sequence[Claim], runs: list[Summary]) -> str:
    """How many claims are reproduced, and the table of them all."""
    found = [(claim, claim.judge(runs)) for claim in claims]
    counts = {verdict: sum(finding.verdict is verdict for _, finding in found) for verdict in Verdict}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    rows = [(claim.says, claim.where, f.ours, f"**{f.verdict}**", f.why) for claim, f in found]
    return f"{len(found)} claims: {summary}.\n\n" + table(
        ("the paper says", "where", "ours", "verdict", "why"), rows, "---"
    )


# --- What decides -------------------------------------------------------------------------------------------


def greater(
    more: Sequence[float],
    less: Sequence[float],
    alone: float,
    scale: float = 1.0,
    digits: int = 3,
    of: str = "seed",
) -> Finding:
    """Whether the first of two networks, of which these are the figures by seed, has the greater one; or the first of
    two groups of networks, of which these are the means.

    From two seeds of each on, if Welch's 95 % interval of the difference of means is on one side of 0; with a single
    seed of either nothing is known of the spread, and a difference counts that is greater than `alone`.
    """
    if not more or not less:
        return NOT_RUN
    from scipy.stats import ttest_ind  # as in `rows`

    off = float(np.mean(more) - np.mean(less))
    by = f"{len(more)} and {len(less)} {of}s" if len(more) != len(less) else f"{counted(len(more), of)} each"
    if min(len(more), len(less)) > 1:
        low, high = ttest_ind(more, less, equal_var=False).confidence_interval(0.95)
        low, high = (off, off) if np.isnan(low) else (low, high)  # no spread at all
        ours = f"{scale * off:+.{digits}f} ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"
        why = f"95 % interval of the difference, {by}"
    else:
        low, high = off - alone, off + alone
        ours = f"{scale * off:+.{digits}f}"
        why = f"{by}: from {scale * alone:g} on a difference counts"
    return Finding(ours, _by(low > 0, high < 0), why)


def not_greater(more: Sequence[float], less: Sequence[float], alone: float, **form: Any) -> Finding:
    """Whether the first has no greater figure: the opposite of :func:`greater`; from `ENOUGH` of each on, an interval
    that holds 0 is enough."""
    found = greater(more, less, alone, **form)
    if found.verdict is Verdict.REPRODUCED:
        return found._replace(verdict=Verdict.CONTRADICTED)
    if found.verdict is Verdict.CONTRADICTED:
        return found._replace(verdict=Verdict.REPRODUCED)
    if found.verdict is Verdict.UNDECIDED and min(len(more), len(less)) >= ENOUGH:
        return found._replace(verdict=Verdict.REPRODUCED, why=f"{found.why}: it holds 0")
    return found


def share(hits: Sequence[bool], least: float, what: str, whole: int | None = None) -> Finding:
    """Whether at least a share of cases are as the paper says; undecided while some of the `whole` are missing."""
    if not hits:
        return NOT_RUN
    ours = f"{sum(hits)} of {len(hits)}"
    if whole is not None and len(hits) < whole:
        return Finding(ours, Verdict.UNDECIDED, f"{what}; {whole - len(hits)} of {whole} have not run")
    reached = sum(hits) >= least * len(hits)
    return Finding(ours, _by(reached, not reached), what)


def inside(pairs: Sequence[tuple[Summary, Printed]], column: str, whole: int) -> Finding:
    """Whether published figures, `whole` in all, lie where further seeds of ours would (`Summary.holds`), as 95 % of
    them should; decided when more than half of them can be judged."""
    if not pairs:
        return NOT_RUN
    from scipy.stats import binom

    judged = [held for run, printed in pairs if (held := run.holds(column, printed)) is not None]
    ours = f"{sum(judged)} of {len(judged)} inside" if judged else NOTHING
    chance = float(binom.cdf(sum(judged), len(judged), 0.95))
    why = f"{len(judged)} of {whole} printed figures have runs of {ENOUGH} seeds; 95 % prediction intervals"
    enough = 2 * len(judged) > whole
    return Finding(ours, _by(enough and chance >= 0.05, enough and chance < 0.05), why)


def about(values: Sequence[float], stated: float, within: float) -> Finding:
    """Whether a figure in per cent is what the paper states in round numbers, give or take `within`."""
    if not values:
        return NOT_RUN
    mean = float(np.mean(values))
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    near = abs(mean - stated) <= within
    return Finding(
        f"{mean:.1f}{spread}", _by(near, not near), f"{counted(len(values), 'seed')}; give or take {within:g}"
    )


def _by(reproduced: bool, contradicted: bool) -> Verdict:
    if reproduced:
        return Verdict.REPRODUCED
    return Verdict.CONTRADICTED if contradicted else Verdict.UNDECIDED
