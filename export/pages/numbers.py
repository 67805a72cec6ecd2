"""Numbers as the pages for people write them.  A dash stands for what is not known or not a number."""

import math
import re
from collections.abc import Iterable

from liquidlens.export.facts import Interval

NONE = DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
#: Between a number and its unit: no line breaks there.
SPACE = "\N{NO-BREAK SPACE}"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | str | None, digits: int = 3) -> str:
    """0.867.  Manifests write infinity as text."""
    value = math.nan if value is None else float(value)
    return f"{value:,.{digits}f}" if math.isfinite(value) else "∞" if value == math.inf else NONE


def percent(share: float | None) -> str:
    """89.8 % of a share in 0..1."""
    return NONE if share is None or math.isnan(share) else f"{100 * share:.1f}{SPACE}%"


def integer(value: int | None) -> str:
    """37,265"""
    return NONE if value is None else f"{value:,}"


def size(value: int) -> str:
    """Bytes in three digits: 512 B, 113 kB, 4.30 MB."""
    factor, unit = next((pair for pair in ((1, "B"), (1e3, "kB")) if value < 999.5 * pair[0]), (1e6, "MB"))
    return f"{_three(value / factor) if factor > 1 else value}{SPACE}{unit}"


def milliseconds(value: float | None) -> str:
    """1.21 ms"""
    return NONE if value is None or not math.isfinite(value) else f"{_three(value)}{SPACE}ms"


def difference(value: float) -> str:
    """A difference in two digits: 0, 0.19, 0.0083, and below 0.001 with a power of ten."""
    if not math.isfinite(value):
        return NONE
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}{TIMES}10{str(int(exponent)).translate(RAISED)}"


def span(figure: Interval | None) -> str:
    """The interval of a figure, 0.806 to 0.918 with a dash between."""
    return NONE if figure is None else f"{number(figure.low)}{DASH}{number(figure.high)}"


def shape(sizes: Iterable[object]) -> str:
    """28 x 28 x 28"""
    return f" {TIMES} ".join(map(str, sizes)) or "scalar"


def extent(contract: dict) -> str:
    """The field of view of an input contract: "28 x 28 x 28 mm (28 x 28 x 28 voxels of 1 x 1 x 1 mm)"."""
    lengths = [n * step for n, step in zip(contract["size"], contract["spacing"], strict=True)]
    spacing = shape(f"{step:g}" for step in contract["spacing"])
    return f"{shape(f'{length:g}' for length in lengths)} mm ({shape(contract['size'])} voxels of {spacing} mm)"


def clause(words: str) -> str:
    """A sentence without its full stop, to go on with."""
    return words.strip().removesuffix(".")


def rule(words: str) -> str:
    """How a threshold was chosen, from the manifest's short form of it (see `export.measure.operating.Rule`)."""
    wanted, equals, value = words.partition("=")
    if words == "youden":
        return "the largest sum of sensitivity and specificity (Youden's index)"
    if wanted == "sensitivity" and equals:
        return f"the highest threshold that finds at least {percent(float(value))} of the positive scans"
    if re.fullmatch(r"[0-9.]+(e-?[0-9]+)?", words):
        return "fixed beforehand"
    return clause(words)


def _three(value: float) -> str:
    """Three significant digits, without an exponent."""
    exponent = int(f"{value:.2e}".split("e")[1])
    return f"{value:,.{max(0, 2 - exponent)}f}" if value > 0 else "0"
