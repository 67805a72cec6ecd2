"""The one exception family for what a person can mend."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from unicodedata import category

#: How Python writes an open file or another object, with its address in memory or its path.
_OBJECT = re.compile(r"\s*<[^<>]*>")
#: A sentence lists no more names than this.
MANY = 30


def printable(text: str) -> str:
    """Text from elsewhere, such as the name of a file, on one line: what would end it, move the cursor or turn the
    direction of reading, and bytes that are no text, stand as escapes such as ``\\n``."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or category(letter) == "Zs" else letter.encode("unicode_escape").decode()
        for letter in text
    )


class LiquidLensError(Exception):
    """Something a person can mend.  The message is one sentence: what is wrong, with which file, and what to do.

    Sentences quote the names of files, columns and labels, which strangers chose: all of it is `printable`.
    """

    def __init__(self, sentence: str):
        super().__init__(printable(sentence))


class MissingPackageError(LiquidLensError, ImportError):
    """A package that is needed is not installed here; the sentence names what brings it."""


@contextmanager
def needing(wanted: str) -> Iterator[None]:
    """Make a sentence of a package that is not installed, and that `wanted` needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("liquidlens"):
            raise
        raise MissingPackageError(
            f"{wanted} needs the package {error.name}, which is not installed in this environment: pip install "
            "'liquidlens[cpu,train,export]' brings what trains and exports, 'liquidlens[cpu,serve]' what predicts and "
            "serves; in a checkout, `make environments` makes both, the workshop (.venv) and the device (.venv-serve)."
        ) from error


def unknown(kind: str, name: str, known: Iterable[str]) -> LiquidLensError:
    """The error for a name that does not exist; it names the nearest ones, or all."""
    known = list(known)
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    all_of_them = ", ".join(known if len(known) <= MANY else [*known[:MANY], "..."])
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {all_of_them}."
    return LiquidLensError(f"There is no {kind} named {name!r}. {hint}")


def first_line(error: BaseException) -> str:
    """What an error of a library says, in a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextmanager
def reading(name: object, kind: str | None) -> Iterator[None]:
    """Make a sentence that names the file of whatever its reader raises; damaged files lead to all kinds of errors.

    What pydicom raises is not repeated: it quotes what the file holds, the patient's name included.
    """
    try:
        yield
    except LiquidLensError as error:
        raise LiquidLensError(f"{name}: {error}") from error
    except MemoryError:
        raise LiquidLensError(f"{name}: there is not enough memory to read it; raise 'memory_bytes'.") from None
    except Exception as error:
        if kind in ("DICOM", "ZIP", "folder"):
            what = "folder" if kind == "folder" else f"{kind} file"
            raise LiquidLensError(
                f"{name}: not a readable {what}; it may be damaged ({type(error).__name__})."
            ) from None
        told = _OBJECT.sub("", str(error)).strip()
        reason = (told or type(error).__name__).splitlines()[0][:200]
        what = f"{kind} file" if kind else "file"
        raise LiquidLensError(f"{name}: not a readable {what}; it may be damaged ({reason}).") from error
