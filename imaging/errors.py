"""The one exception family for what a person can mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class LiquidLensError(Exception):
    """Something a person can mend.  The message is one sentence: what is wrong, with which file, and what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> LiquidLensError:
    """The error for a name that does not exist: says the nearest names, or all of them."""
    known = list(known)
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(known)}."
    return LiquidLensError(f"There is no {kind} named {name!r}. {hint}")
