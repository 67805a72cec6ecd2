"""What run folders and tables call a network and its training: LSTMExp5N2+source_layout, hse-2024+max_epochs=20."""

import re
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Network:
    """A model with its flags, and the size of its input where that is not the paper's: CRNet-FC@112x112."""

    model: str
    flags: tuple[str, ...] = ()
    size: tuple[int, ...] | None = None

    def __str__(self) -> str:
        size = "" if self.size is None else "@" + "x".join(map(str, self.size))
        return "+".join((self.model, *self.flags)) + size

    @classmethod
    def parse(cls, text: str) -> Self:
        """The network that a text names; what looks like none is all model."""
        if (found := re.fullmatch(r"([^+@]+)((?:\+[^+@]+)*)(?:@(\d+(?:x\d+)*))?", text)) is None:
            return cls(text)
        model, flags, size = found.groups()
        return cls(model, tuple(flags.split("+")[1:]), tuple(map(int, size.split("x"))) if size else None)


@dataclass(frozen=True)
class Rule:
    """A recipe by its name, and the fields in which the training differed from it, with their values as texts."""

    recipe: str
    changes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return "+".join((self.recipe, *(f"{field}={value}" for field, value in self.changes)))

    @classmethod
    def parse(cls, text: str) -> Self:
        recipe, *changes = re.split(r"\+(?=\w+=)", text)  # 1e+20 has a plus, too
        return cls(recipe, tuple((field, value) for field, _, value in (change.partition("=") for change in changes)))
