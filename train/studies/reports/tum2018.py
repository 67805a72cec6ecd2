"""tum-2018: recurrent layers over maps against fully connected ones of equally many parameters."""

from ast import literal_eval
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from liquidlens.train.studies.plans import (
    CIFAR_RATES,
    FIRST_GRADIENT,
    FIRST_PEAK,
    HIDDEN_SIZES,
    MORE_RATES,
    RATES,
    STATISTICS,
)
from liquidlens.train.studies.published import (
    TUM_GRADIENTS,
    TUM_MODULE_RATES,
    TUM_TRAINING_SIZES,
    Printed,
    original,
)
from liquidlens.train.studies.reports.markdown import NO_RUN, NOTHING, Plot, Tables, ours, table, theirs
from liquidlens.train.studies.reports.plots import Point, against
from liquidlens.train.studies.reports.rows import Summary, best_by_validation

#: Which weights are tested is decided by validation, and so is a network's learning rate.
ACCURACY, DECIDES = "best_test_accuracy", "best_val_accuracy"
PER_CENT = {"scale": 100, "digits": 2}

#: (what the thesis calls them, with a recurrent layer, fully connected)
PAIRS_MNIST = (
    ("2MLP", "2MLP-LSTM", "2MLP-FC-for-LSTM"),
    ("1MLP", "1MLP-LSTM", "1MLP-FC-for-LSTM"),
    ("CNN", "CNN-LSTM", "CNN-FC-for-LSTM"),
)
PAIRS_CIFAR10 = tuple((name, f"{lstm}-CIFAR10", f"{fc}-CIFAR10") for name, lstm, fc in PAIRS_MNIST)
PAIRS_DEPTH = (
    ("2MLP", "2MLP-LSTM-50x50", "2MLP-FC-2206-128"),
    ("3MLP", "3MLP-LSTM-1094-32x32", "3MLP-FC-1040-1024-128"),
    ("4MLP", "4MLP-LSTM-768-768-32x32", "4MLP-FC-738-738-1024-128"),
)
#: Table 4.4: how many images each recipe trains on.
TRAINING_SIZES = {"tum-2018": "500", "tum-2018-5k": "5,000", "tum-2018-40k": "40,000"}
#: The networks of figures 4.5, 4.8 and 4.9 with hidden size 32.
OF_32 = {"1MLP": "1MLP-LSTM", "2MLP": "2MLP-LSTM", "3MLP": "3MLP-LSTM-1094-32x32"}
#: Table 4.9: the map, and whether all states or the last ones alone are read.
OUTPUTS = (
    ("16 x 16, all states", "CNN-LSTM-16x16-full"),
    ("32 x 8, all states", "CNN-LSTM-32x8-full"),
    ("32 x 16, all states", "CNN-LSTM-32x16-full"),
    ("32 x 32, last states", "CNN-LSTM"),
    ("16 x 16, last states", "CNN-LSTM-16x16"),
)
#: Figures 4.6, 4.7, 4.10 and 4.11, of 2MLP and 1MLP.
ROBUSTNESS = (
    ("FC-for-LSTM", "fully connected", "tab:blue"),
    ("LSTM", "LSTM", "tab:orange"),
    ("FC-for-LSTM+batch_norm", "fully connected,\nbatch normalisation", "tab:cyan"),
    ("GRU", "GRU", "tab:green"),
    ("RNN", "RNN", "tab:red"),
)


def at_best_rates(runs: list[Summary], data: str, recipe: str | None = None) -> dict[str, Summary]:
    """Each network at its best learning rate; none whose rates have not all been tried with the same seeds."""
    rates = CIFAR_RATES if data == "cifar10" else RATES
    wanted = data, recipe or ("tum-2018-5k" if data == "cifar10" else "tum-2018")
    candidates = [
        run
        for run in runs
        if (original(run.dataset), run.rule.recipe) == wanted and run.learning_rate in rates and _plain(run)
    ]
    seeds: dict[str, list[list[float]]] = {}
    for run in candidates:
        seeds.setdefault(run.name, []).append(run.values("seed"))
    compared = {
        model for model, tried in seeds.items() if len(tried) == len(rates) and tried.count(tried[0]) == len(tried)
    }
    return {run.name: run for run in best_by_validation([run for run in candidates if run.name in compared], DECIDES)}


def _pairs(runs: list[Summary], pairs: Sequence[tuple[str, str, str]], printed_in: str, data: str = "mnist") -> str:
    chosen = at_best_rates(runs, data)
    rows = []
    for name, *models in pairs:
        found = [chosen.get(model) for model in models]
        cells: list[str] = []
        for run in found:
            if run is None:
                cells += [NOTHING] * 4
                continue
            cells += [f"{run.learning_rate:g}", str(run.seeds), ours(run, ACCURACY, **PER_CENT)]
            cells += [theirs(run.printed(printed_in).get(ACCURACY), **PER_CENT)]
        rows.append((name, *cells, *_differences(found, printed_in)))
    each = [("rate", "seeds", f"{kind}, %", "published") for kind in ("LSTM", "FC")]
    return table(("network", *each[0], *each[1], "LSTM - FC", "published"), rows)


def _differences(found: Sequence[Summary | None], printed_in: str) -> tuple[str, str]:
    lstm, fc = found
    if lstm is None or fc is None:
        return NOTHING, NOTHING
    one, other = (run.printed(printed_in).get(ACCURACY) for run in (lstm, fc))
    published = NOTHING if one is None or other is None else f"{100 * (one.value - other.value):+.2f}"
    return f"{100 * (lstm.mean(ACCURACY) - fc.mean(ACCURACY)):+.2f}", published


def _by_training_size(runs: list[Summary]) -> str:
    rows = []
    for place, (recipe, images) in enumerate(TRAINING_SIZES.items()):
        chosen = at_best_rates(runs, "mnist", recipe)
        for name, *models in PAIRS_MNIST:
            both = [chosen[model] for model in models if model in chosen]
            if len(both) == 2:
                cells = [
                    cell
                    for run in both
                    for cell in (f"{run.learning_rate:g}", str(run.seeds), ours(run, ACCURACY, **PER_CENT))
                ]
                difference, _ = _differences(both, "table 4.4")
                rows.append((images, name, *cells, difference, f"{TUM_TRAINING_SIZES[name][place]:+.2f}"))
    each = [("rate", "seeds", f"{kind}, %") for kind in ("LSTM", "FC")]
    return table(("images", "network", *each[0], *each[1], "LSTM - FC", "published"), rows) if rows else NO_RUN


def _full_output(runs: list[Summary]) -> str:
    chosen = at_best_rates(runs, "mnist")
    rows = []
    for words, model in OUTPUTS:
        if (run := chosen.get(model)) is None:
            rows.append((words, *[NOTHING] * 5))
            continue
        printed = theirs(run.printed("table 4.9").get(ACCURACY), **PER_CENT)
        accuracy = ours(run, ACCURACY, **PER_CENT)
        rows.append((words, f"{run.parameters:,}", f"{run.learning_rate:g}", str(run.seeds), accuracy, printed))
    return table(("map and output", "parameters", "rate", "seeds", "test accuracy, %", "published"), rows)


def _others(runs: list[Summary]) -> str:
    """Networks at their best rates that stand in none of the other tables."""
    shown = {name for _, *names in (*PAIRS_MNIST, *PAIRS_DEPTH, *OUTPUTS) for name in names}
    shown |= {name for names in HIDDEN_SIZES.values() for name in names}
    rows = []
    for name, run in at_best_rates(runs, "mnist").items():
        if name not in shown:
            figures = run.printed("table 4.1") or run.printed("table 4.2")
            printed = NOTHING if run.network.flags else theirs(figures.get(ACCURACY), **PER_CENT)
            accuracy = ours(run, ACCURACY, **PER_CENT)
            rows.append((name, f"{run.parameters:,}", f"{run.learning_rate:g}", str(run.seeds), accuracy, printed))
    return table(("network", "parameters", "rate", "seeds", "test accuracy, %", "published"), rows) if rows else NO_RUN


#: A network, what it is called, and its colour.
Line = tuple[str, str, Any]


def _by_rate(figure: Any, runs: list[Summary], lines: Callable[[str], Iterable[Line]]) -> None:
    """Accuracy over the learning rate, a panel for 2MLP and one for 1MLP; lines: those of a panel."""
    figure.set_size_inches(10, 4.5)
    both = figure.subplots(1, 2, sharex=True, sharey=True)
    ticks = sorted((*RATES, *MORE_RATES))
    for axes, kind in zip(both, ("2MLP", "1MLP"), strict=True):
        for network, words, colour in lines(kind):
            own = {run.learning_rate: run for run in on_500_images(runs, network)}
            if not (rates := sorted(rate for rate in own if rate in ticks)):
                continue
            means = [100 * own[rate].mean(ACCURACY) for rate in rates]
            deviations = [100 * (own[rate].deviation(ACCURACY) or 0) for rate in rates]
            axes.errorbar(rates, means, deviations, marker="o", markersize=4, capsize=3, label=words, color=colour)
        axes.set(xscale="log", xlabel="learning rate", title=f"{kind}, 500 MNIST images")
        axes.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
        axes.minorticks_off()
    both[0].set_ylabel("test accuracy, %")
    named = {words: line for axes in both for line, words in zip(*axes.get_legend_handles_labels(), strict=True)}
    both[0].legend(named.values(), named.keys(), frameon=False)


def _cells(kind: str) -> Iterable[Line]:
    """Figures 4.6, 4.7, 4.10 and 4.11."""
    return ((f"{kind}-{network}", words, colour) for network, words, colour in ROBUSTNESS)


def by_hidden_size(kind: str) -> dict[int, str]:
    """Figures 4.5, 4.8 and 4.9: networks of a kind by the hidden size of their LSTM."""
    sized = {int(name.rpartition("h")[2]): name for name in HIDDEN_SIZES[kind]} | {32: OF_32[kind]}
    return dict(sorted(sized.items()))


def _hidden_sizes(kind: str) -> Iterable[Line]:
    from matplotlib import colormaps

    colours = colormaps["viridis_r"].resampled(8)
    return (
        (name, f"{size} units", colours(place + 1)) for place, (size, name) in enumerate(by_hidden_size(kind).items())
    )


def _at_hidden_sizes(runs: list[Summary]) -> str:
    chosen = at_best_rates(runs, "mnist")
    found = {
        (size, kind): ours(chosen[name], ACCURACY, **PER_CENT)
        for kind in OF_32
        for size, name in by_hidden_size(kind).items()
        if name in chosen
    }
    rows = [
        (size, *(found.get((size, kind), NOTHING) for kind in OF_32)) for size in sorted({size for size, _ in found})
    ]
    return table(("hidden size", *(f"{kind}, %" for kind in OF_32)), rows) if rows else NO_RUN


def _equal_parameters(figure: Any, runs: list[Summary]) -> None:
    """The differences that the thesis is about, ours and the printed ones."""
    figure.set_size_inches(8, 4)
    axes = figure.subplots()
    rows = []
    for pairs, printed_in, data, label in (
        (PAIRS_MNIST, "table 4.3", "mnist", "MNIST-500"),
        (PAIRS_DEPTH, "table 4.6", "mnist", "2.0 M"),
        (PAIRS_CIFAR10, "table 4.5", "cifar10", "CIFAR10-5k"),
    ):
        chosen = at_best_rates(runs, data)
        for name, *pair in pairs:
            both = _differences([chosen.get(model) for model in pair], printed_in)
            if NOTHING not in both:
                rows.append((f"{name}\n{label}", both))
    for place, (_, both) in enumerate(rows):
        for text, shift, colour in zip(both, (-0.2, 0.2), ("tab:green", "lightgrey"), strict=True):
            axes.bar(place + shift, float(text), 0.38, color=colour)
    for label, colour in (("ours", "tab:green"), ("published", "lightgrey")):
        axes.bar([0], [0], color=colour, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [words for words, _ in rows], fontsize=8)
    axes.set(ylabel="LSTM - FC, points of accuracy")
    axes.legend(frameon=False)


#: Tables, the data that they are on, and how many figures they print.
PRINTED = {
    "table 4.1": ("mnist", 4),
    "table 4.2": ("mnist", 5),
    "table 4.3": ("mnist", 6),
    "table 4.5": ("cifar10", 6),
    "table 4.6": ("mnist", 6),
    "table 4.9": ("mnist", 5),
}


def _plain(run: Summary) -> bool:
    """Whether it has one learning rate for all layers, and is not one of the runs again for the sake of statistics."""
    return not {"module_learning_rates", "statistics"} & dict(run.rule.changes).keys()


def on_500_images(runs: list[Summary], model: str) -> list[Summary]:
    """A network with one learning rate for all layers."""
    return [r for r in runs if r.name == model and r.rule.recipe == "tum-2018" and _plain(r)]


def rates_of_modules(runs: list[Summary]) -> dict[tuple[str, float, float], Summary]:
    """Table 4.8: 2MLP-LSTM on 500 images, by a module, the rate of the others, and its own; no module: one for all."""
    found = {("", run.learning_rate, run.learning_rate): run for run in on_500_images(runs, "2MLP-LSTM")}
    for run in runs:
        rates = dict(run.rule.changes).get("module_learning_rates")
        if run.name == "2MLP-LSTM" and rates:
            ((module, own),) = literal_eval(rates).items()
            found[module, run.learning_rate, own] = run
    return found


def with_statistics(runs: list[Summary]) -> dict[tuple[str, float], Summary]:
    """Table 4.7 and figures 4.12, 4.14 and 4.15: by network and learning rate."""
    return {(run.name, run.learning_rate): run for run in runs if "statistics" in dict(run.rule.changes)}


def beside_printed(runs: list[Summary], where: str) -> list[tuple[Summary, Printed]]:
    """A table's networks at their best rates, with what it prints."""
    data, _ = PRINTED[where]
    plain = [run for run in at_best_rates(runs, data).values() if not run.network.flags]
    both = ((run, run.printed(where).get(ACCURACY)) for run in plain)
    return [(run, printed) for run, printed in both if printed is not None]


def _against(figure: Any, runs: list[Summary]) -> None:
    points = [
        Point(where, printed.value, run.mean(ACCURACY), run.deviation(ACCURACY))
        for where in PRINTED
        for run, printed in beside_printed(runs, where)
    ]
    against(figure, points, "test accuracy, %", scale=100)


def _gradients(runs: list[Summary]) -> str:
    rows = []
    for (name, rate), run in with_statistics(runs).items():
        cells = []
        for figure in STATISTICS:
            cells.append(f"{run.mean(figure):.2e}")
            if figure in (FIRST_PEAK, FIRST_GRADIENT):
                printed = TUM_GRADIENTS.get((figure, name, rate))
                cells.append(NOTHING if printed is None else f"{printed:.2e}")
        rows.append((name, f"{rate:g}", str(run.seeds), *cells))
    first = ("first layer: peak", "published", "settled", "published")
    return table(("network", "rate", "seeds", *first, "last layer: settled", "its weights"), rows) if rows else NO_RUN


def _by_module(runs: list[Summary]) -> str:
    found = rates_of_modules(runs)
    words = {"": "all layers", "output": "the last layer", "recurrent": "the LSTM"}
    rows = []
    for (module, rate, own), printed in TUM_MODULE_RATES.items():
        if (one := found.get((module, rate, own))) is not None:
            figures = ours(one, ACCURACY, **PER_CENT), theirs(printed, **PER_CENT)
            rows.append((words[module], f"{rate:g}", f"{own:g}", str(one.seeds), *figures))
    header = ("of", "rate of the others", "its own", "seeds", "test accuracy, %", "published")
    return table(header, rows) if rows else NO_RUN


TABLES: Tables = {
    "table 4.3": partial(_pairs, pairs=PAIRS_MNIST, printed_in="table 4.3"),
    "table 4.4": _by_training_size,
    "hidden sizes": _at_hidden_sizes,
    "table 4.5": partial(_pairs, pairs=PAIRS_CIFAR10, printed_in="table 4.5", data="cifar10"),
    "table 4.6": partial(_pairs, pairs=PAIRS_DEPTH, printed_in="table 4.6"),
    "table 4.7": _gradients,
    "table 4.8": _by_module,
    "table 4.9": _full_output,
    "others": _others,
}
PLOTS = {
    "tum-2018-published": Plot("Test accuracy, ours against the published one, a point for each network", _against),
    "tum-2018-rates": Plot(
        "Test accuracy against the learning rate, fully connected and recurrent", partial(_by_rate, lines=_cells)
    ),
    "tum-2018-hidden-sizes": Plot(
        "Test accuracy against the learning rate, by the hidden size of the LSTM",
        partial(_by_rate, lines=_hidden_sizes),
    ),
    "tum-2018-differences": Plot(
        "Accuracy of recurrent networks minus that of fully connected ones of as many parameters", _equal_parameters
    ),
}
