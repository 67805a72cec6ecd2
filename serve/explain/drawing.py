"""Explanations as drawings: slices' contributions, states of neurons over the steps, and states on the wiring.

Every function returns one self-contained ``<svg>`` for a page.  What is above 0 is orange and what is below 0 is blue;
the fuller, the farther from 0, which is the page's own ground, ``--paper`` if it has one.  Lines and words take the
page's text colour, so that the drawings fit light and dark pages.  The scale is the same for all neurons, steps and
drawings of one trace.  Steps count from 0 here, and from 1 in what people read.
"""

from itertools import groupby

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from liquidlens.drawing.palette import ABOVE, BELOW
from liquidlens.drawing.svg import element, line, picture, text
from liquidlens.drawing.wiring import RADIUS, TYPES, Place, dense, drawn_columns, synapses
from liquidlens.serve.explain.occlusion import NeuronTrace, SliceContribution

#: Applies within these drawings alone, wherever they stand.
STYLE = (
    """
.trace { font-family: system-ui, sans-serif; font-size: 12px; color-scheme: light dark; }
.trace text { fill: currentColor; stroke: none; }
.trace .tick, .trace .title { fill-opacity: 0.75; font-size: 11.5px; }
.trace .number { font-size: 9px; }
.trace .frame, .trace .senses, .trace .marker { fill: none; stroke: currentColor; stroke-opacity: 0.4; }
.trace .marker { stroke-opacity: 1; stroke-width: 1.6; }
.trace .synapse, .trace .sensory, .trace .tip { fill: none; stroke: currentColor; stroke-opacity: 0.28; }
.trace .synapse.inhibits { stroke-dasharray: 5 3; }
.trace .tip.excites, .trace .tip.joins { fill: currentColor; fill-opacity: 0.4; stroke: none; }
.trace .tip.inhibits { stroke-width: 2; stroke-opacity: 0.5; }
.trace .ground { fill: var(--paper, none); }
.trace .neuron { stroke: currentColor; stroke-opacity: 0.7; } .trace .neuron.motor { stroke-width: 2.2; }
"""
    f".trace .above {{ fill: {ABOVE}; }} .trace .below {{ fill: {BELOW}; }}\n"
)
LEVELS = 20  # of each colour; cells of one level are one path, which keeps large traces small
LEFT, TOP, WIDTH = 90.0, 12.0, 560.0  # of a chart: room for names, room above, and its width in CSS pixels


def slices_svg(contribution: SliceContribution) -> str:
    """A bar per slice, upwards if it speaks for the label; the sum of the bars is the label's logit."""
    values = contribution.contribution
    high, wide = max(0.0, values.max()), WIDTH / len(values)
    pixels = 120 / (high - min(0.0, values.min()) or 1.0)
    zero = TOP + pixels * high
    parts = []
    for i, (value, at) in enumerate(zip(values, contribution.positions, strict=True)):
        bar = {"x": LEFT + wide * (i + 0.1), "width": wide * 0.8, "class_": "above" if value > 0 else "below"}
        title = element("title", f"slice {at + 1:.3g}: {value:+.3f}")
        parts.append(element("rect", title, y=zero - pixels * max(value, 0), height=pixels * abs(value), **bar))
    parts.append(line(LEFT, zero, LEFT + WIDTH, zero, "frame"))
    parts += [text(LEFT - 8, zero + 4, "0", "tick", "end")]
    extreme = values[np.abs(values).argmax()]
    if extreme:
        parts.append(text(LEFT - 8, zero - pixels * extreme + 4, f"{extreme:+.2g}", "tick", "end"))
    parts += _columns([f"{at + 1:.0f}" for at in contribution.positions], TOP + 120, "slice of the scan")
    label = f"What each of {len(values)} slices adds to the logit of {contribution.label}"
    return _svg(LEFT + WIDTH + 14, TOP + 162, label, parts)


def trace_svg(trace: NeuronTrace, step: int | None = None) -> str:
    """A row per neuron, inter above command above motor neurons, and a column per step; `step` is framed."""
    shown = _shown(trace)
    steps, neurons = shown.shape
    order = sorted(range(neurons), key=lambda n: list(TYPES).index(trace.wiring.neurons[n]))
    high, wide = max(4.0, min(14.0, 700 / neurons)), WIDTH / steps
    bottom = TOP + high * neurons
    cells: dict[int, str] = {}  # level, below 0 of blue -> path, in units of cells
    for row, neuron in enumerate(order):
        for column, share in enumerate(shown[:, neuron]):
            level = round(LEVELS * float(share))
            cells[level] = f"{cells.get(level, '')}M{column} {row}h1v1h-1z"
    place = {"transform": f"translate({LEFT:g} {TOP:g}) scale({wide:.4f} {high:.4f})", "shape_rendering": "crispEdges"}
    paths = [
        element("path", d=path, class_="above" if level > 0 else "below", fill_opacity=abs(level) / LEVELS)
        for level, path in cells.items()
        if level
    ]
    parts = [element("g", *paths, **place)]
    if high >= 10:
        names = enumerate(order)
        parts += [text(LEFT - 6, TOP + high * (row + 0.5) + 3, str(n), "number", "end") for row, n in names]
    first = 0
    for kind, members in groupby(trace.wiring.neurons[n] for n in order):
        last = first + len(list(members))
        parts.append(line(LEFT, TOP + high * first, LEFT + WIDTH, TOP + high * first, "frame"))
        parts.append(text(LEFT - 24, TOP + high * (first + last) / 2 + 4, TYPES[kind], "tick", "end"))
        first = last
    parts.append(element("rect", x=LEFT, y=TOP, width=WIDTH, height=bottom - TOP, class_="frame"))
    if step is not None:
        at = LEFT + wide * step
        parts.append(element("rect", x=at, y=TOP - 3, width=wide, height=bottom - TOP + 6, class_="marker"))
    parts += _columns([str(column + 1) for column in range(steps)], bottom, "step")
    parts += _scale(trace, LEFT, bottom + 44)
    label = f"States of {neurons} neurons of {trace.wiring.layer} over {steps} steps"
    return _svg(LEFT + WIDTH + 14, bottom + 78, label, parts)


def wiring_svg(trace: NeuronTrace, step: int) -> str:
    """The wiring with every neuron in the colour of its state after `step`.

    Layers whose synapses would hide each other are drawn without them.  Raises IndexError if there is no such step.
    """
    shown, states = _shown(trace)[step], trace.states[step]

    def disc(place: Place, neuron: int) -> Markup:
        circle = {"cx": place[0], "cy": place[1], "r": RADIUS}
        kind, side = TYPES[trace.wiring.neurons[neuron]], "above" if shown[neuron] > 0 else "below"
        return element(
            "g",
            element("title", f"neuron {neuron} ({kind}): {states[neuron]:.3f}"),
            element("circle", class_="ground", **circle),  # hides lines that pass behind
            element("circle", class_=f"neuron {kind} {side}", fill_opacity=float(abs(shown[neuron])), **circle),
        )

    width, height, parts = drawn_columns(trace.wiring, disc)
    if dense(trace.wiring):
        words = f"{sum(1 for _ in synapses(trace.wiring)):,} synapses between neurons are not drawn"
        parts.append(text(4, height + 12, words, "tick"))
        height += 18
    parts += _scale(trace, 4.0, height + 8)
    label = f"Wiring of {trace.wiring.layer}: states of {len(states)} neurons after step {step + 1}"
    return _svg(width, height + 42, label, parts)


def _shown(trace: NeuronTrace) -> NDArray[np.float32]:
    """The states as shares of the largest one of the trace, -1 to 1."""
    return trace.states / _largest(trace)


def _largest(trace: NeuronTrace) -> float:
    return float(np.abs(trace.states).max()) or 1.0


def _columns(names: list[str], bottom: float, title: str) -> list[Markup]:
    """The axis below a chart: the names of some of its columns, and what they are."""
    wide = WIDTH / len(names)
    parts = [
        text(LEFT + wide * (column + 0.5), bottom + 16, names[column], "tick", "middle")
        for column in range(0, len(names), max(1, round(len(names) / 14)))
    ]
    return [*parts, text(LEFT + WIDTH / 2, bottom + 34, title, "title", "middle")]


def _scale(trace: NeuronTrace, left: float, top: float) -> list[Markup]:
    """The legend: what colour is what state."""
    largest, cell = _largest(trace), 14.0
    parts = [text(left, top + 11, "state", "tick")]
    for i in range(-6, 7):
        at = left + 40 + cell * (i + 6)
        side = "above" if i > 0 else "below"
        parts.append(element("rect", x=at, y=top, width=cell, height=12, class_=side, fill_opacity=abs(i) / 6))
    parts.append(element("rect", x=left + 40, y=top, width=cell * 13, height=12, class_="frame"))
    for i, value in ((-6, -largest), (0, 0.0), (6, largest)):
        parts.append(text(left + 40 + cell * (i + 6.5), top + 26, f"{value:.3g}", "tick", "middle"))
    return parts


def _svg(width: float, height: float, label: str, parts: list[Markup]) -> str:
    start = [element("title", label), element("style", Markup(STYLE))]  # noqa: S704 (our own constant)
    return str(picture(width, height, label, [*start, *parts], "trace", xmlns="http://www.w3.org/2000/svg"))
