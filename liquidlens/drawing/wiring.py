"""The wiring of a liquid layer as a picture: columns of neurons with their synapses, or a matrix where those are many.

Pages paint its classes; `serve.explain.drawing` colours its neurons by their states.  Signs are shown three times, by
colour, by dash and by ending: excitatory synapses are solid and end in an arrow, inhibitory ones are dashed and end in
a bar.  Synapses of a CfC have no sign; they are grey and end in an arrow.
"""

import math
from collections.abc import Callable, Iterator

from markupsafe import Markup

from liquidlens.drawing.svg import element, line, picture, text
from liquidlens.manifest import Wiring
from liquidlens.words import counted

#: More than this is a black tangle as lines; of fully connected neurons, so is a third of all possible synapses.
MOST_NEURONS, MOST_SYNAPSES = 60, 300

TYPES = {"i": "inter", "c": "command", "m": "motor"}

#: All in CSS pixels.  The first column of neurons, the distance between columns, and that between neurons.
FIRST, COLUMN, SPACING = 290.0, 190.0, 27.0
TOP, RADIUS = 30.0, 9.0
SENSES = 4, 128  # left and width of the box of inputs

#: Neurons above each other where no lines are drawn; more stand in further columns.
MOST_ROWS = 24

Place = tuple[float, float]


def wiring(layer: Wiring) -> Markup:
    """The layer as columns of neurons, or as a matrix if it is too dense for lines."""
    return matrix(layer) if dense(layer) else columns(layer)


def dense(layer: Wiring) -> bool:
    """Whether lines would hide each other: more than 60 neurons, 300 synapses, or a third of all possible ones."""
    neurons, lines = len(layer.neurons), sum(1 for _ in synapses(layer))
    return neurons > MOST_NEURONS or lines > min(MOST_SYNAPSES, neurons**2 / 3)


def synapses(layer: Wiring) -> Iterator[tuple[int, int, str]]:
    """Recurrent synapses: neuron where it starts, neuron where it ends, "excites", "inhibits", or of a CfC "joins"."""
    kinds = {"+": "excites", "-": "inhibits"} if layer.cell == "LTC" else {"+": "joins", "-": "joins"}
    for start, signs in enumerate(layer.recurrent):
        for end, sign in enumerate(signs):
            if sign in kinds:
                yield start, end, kinds[sign]


def columns(layer: Wiring) -> Markup:
    """Sensory inputs as one box, then inter, command and motor neurons from left to right, numbered as ncps does."""
    width, height, parts = drawn_columns(layer)
    return picture(width, height, f"Wiring of {layer.layer}: {len(layer.neurons)} neurons", parts, "wiring")


def drawn_columns(
    layer: Wiring, disc: Callable[[Place, int], Markup] | None = None
) -> tuple[float, float, list[Markup]]:
    """Width, height and parts of the drawing in columns; of a `dense` layer without its synapses.

    disc: draws a neuron, of radius `RADIUS`, at its place; by default in the colour of its type.
    """
    kinds = [kind for kind in TYPES if kind in layer.neurons]
    rows = MOST_ROWS if dense(layer) else len(layer.neurons)
    height = TOP + SPACING * min(rows, max(layer.neurons.count(kind) for kind in kinds)) + 6
    middle = (TOP + height - 6) / 2
    places: dict[int, Place] = {}
    parts = []
    for column, kind in enumerate(kinds):
        x = FIRST + COLUMN * column
        members = [neuron for neuron, letter in enumerate(layer.neurons) if letter == kind]
        places |= dict(zip(members, _places(len(members), rows, x, middle), strict=True))
        parts.append(text(x, 14, counted(len(members), f"{TYPES[kind]} neuron"), "title", "middle"))
    box = min(height - TOP - 10, 190)
    if dense(layer):
        parts += _sensory_box(layer, middle, box)
    else:
        parts += [*_sensory(layer, places, middle, box), *_recurrent(layer, places)]
    for neuron, (x, y) in places.items():
        typed = f"neuron {TYPES[layer.neurons[neuron]]}"
        parts.append(disc((x, y), neuron) if disc else element("circle", cx=x, cy=y, r=RADIUS, class_=typed))
        parts.append(text(x, y + 3.5, str(neuron), "number", "middle"))
    return FIRST + COLUMN * (len(kinds) - 1) + 110, height, parts


def matrix(layer: Wiring) -> Markup:
    """A row per neuron where synapses start, a column per neuron where they end: squares excite, dashes inhibit."""
    cell = max(2.5, min(14.0, 560 / len(layer.neurons)))
    left, top, side = 96.0, 32.0, cell * len(layer.neurons)
    parts = [element("rect", x=left, y=top, width=side, height=side, class_="frame")]
    paths: dict[str, str] = {}
    for start, end, kind in synapses(layer):
        high = cell * (0.3 if kind == "inhibits" else 0.8)
        x, y = left + cell * (end + 0.1), top + cell * (start + 0.5) - high / 2
        paths[kind] = paths.get(kind, "") + f"M{x:.1f} {y:.1f}h{cell * 0.8:.1f}v{high:.1f}h-{cell * 0.8:.1f}z"
    parts += [element("path", d=path, class_=f"cell {kind}") for kind, path in paths.items()]
    for kind, first, last in _runs(layer.neurons):
        begin, width, name = cell * first, cell * (last + 1 - first), TYPES[kind]
        if first:
            parts += [line(left + begin, top - 8, left + begin, top + side, "divide")]
            parts += [line(left - 8, top + begin, left + side, top + begin, "divide")]
        # Where a type has few neurons its name would run into the next one's.
        if width >= 12:
            parts.append(text(left - 8, top + begin + width / 2 + 4, name, "tick", "end"))
        if width >= 60:
            parts.append(text(left + begin + width / 2, top - 7, name, "tick", "middle"))
    parts += [text(left + side / 2, 10, "to", "title", "middle"), text(4, top + side / 2 + 4, "from", "title")]
    return picture(left + side + 12, top + side + 8, f"Wiring of {layer.layer} as a matrix", parts, "wiring")


def _places(members: int, rows: int, x: float, middle: float) -> Iterator[Place]:
    """Where the neurons of one type stand, around (x, middle), at most so many rows."""
    deep = math.ceil(members / math.ceil(members / rows))
    for member in range(members):
        column, row = divmod(member, deep)
        here = min(deep, members - column * deep)  # how many stand in this column
        yield (
            x + SPACING * (column - (math.ceil(members / deep) - 1) / 2),
            middle + SPACING * (row - (here - 1) / 2),
        )


def _runs(neurons: str) -> Iterator[tuple[str, int, int]]:
    """Runs of neurons of one type: letter, first, last."""
    first = 0
    for last, letter in enumerate(neurons):
        if last + 1 == len(neurons) or neurons[last + 1] != letter:
            yield letter, first, last
            first = last + 1


def _sensory(layer: Wiring, places: dict[int, Place], middle: float, height: float) -> Iterator[Markup]:
    """The box of inputs, and one line to every neuron that reads some."""
    (left, width), top = SENSES, middle - height / 2
    reading = sorted((y, x, neuron) for neuron, (x, y) in places.items() if layer.sensory_fan_in[neuron])
    for order, (y, x, neuron) in enumerate(reading):
        count, start = layer.sensory_fan_in[neuron], top + height * (order + 0.5) / len(reading)
        title = element("title", f"neuron {neuron} reads {count:,} of {layer.features:,} inputs")
        path = f"M{left + width} {start:.1f}C185 {start:.1f} {x - 75:.1f} {y:.1f} {x - RADIUS:.1f} {y:.1f}"
        yield element("path", title, d=path, class_="sensory", stroke_width=0.6 + 2 * count / layer.features)
    yield from _sensory_box(layer, middle, height)


def _sensory_box(layer: Wiring, middle: float, height: float) -> Iterator[Markup]:
    left, width = SENSES
    yield element("rect", x=left, y=middle - height / 2, width=width, height=height, rx=4, class_="senses")
    yield text(left + width / 2, middle - 5, f"{layer.features:,} inputs", "label", "middle")
    yield text(left + width / 2, middle + 13, f"{sum(layer.sensory_fan_in):,} synapses", "tick", "middle")


def _recurrent(layer: Wiring, places: dict[int, Place]) -> Iterator[Markup]:
    """Every recurrent synapse.  Those that reach a neuron from one side are spread over that side."""
    arriving: dict[tuple[int, bool], list[tuple[int, str]]] = {}
    for start, end, kind in synapses(layer):
        forward = places[start][0] < places[end][0]
        arriving.setdefault((end, forward), []).append((start, kind))
    for (end, _), sources in arriving.items():
        sources.sort(key=lambda source: places[source[0]][1])
        step = min(4.0, 13.0 / len(sources))
        for order, (start, kind) in enumerate(sources):
            yield from _synapse(places[start], places[end], step * (order - (len(sources) - 1) / 2), kind, (start, end))


def _synapse(start: Place, end: Place, shift: float, kind: str, names: tuple[int, int]) -> Iterator[Markup]:
    """The line from neuron to neuron and its ending, `shift` below the middle; it leaves and arrives horizontally."""
    (x1, y1), (x2, y2) = start, end
    ahead = 1 if x1 < x2 else -1  # the direction of arrival
    out = -1 if x1 > x2 else 1  # within a column out and in on the right side, the further the wider
    reach = 0.45 * abs(x2 - x1) if x1 != x2 else 18 + 0.28 * abs(y2 - y1)
    lift = 9.0 if start == end else 0.0  # onto itself: a loop
    y2 += shift
    edge = math.sqrt(RADIUS**2 - shift**2) + 1
    tip = x2 - ahead * edge
    x2 = tip - ahead * (2 if kind == "inhibits" else 6)
    x1 += out * RADIUS
    bend1, bend2 = x1 + out * reach, x2 - ahead * reach
    path = f"M{x1:.1f} {y1:.1f}C{bend1:.1f} {y1 - lift:.1f} {bend2:.1f} {y2 + lift:.1f} {x2:.1f} {y2:.1f}"
    ending = f"M{x2:.1f} {y2 - 3.5:.1f}v7" if kind == "inhibits" else f"M{tip:.1f} {y2:.1f}l{-6 * ahead} -2.5v5z"
    title = element("title", f"{names[0]} {kind} {names[1]}")
    yield element("path", title, d=path, class_=f"synapse {kind}")
    yield element("path", d=ending, class_=f"tip {kind}")
