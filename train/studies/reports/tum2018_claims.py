"""What tum-2018 claims, and what of it shows."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from liquidlens.train.studies.plans import (
    FIRST_GRADIENT,
    FIRST_PEAK,
    LAST_GRADIENT,
    LAST_WEIGHT,
    SHAPES,
    SIZES,
)
from liquidlens.train.studies.reports.rows import Summary
from liquidlens.train.studies.reports.tum2018 import (
    ACCURACY,
    OF_32,
    PAIRS_CIFAR10,
    PAIRS_DEPTH,
    PAIRS_MNIST,
    PER_CENT,
    PRINTED,
    at_best_rates,
    beside_printed,
    by_hidden_size,
    on_500_images,
    rates_of_modules,
    with_statistics,
)
from liquidlens.train.studies.reports.verdicts import (
    NOT_RUN,
    Claim,
    Finding,
    Verdict,
    greater,
    inside,
    not_greater,
    share,
)

#: With one seed each, a point of accuracy counts.
_POINTS: dict[str, Any] = {"alone": 0.01, **PER_CENT}
#: A network works at a rate where it is as good as at its best one, to five points.
WORKS = 0.05


def _accuracies(
    runs: list[Summary], pair: Sequence[str], data: str, recipe: str | None = None
) -> tuple[list[float], list[float]]:
    """Of a network with a recurrent layer and its partner, by seed."""
    chosen = at_best_rates(runs, data, recipe)
    first, second = (chosen[model].values(ACCURACY) if model in chosen else [] for model in pair)
    return first, second


def _helps(runs: list[Summary], pair: Sequence[str], data: str, recipe: str | None = None) -> Finding:
    return greater(*_accuracies(runs, pair, data, recipe), **_POINTS)


def _does_not_help(runs: list[Summary], pair: Sequence[str], data: str, recipe: str | None = None) -> Finding:
    return not_greater(*_accuracies(runs, pair, data, recipe), **_POINTS)


def _deeper(runs: list[Summary]) -> Finding:
    """Whether the difference is greater in the deepest pair than in the one with two layers, over the seeds that both
    networks of a pair have."""
    chosen = at_best_rates(runs, "mnist")
    differences = []
    for _, *pair in PAIRS_DEPTH:
        rows = [chosen[model].rows if model in chosen else () for model in pair]
        first, second = ({row["seed"]: float(row[ACCURACY]) for row in own} for own in rows)
        differences.append([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    return greater(differences[-1], differences[0], **_POINTS)


def _higher_rates(runs: list[Summary]) -> Finding:
    pairs = [(pair, data) for pairs, data in _PAIRS for _, *pair in pairs]
    found = [[at_best_rates(runs, data).get(model) for model in pair] for pair, data in pairs]
    hits = [one.learning_rate > other.learning_rate for one, other in found if one and other]
    return share(hits, 2 / 3, "pairs", len(pairs))


def _at_rates(runs: list[Summary], model: str) -> dict[float, float]:
    """Mean accuracy of a 2MLP network on 500 images at each rate that was tried."""
    return {run.learning_rate: run.mean(ACCURACY) for run in on_500_images(runs, model)}


def _wider(runs: list[Summary]) -> Finding:
    fc, lstm = (_at_rates(runs, model) for model in ("2MLP-FC-for-LSTM", "2MLP-LSTM"))
    common = sorted(fc.keys() & lstm.keys())
    if len(common) < 2:
        return NOT_RUN
    works = [[rate for rate in common if own[rate] >= max(own.values()) - WORKS] for own in (lstm, fc)]
    ranges = [f"{min(rates):g} to {max(rates):g}" for rates in works]
    more, less = (len(rates) for rates in works)
    verdict = Verdict.REPRODUCED if more > less else Verdict.CONTRADICTED if more < less else Verdict.UNDECIDED
    why = f"rates at which a network is within {100 * WORKS:g} points of its best, of {len(common)} tried"
    return Finding(f"{ranges[0]} against {ranges[1]}", verdict, why)


def _to_ten(runs: list[Summary]) -> Finding:
    own = _at_rates(runs, "2MLP-LSTM")
    high = {rate: own[rate] for rate in own if 2 < rate <= 10}
    if not high:
        return NOT_RUN
    ours = ", ".join(f"{100 * high[rate]:.0f} % at {rate:g}" for rate in sorted(high))
    holds = min(high.values()) >= max(own.values()) - WORKS
    return Finding(
        ours, Verdict.REPRODUCED if holds else Verdict.CONTRADICTED, f"{100 * max(own.values()):.0f} % at its best rate"
    )


def _beyond_ten(runs: list[Summary], model: str) -> dict[float, float]:
    return {rate: value for rate, value in _at_rates(runs, model).items() if rate > 10}


def _beyond(runs: list[Summary]) -> Finding:
    own = _beyond_ten(runs, "2MLP-LSTM")
    if not own:
        return NOT_RUN
    rate = max(own, key=lambda rate: own[rate])
    recovers = own[rate] >= 0.5
    verdict = Verdict.REPRODUCED if recovers else Verdict.CONTRADICTED
    return Finding(
        f"{100 * own[rate]:.0f} % at {rate:g}", verdict, "the best above a rate of 10; half of the images count"
    )


def _one_rate(runs: list[Summary], module: str) -> Finding:
    """Table 4.8: whether another rate for one module is never better than the same for all."""
    found = rates_of_modules(runs)
    gains = [
        run.mean(ACCURACY) - found["", rate, rate].mean(ACCURACY)
        for (of, rate, _), run in found.items()
        if of == module and ("", rate, rate) in found
    ]
    if not gains:
        return NOT_RUN
    why = f"pairs of rates; from {100 * min(gains):+.1f} to {100 * max(gains):+.1f} points by a rate of its own"
    return share([gain <= 0 for gain in gains], 1.0, why)


def _alike(runs: list[Summary], models: Sequence[str]) -> Finding:
    """Tables 4.1, 4.2: whether networks at their best rates are within a point of each other."""
    chosen = at_best_rates(runs, "mnist")
    own = [100 * chosen[model].mean(ACCURACY) for model in models if model in chosen]
    if len(own) < 2:
        return NOT_RUN
    apart, ours = max(own) - min(own), f"{min(own):.2f} to {max(own):.2f}"
    if len(own) < len(models):
        return Finding(ours, Verdict.UNDECIDED, f"networks; {len(models) - len(own)} of {len(models)} have not run")
    alike = Verdict.REPRODUCED if apart <= 1 else Verdict.CONTRADICTED
    return Finding(ours, alike, f"means of {len(own)} networks, {apart:.2f} apart; up to a point is little")


def _groups(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Networks of figures 4.5, 4.8 and 4.9 with hidden sizes up to 32, and above."""
    sized = by_hidden_size(kind)
    return tuple(sized[size] for size in (8, 16, 32)), tuple(name for size, name in sized.items() if size > 32)


def _small_ones(runs: list[Summary], kind: str) -> Finding:
    chosen = at_best_rates(runs, "mnist")
    small, large = ([chosen[name].mean(ACCURACY) for name in names if name in chosen] for names in _groups(kind))
    return greater(small, large, of="network", **_POINTS)


def _large_ones_beyond(runs: list[Summary], kind: str) -> Finding:
    """Figures 4.8, 4.9: the best accuracy above a rate of 10."""
    small, large = (
        [max(high.values()) for name in names if (high := _beyond_ten(runs, name))] for names in _groups(kind)
    )
    return greater(large, small, of="network", **_POINTS)


def _working(runs: list[Summary], models: Sequence[str]) -> tuple[int, list[int]]:
    """How many rates were tried with all of these networks, and at how many of them each works."""
    rates = [_at_rates(runs, model) for model in models]
    common = set.intersection(*map(set, rates))
    return len(common), [sum(own[rate] >= max(own.values()) - WORKS for rate in common) for own in rates]


def _robust_cells(runs: list[Summary], kind: str, alike: bool) -> Finding:
    """Figures 4.10, 4.11: whether all cells work at about as many rates, or the LSTM at most and the RNN at fewest."""
    tried, (lstm, gru, rnn) = _working(runs, [f"{kind}-{cell}" for cell in ("LSTM", "GRU", "RNN")])
    if tried < 2:
        return NOT_RUN
    near = max(lstm, gru, rnn) - min(lstm, gru, rnn) <= 1
    holds = near if alike else lstm >= gru >= rnn and not near
    why = f"of {tried} rates, those within {100 * WORKS:g} points of a cell's best; one more or less is nothing"
    verdict = Verdict.REPRODUCED if holds else Verdict.CONTRADICTED
    return Finding(f"LSTM {lstm}, GRU {gru}, RNN {rnn}", verdict, why)


def _normalised(runs: list[Summary]) -> Finding:
    tried, (fc, normalised, lstm) = _working(runs, ["2MLP-FC-for-LSTM", NORMALISED, "2MLP-LSTM"])
    if tried < 2:
        return NOT_RUN
    verdict = Verdict.REPRODUCED if fc < normalised < lstm else Verdict.CONTRADICTED
    ours = f"{fc}, with it {normalised}, an LSTM {lstm}"
    return Finding(ours, verdict, f"of {tried} rates, those within {100 * WORKS:g} points of a network's best")


def _gradients(runs: list[Summary], model: str, figure: str, rates: Sequence[float]) -> list[float]:
    """Of a network at each of these rates; none if one of them has not run."""
    found = with_statistics(runs)
    known = all((model, rate) in found for rate in rates)
    return [found[model, rate].mean(figure) for rate in rates] if known else []


def _smoother(runs: list[Summary]) -> Finding:
    fc, lstm = (_gradients(runs, model, FIRST_PEAK, (0.1, 0.5)) for model in _WITH_GRADIENTS)
    return share([one < other for one, other in zip(lstm, fc, strict=False)], 1.0, "rates: the first layer's peak")


def _settle_alike(runs: list[Summary]) -> Finding:
    fc, lstm = (_gradients(runs, model, FIRST_GRADIENT, (0.1, 0.5)) for model in _WITH_GRADIENTS)
    near = [0.5 <= one / other <= 2 for one, other in zip(lstm, fc, strict=False)]
    return share(near, 1.0, "rates: the first layer's, within a factor of 2")


def _settle_by_rate(runs: list[Summary]) -> Finding:
    pairs = [
        _gradients(runs, model, figure, (0.1, 0.5))
        for model in _WITH_GRADIENTS
        for figure in (FIRST_GRADIENT, LAST_GRADIENT)
    ]
    fifths = [2.5 <= pair[0] / pair[1] <= 10 for pair in pairs if pair]
    return share(fifths, 1.0, "layers: at 0.1 five times what it is at 0.5, within a factor of 2", len(pairs))


def _vanish(runs: list[Summary]) -> Finding:
    first, last = (_gradients(runs, "2MLP-LSTM", figure, (20, 100)) for figure in (FIRST_GRADIENT, LAST_GRADIENT))
    gone = [one < 1e-3 * other for one, other in zip(first, last, strict=True)]
    return share(gone, 1.0, "rates: the first layer's below a thousandth of the last one's")


def _weights_grow(runs: list[Summary]) -> Finding:
    low, high = (_gradients(runs, "2MLP-LSTM", LAST_WEIGHT, rates) for rates in ((0.1, 0.5), (20, 100)))
    if not low or not high:
        return NOT_RUN
    within, beyond = low[1] / low[0], high[1] / high[0]
    holds = within <= 2 and 2.5 <= beyond <= 10
    verdict = Verdict.REPRODUCED if holds else Verdict.CONTRADICTED
    why = "from 0.1 to 0.5, where up to 2 counts as alike; from 20 to 100, where 5 is expected, within a factor of 2"
    return Finding(f"x {within:.2f}; x {beyond:.2f}", verdict, why)


def _alone(runs: list[Summary]) -> Finding:
    """Section 4.6.2: against the network with one fully connected layer after its LSTM."""
    chosen = at_best_rates(runs, "mnist")
    own = [chosen[name].mean(ACCURACY) for name in ("biLSTM-rows", "LSTM-biLSTM") if name in chosen]
    if "1MLP-LSTM" not in chosen or not own:
        return NOT_RUN
    usual = chosen["1MLP-LSTM"].mean(ACCURACY)
    found = share([usual - one > WORKS for one in own], 1.0, "networks", 2)
    why = f"{found.why}; poor is {100 * WORKS:g} points below 1MLP-LSTM, which has {100 * usual:.1f} %"
    return found._replace(ours=", ".join(f"{100 * one:.1f} %" for one in own), why=why)


def _all_states(runs: list[Summary]) -> Finding:
    return not_greater(*_accuracies(runs, ("CNN-LSTM-16x16-full", "CNN-LSTM-16x16"), "mnist"), **_POINTS)


def _as_printed(runs: list[Summary], where: str) -> Finding:
    return inside(beside_printed(runs, where), ACCURACY, PRINTED[where][1])


_PAIRS = ((PAIRS_MNIST, "mnist"), (PAIRS_DEPTH, "mnist"), (PAIRS_CIFAR10, "cifar10"))
_WITH_GRADIENTS = ("2MLP-FC-for-LSTM", "2MLP-LSTM")
NORMALISED = "2MLP-FC-for-LSTM+batch_norm"
CLAIMS = (
    *(
        Claim(
            f"an LSTM {'does not help' if name == '2MLP' else 'helps'} {name} on {words}",
            where,
            partial(_does_not_help if name == "2MLP" else _helps, pair=pair, data=data, recipe=recipe),
        )
        for where, words, pairs, data, recipe in (
            ("table 4.3", "500 MNIST images", PAIRS_MNIST, "mnist", "tum-2018"),
            ("table 4.4", "5,000 MNIST images", PAIRS_MNIST, "mnist", "tum-2018-5k"),
            ("table 4.4", "40,000 MNIST images", PAIRS_MNIST, "mnist", "tum-2018-40k"),
            ("table 4.5", "5,000 CIFAR-10 images", PAIRS_CIFAR10, "cifar10", "tum-2018-5k"),
        )
        for name, *pair in pairs
    ),
    Claim("the deeper the network, the more an LSTM helps", "table 4.6", _deeper),
    *(
        Claim(
            "the printed accuracies",
            where,
            partial(_as_printed, where=where),
        )
        for where in PRINTED
    ),
    Claim("the size of the map makes little difference", "table 4.1", partial(_alike, models=(*SIZES, OF_32["3MLP"]))),
    Claim("the shape of the map makes little difference", "table 4.2", partial(_alike, models=("2MLP-LSTM", *SHAPES))),
    *(
        Claim(f"in {kind}, small hidden sizes are more accurate", where, partial(_small_ones, kind=kind))
        for kind, where in (("3MLP", "figure 4.5"), ("2MLP", "figure 4.8"), ("1MLP", "figure 4.9"))
    ),
    *(
        Claim(f"in {kind}, beyond a rate of 10 large ones are", where, partial(_large_ones_beyond, kind=kind))
        for kind, where in (("2MLP", "figure 4.8"), ("1MLP", "figure 4.9"))
    ),
    Claim("recurrent networks have the higher optimal rate", "section 4.5", _higher_rates),
    Claim("they work in a wider range of rates", "figures 4.6, 4.7", _wider),
    Claim("they keep their accuracy up to a rate of about 10", "section 4.5", _to_ten),
    Claim("beyond it they recover some accuracy", "section 4.5", _beyond),
    Claim(
        "in 2MLP, LSTM, GRU and RNN are about as robust", "figure 4.10", partial(_robust_cells, kind="2MLP", alike=True)
    ),
    Claim(
        "in 1MLP, the LSTM is the most robust, the RNN the least",
        "figure 4.11",
        partial(_robust_cells, kind="1MLP", alike=False),
    ),
    Claim("recurrent layers smooth the peaks of gradients", "table 4.7a", _smoother),
    Claim("with and without them, gradients settle at similar values", "table 4.7b", _settle_alike),
    Claim("the higher the rate, the smaller in proportion the settled gradients", "figure 4.12", _settle_by_rate),
    Claim("beyond a rate of 10, only the last layer's gradients do not vanish", "section 4.5.3", _vanish),
    Claim("there, and only there, the last layer's weights grow with the rate", "figures 4.14, 4.15", _weights_grow),
    Claim("one rate for all layers is best, the last one's varied", "table 4.8a", partial(_one_rate, module="output")),
    Claim("one rate for all layers is best, the LSTM's varied", "table 4.8b", partial(_one_rate, module="recurrent")),
    Claim("networks of LSTMs alone do poorly", "section 4.6.2", _alone),
    Claim("the output of all states has no clear benefit", "table 4.9", _all_states),
    Claim("batch normalisation widens the range of rates, but less than an LSTM", "section 4.5", _normalised),
    Claim(
        "an LSTM in front of the Linear is worse than behind it",
        "section 4.6.4",
        partial(_helps, pair=("2MLP-LSTM", "2MLP-LSTM-first"), data="mnist"),
    ),
    Claim(
        "more recurrent layers do not help",
        "section 4.6.4",
        partial(_does_not_help, pair=("2MLP-LSTM-x2", "2MLP-LSTM"), data="mnist"),
    ),
)
