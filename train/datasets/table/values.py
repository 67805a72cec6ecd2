"""What pixels mean: proposed from what the files hold, or as a person says, and then checked file by file."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets.reading import Reading, ValuesChoice
from liquidlens.train.datasets.table.facts import Facts

#: Hounsfield units that become 0 and 1 unless a window is given: lung, where there is air; soft tissue otherwise.
LUNG, SOFT_TISSUE = (-1000.0, 400.0), (-160.0, 240.0)
#: Air, and what no tissue or implant of a CT exceeds; files without units are taken for CT between them.
AIR, METAL = -200.0, 32767.0
#: 16-bit values that end below a tenth of the range look almost black to a network.
DARK = 6554


@dataclass(frozen=True)
class Values:
    """What the pixels mean, the window of Hounsfield units, and why, in a sentence, if it was not said."""

    choice: ValuesChoice
    window: tuple[float, float] | None
    why: str = ""


def values_of(facts: Sequence[Facts], reading: Reading) -> Values:
    """What the pixels of these scans mean, as `reading` says or as most of the files look."""
    if reading.values is not None or reading.window is not None:
        choice: ValuesChoice = reading.values or "hu"
        return Values(choice, (reading.window or _window(facts)) if choice == "hu" else None)
    choice, why = _proposed(facts)
    return Values(choice, _window(facts) if choice == "hu" else None, why)


def _proposed(facts: Sequence[Facts]) -> tuple[ValuesChoice, str]:
    most = len(facts) / 2
    if sum(each.units == "HU" for each in facts) > most:
        return "hu", "the files give Hounsfield units"
    if sum(each.modality == "MR" for each in facts) > most:
        return "relative", "the files are MR, whose values have no unit"
    if sum(each.coloured for each in facts) > most:
        return "colour", "most of the images are coloured"
    if all(each.binary for each in facts) and len(facts[0].shape) == 3:
        return "mask", "every file holds 0 and one other value: segmented shapes"
    if sum(each.windowed for each in facts) > most:
        return "grey", ""
    below = [each for each in facts if each.low < 0]
    if len(below) > most:
        low = statistics.median(each.low for each in below)
        if all(each.whole for each in below) and low < AIR and max(each.high for each in below) <= METAL:
            return "hu", f"whole numbers from about {low:g} on look like Hounsfield units, which the files do not say"
        return "relative", f"the files hold values from about {low:g} on, of no unit that they say"
    deep = [each.high for each in facts if each.high > 255]
    if len(deep) > most and max(deep) < DARK:
        return "relative", f"the 16-bit values end at {max(deep):g}, a tenth of their range or less"
    return "grey", ""


def _window(facts: Sequence[Facts]) -> tuple[float, float]:
    return LUNG if statistics.median(each.low for each in facts) < -500 else SOFT_TISSUE


def check_values(choice: ValuesChoice, each: Facts, name: str) -> None:
    """Raise LiquidLensError, naming the file, if its pixels cannot be what they are said to be."""
    low, high = each.low, each.high
    if choice in ("grey", "colour"):
        if (low < 0 or high > 65535) and not each.windowed:
            raise LiquidLensError(
                f"{name} holds values from {low:g} to {high:g}; {choice} values are 0 to 255 or 65535: --values hu "
                "takes Hounsfield units, --values relative other measurements."
            )
        if 0 < high <= 1 and not each.whole and not each.windowed:
            raise LiquidLensError(
                f"{name} holds fractions from 0 to 1; {choice} values are 0 to 255 or 65535: --values relative."
            )
    if choice == "hu" and each.storage.kind in ("PNG", "JPEG", "BMP"):
        raise LiquidLensError(f"{name} is a {each.storage.kind} image, which holds no Hounsfield units: --values grey.")
    if choice == "hu" and each.units is None and each.modality not in (None, "CT"):
        raise LiquidLensError(f"{name} is {each.modality}, which has no Hounsfield units: --values relative.")
    if choice == "mask" and low < 0:
        raise LiquidLensError(f"{name} holds values from {low:g}; a mask is 0 outside and more inside.")
    if choice == "colour" and len(each.shape) == 3:
        raise LiquidLensError(f"{name} is a volume; colour is for images.")


def about_depths(facts: Sequence[Facts]) -> list[str]:
    """A sentence about grey values of 8 and of 16 bits side by side, if there are both."""
    deep = sum(each.high > 255 and not each.windowed for each in facts)
    if not 0 < deep < len(facts):
        return []
    counted = f"{deep} files have 16-bit values and {len(facts) - deep} have 8-bit ones"
    return [f"{counted}: brightness, and perhaps the class, shows in which."]
