"""The charts of ``AUDIT.html``: plain SVG, computed here, coloured by the page's style sheet.

No chart has a colour of its own: its parts carry classes, and the page's variables paint them for light and dark.
Every function returns a whole ``<svg>`` that can stand anywhere in a page; all text in it is escaped.
"""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from liquidlens.drawing.svg import element, line, picture, text
from liquidlens.export.facts import Interval, Reliability, Variant

Box = tuple[float, float, float, float]


def reliability(before: Reliability, after: Reliability | None, across: str, up: str) -> Markup:
    """Share against mean probability, a dot per bin with an area by its scans, and how many scans fall where.

    before, after: at temperature 1 (hollow) and at the file's (filled); None if that is the same.  across, up: titles.
    """
    left, top, side, bars = 44, 10, 240, 44
    base, floor = top + side, top + side + 12 + bars
    parts = [element("rect", x=left, y=top, width=side, height=side, class_="frame")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + side * tick, base - side * tick
        parts += [line(x, top, x, base, "grid"), line(left, y, left + side, y, "grid")]
        parts += [text(left - 7, y + 4, f"{tick:g}", "tick", "end"), text(x, floor + 16, f"{tick:g}", "tick", "middle")]
    parts.append(line(left, base, left + side, top, "identity"))
    series = [(before, "before"), (after, "after")] if after else [(before, "after")]
    most = max((b.count for shown, _ in series for b in shown.bins), default=0) or 1
    for shown, class_ in series:
        bins = [b for b in shown.bins if b.count]
        for b in sorted(bins, key=lambda b: -b.count):
            x, y = left + side * b.confidence, base - side * b.share
            tip = element("title", f"{b.count:,} scans: mean probability {b.confidence:.2f}, share {b.share:.2f}")
            parts.append(
                element("circle", tip, cx=x, cy=y, r=2.5 + 8 * math.sqrt(b.count / most), class_=f"dot {class_}")
            )
            height = max(1, bars * b.count / most)
            offset = 0 if len(series) == 1 else (-3 if class_ == "before" else 3)
            parts.append(
                element("rect", x=x - 3 + offset, y=floor - height, width=6, height=height, class_=f"bar {class_}")
            )
    parts.append(line(left, floor, left + side, floor, "axis"))
    parts.append(text(left + side / 2, floor + 34, across, "title", "middle"))
    middle = top + side / 2
    parts.append(
        element("text", up, class_="title", text_anchor="middle", transform=f"translate(11 {middle:g}) rotate(-90)")
    )
    return picture(left + side + 12, floor + 42, f"Reliability: {up} against {across}", parts)


def latency(variants: Sequence[Variant], batch: int) -> Markup | None:
    """Milliseconds of a run of `batch` scans against file size, a dot per variant; None for fewer than two."""
    shown = [v for v in variants if v.bytes > 0 and v.milliseconds.get(batch, 0) > 0]
    if len(shown) < 2:
        return None
    left, top, width, height = 52, 14, 360, 200
    across, up = _ticks(max(v.bytes / 1000 for v in shown)), _ticks(max(v.milliseconds[batch] for v in shown))
    parts = []
    for tick in up:
        y = top + height - height * tick / up[-1]
        parts += [line(left, y, left + width, y, "grid"), text(left - 8, y + 4, f"{tick:g}", "tick", "end")]
    for tick in across:
        x = left + width * tick / across[-1]
        parts += [line(x, top, x, top + height, "grid"), text(x, top + height + 17, f"{tick:,g}", "tick", "middle")]
    places = [
        (left + width * v.bytes / 1000 / across[-1], top + height - height * v.milliseconds[batch] / up[-1])
        for v in shown
    ]
    taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    for variant, (x, y) in zip(shown, places, strict=True):
        state = "recommended" if variant.recommended else "rejected" if variant.rejected else "usable"
        parts.append(element("circle", cx=x, cy=y, r=7 if variant.recommended else 5.5, class_=f"dot {state}"))
        words = variant.precision + {"recommended": ", recommended", "rejected": ", rejected"}.get(state, "")
        at_x, at_y, anchor = _beside(x, y, 6.6 * len(words), taken, right_edge=left + width + 40)
        parts.append(text(at_x, at_y, words, f"label {state}", anchor))
    parts.append(text(left + width / 2, top + height + 38, "file size, kB", "title", "middle"))
    middle = top + height / 2
    words = f"ms per {'scan' if batch == 1 else f'run of {batch} scans'}"
    parts.append(
        element("text", words, class_="title", text_anchor="middle", transform=f"translate(11 {middle:g}) rotate(-90)")
    )
    return picture(left + width + 44, top + height + 46, "Latency against file size", parts)


def interval(figure: Interval, chance: float | None = None) -> Markup | None:
    """A figure in 0..1 with its interval, on one line; `chance` marks what guessing reaches.  None if not a number."""
    if not all(map(math.isfinite, (figure.value, figure.low, figure.high))):
        return None
    at, low, high = (4 + 152 * min(1, max(0, value)) for value in (figure.value, figure.low, figure.high))
    parts = [line(4, 8, 156, 8, "axis")]
    parts += [line(4 + 152 * chance, 2, 4 + 152 * chance, 14, "chance")] if chance is not None else []
    parts += [line(low, 8, high, 8, "span"), element("circle", cx=at, cy=8, r=4, class_="dot after")]
    return picture(
        160, 16, f"{figure.value:.3f}, interval {figure.low:.3f} to {figure.high:.3f}, of 0 to 1", parts, "inline"
    )


def operating(threshold: float, abstain: tuple[float, float] | None, labels: Sequence[str]) -> Markup:
    """Probabilities from 0 to 1: below the threshold the first of two labels, above it the second; between, abstain."""
    left, width, y = 4, 420, 34
    at = left + width * threshold
    parts = [element("rect", x=left, y=y, width=width, height=14, class_="track", rx=2)]
    parts.append(element("rect", x=at, y=y, width=left + width - at, height=14, class_="positive", rx=2))
    if abstain:
        low, high = (left + width * edge for edge in abstain)
        parts.append(element("rect", x=low, y=y - 4, width=max(2, high - low), height=22, class_="abstain", rx=2))
    parts.append(line(at, y - 9, at, y + 23, "threshold"))
    # Near the ends the threshold's number would run out of the picture, or into the label above that end.
    parts.append(text(min(max(at, left + 10), left + width - 10), y + 38, f"{threshold:.3f}", "label", "middle"))
    parts += [
        text(left, y - 14, short(labels[0]), "label"),
        text(left + width, y - 14, short(labels[1]), "label", "end"),
    ]
    parts += [text(left, y + 38, "0", "tick") if at > left + 40 else Markup()]
    parts += [text(left + width, y + 38, "1", "tick", "end") if at < left + width - 40 else Markup()]
    return picture(left * 2 + width, y + 46, "Operating point on the scale of probabilities", parts)


def short(words: str, most: int = 26) -> str:
    """Words that fit into a drawing."""
    return words if len(words) <= most else words[: most - 1] + "…"


def _ticks(highest: float) -> list[float]:
    """About four round steps from 0 to at least `highest`, which is positive."""
    power = 10 ** math.floor(math.log10(highest / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 4.5 >= highest)
    return [step * k for k in range(math.ceil(highest / step - 1e-9) + 1)]


def _beside(x: float, y: float, width: float, taken: list[Box], right_edge: float) -> tuple[float, float, str]:
    """Where a label of `width` beside the dot (x, y) overlaps nothing `taken`, and its anchor; then that is taken."""
    choices = [(x + 12, y + 4, "start"), (x - 12, y + 4, "end")]
    choices += [(x, y + rise, "middle") for rise in (-14, 22, -30, 38)]
    boxes = []
    for at_x, at_y, anchor in choices:
        start = at_x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        boxes.append((start, at_y - 11, start + width, at_y + 4))
    free = [k for k, box in enumerate(boxes) if box[0] >= 0 and box[2] <= right_edge and not _overlaps(box, taken)]
    best = free[0] if free else 0
    taken.append(boxes[best])
    return choices[best]


def _overlaps(box: Box, others: Iterable[Box]) -> bool:
    return any(box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in others)
