"""The plot that every paper has: our figures against the published ones."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A figure, ours and published; kind: what shares a colour; deviation: over our seeds."""

    kind: str
    published: float
    ours: float
    deviation: float | None


def against(figure: Any, points: Iterable[Point], what: str, scale: float = 1.0) -> None:
    """Ours over published: what is reproduced lies on the diagonal.  what: the figure, in words."""
    figure.set_size_inches(5, 4.5)
    axes = figure.subplots()
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(point.kind, []).append(point)
    for number, (kind, own) in enumerate(sorted(kinds.items())):
        x, y, spread = (
            [scale * v for v in values]
            for values in zip(*((p.published, p.ours, p.deviation or 0) for p in own), strict=True)
        )
        axes.errorbar(x, y, spread, fmt="o", markersize=4, capsize=2, color=f"C{number}", label=kind)
    low, high = (pick(axes.get_xlim() + axes.get_ylim()) for pick in (min, max))
    ends = low - 0.03 * (high - low), high + 0.03 * (high - low)  # both axes alike
    axes.axline((low, low), slope=1, color="grey", linewidth=0.8)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{what}, published", ylabel=f"{what}, ours")
    if len(kinds) > 1:
        axes.legend(frameon=False, fontsize=8)
