"""Pictures of an evaluation: confusion matrix, coverage-risk curve, reliability diagram.  For screen and print."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

#: From how many rows or columns on a matrix has no room for numbers.
CROWDED = 24
BLUE, ORANGE, GREY = "#1f5f99", "#c8501e", "0.6"


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150, bbox_inches="tight")
    return content.getvalue()


def confusion(counts: NDArray[np.int64], names: Sequence[str], of: str) -> Figure:
    """The confusion matrix (true, predicted) of counts, each with its share of the row.  of: written above this and the
    other pictures: how many scans, which model."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _matrix(counts, shares, names, names)
    _above(axes, of)
    axes.set(xlabel="predicted label", ylabel="true label")
    return figure


def findings(counts: NDArray[np.int64], names: Sequence[str], of: str) -> Figure:
    """The predictions of each label of multi-label data: (labels, 4) true positives, false negatives, false positives
    and true negatives; the first two as shares of the scans that have the label, the last two of those that do not."""
    having = counts[:, :2].sum(1, keepdims=True), counts[:, 2:].sum(1, keepdims=True)
    shares = counts / np.maximum(np.repeat(np.concatenate(having, 1), 2, 1), 1)
    figure, axes = _matrix(counts, shares, names, ("found", "missed", "false alarm", "rightly absent"))
    _above(axes, of)
    axes.axvline(1.5, color="white", linewidth=4)
    axes.set(ylabel="label")
    return figure


def coverage_risk(coverage: Sequence[float], risk: Sequence[float], dot: tuple[float, float] | None, of: str) -> Figure:
    """The share of wrong answers if only the most certain scans are answered, see `metrics.risk_coverage`; dot:
    (coverage, risk) of the scans on which the model does not abstain."""
    figure = Figure(figsize=(5, 3.75), layout="constrained")
    axes = figure.subplots()
    axes.step(coverage, risk, where="post", color=BLUE, linewidth=1.5)
    if dot is not None:
        axes.plot(*dot, "o", color=ORANGE, markersize=7, label="the model's own abstain band", clip_on=False)
        axes.legend(frameon=False, loc="lower right")
    axes.set(xlim=(0, 1), ylim=(0, max(1.1 * max(risk), 0.01)))
    axes.set(xlabel="share of answers given, most certain first", ylabel="share of them that is wrong")
    _percent(axes)
    _above(axes, of)
    return figure


def reliability(bins: Sequence[tuple[float, float, int]], what: str, right: str, of: str) -> Figure:
    """The bins of `metrics.reliability` against the diagonal of perfect calibration, dots with areas by their
    numbers of probabilities, which are below.  what: whose probability it is.  right: of what the share is."""
    figure = Figure(figsize=(4.5, 5), layout="constrained")
    axes, below = figure.subplots(2, height_ratios=(4, 1), sharex=True)
    mean, share, count = zip(*bins, strict=True)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    radius = 2.5 + 8 * np.sqrt(np.array(count) / max(count))  # in points; as in AUDIT.html
    axes.scatter(mean, share, (2 * radius) ** 2, color=BLUE, alpha=0.8, linewidths=0, clip_on=False, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_ylabel(f"share {right}", parse_math=False)
    below.bar(mean, count, width=0.04, color=BLUE)
    below.set_xlabel(f"probability of {what}", parse_math=False)
    below.set_ylabel("how many")
    below.spines[["top", "right"]].set_visible(False)
    _percent(axes)
    _above(axes, of)
    return figure


def _matrix(counts: NDArray, shares: NDArray, rows: Sequence[str], columns: Sequence[str]) -> tuple[Figure, Axes]:
    """Counts as a coloured table, darker with their shares, which are between 0 and 1."""
    height, width = counts.shape
    crowded = max(height, width) > CROWDED
    cell = 0.25 if crowded else 0.75
    figure = Figure(figsize=(max(cell * width, 1.5) + 2.6, max(cell * height, 1.5) + 1.6), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    across, down = ([_wrapped(name) for name in names] for names in (columns, rows))
    axes.set_xticks(range(width), across, parse_math=False)
    axes.set_yticks(range(height), down, parse_math=False)
    if crowded or max(map(len, across)) > 9:
        axes.tick_params(axis="x", rotation=45)
        for name in axes.get_xticklabels():
            name.set(ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=7 if crowded else 9)
    axes.spines[:].set_visible(False)
    if crowded:
        bar = figure.colorbar(picture, ax=axes, shrink=0.5)
        bar.set_label("share of the row")
        bar.outline.set_visible(False)
        return figure, axes
    for row, column in np.ndindex(height, width):
        share = shares[row, column]
        text = f"{counts[row, column]:,}\n{share:.1%}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.55 else "black")
    return figure, axes


def _wrapped(name: str) -> str:
    """A long name in up to three lines."""
    return "\n".join(textwrap.wrap(name, 22, max_lines=3, placeholder=" ...")) or name


def _above(axes: Axes, of: str) -> None:
    axes.set_title(of, loc="left", fontsize=8, color="0.35", pad=10, parse_math=False)


def _percent(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
