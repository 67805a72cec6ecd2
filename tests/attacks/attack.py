"""An attack: how its file is made, how a person opens it, and how that is stated to end."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Literal

#: What a person opens: one scan (`imaging.read_safely`, or `imaging.read` as with ``--trust``, where nothing but the
#: reader itself stands in the way), all that a place holds as volumes or as images (the readers of `liquidlens predict
#: --out`), an exported file (`serve.predict.predictor.Predictor`, which then judges an empty scan), or a run folder
#: (`train.run.RunFolder`).
Opener = Literal["scan", "trusted", "volumes", "images", "model", "run"]

#: What no answer may hold: it is in the names of patients (see `tests.imaging.dicoms`).
SECRET = "LEAK"  # noqa: S105


@dataclass(frozen=True)
class Answer:
    """What came of one thing that was opened.  error: the sentence, None if there is none.  found: the shape of a scan,
    the labels of a model, the name of a run's model.  rest: more words that are shown, notes and items."""

    error: str | None = None
    found: tuple[int | str, ...] = ()
    rest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Every answer is an error that matches this pattern: one sentence, in one line.  times: how many answers."""

    sentence: str
    times: int = 1

    def problem(self, answers: list[Answer]) -> str | None:
        if len(answers) != self.times:
            return f"{len(answers)} answers, not {self.times}: {answers}"
        wrong = [answer for answer in answers if answer.error is None or not re.search(self.sentence, answer.error)]
        return f"not refused with {self.sentence!r}: {wrong[0]}" if wrong else None


@dataclass(frozen=True)
class Reads:
    """It is read, and harmless.  found: as of `Answer`."""

    found: tuple[int | str, ...]

    def problem(self, answers: list[Answer]) -> str | None:
        return None if [answer.found for answer in answers] == [self.found] else f"not {self.found}: {answers}"


@dataclass(frozen=True)
class Survived:
    """Damaged files of which some can still be read: an answer or more for each of the files, at least `refused` of
    them errors, and no reader that crashed."""

    files: int
    refused: int

    def problem(self, answers: list[Answer]) -> str | None:
        errors = [answer.error for answer in answers if answer.error is not None]
        crashed = [error for error in errors if "the reader crashed" in error or "was killed" in error]
        if len(answers) < self.files or len(errors) < self.refused:
            return f"{len(answers)} answers with {len(errors)} errors: {errors}"
        return f"{len(crashed)} crashes: {crashed[0]}" if crashed else None


@dataclass(frozen=True)
class Attack:
    """make: writes the hostile file, or folder, into an empty folder and gives what a person would open.  ends: how it
    is stated to end."""

    name: str
    opener: Opener
    make: Callable[[Path], Path | str] = field(repr=False)
    ends: Refused | Reads | Survived

    def __str__(self) -> str:
        return self.name


def corpus(*openers: Opener) -> Iterator[Attack]:
    """All attacks that are opened so, by default all there are, in the order of their modules' names.

    Modules whose names begin with the opener ``model`` or ``run`` need the workshop; the others are imported alone
    where neither is asked for.
    """
    package = import_module("tests.attacks.corpus")
    for module in sorted(entry.name for entry in iter_modules(package.__path__)):
        kind = module.partition("_")[0]
        if openers and kind in ("model", "run") and kind not in openers:
            continue
        for attack in import_module(f"tests.attacks.corpus.{module}").ATTACKS:
            if not openers or attack.opener in openers:
                yield attack
