"""Files that lie beside the slices of a series, and are none: junk, or a slice that was damaged?"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.formats.archives import Member

#: Bytes by which text is told from anything else.
_START = 1024
#: Names that a note lists.
_NAMED = 3


def beside(images: Sequence[Member], others: Sequence[Member]) -> list[Member]:
    """Those of `others` that lie in a folder in which the images lie as well."""
    folders = {_folder(image) for image in images}
    return [other for other in others if _folder(other) in folders]


def damaged(images: Sequence[Member], others: Sequence[Member]) -> LiquidLensError | None:
    """The error for a file that is called as the images are, and is none.

    What ends otherwise is something else.  Where images have no ending, so is text, unless its name differs from an
    image's in its digits only.
    """
    endings = {_ending(image) for image in images}
    stems = {_without_digits(image) for image in images}
    for other in others:
        ending = _ending(other)
        if ending in endings and (ending or _without_digits(other) in stems or not _is_text(other)):
            return LiquidLensError(
                f"{other.name}: it is called as the slices beside it and holds none, so one may be missing; give a "
                "whole copy of it, or take it away."
            )
    return None


def left_out(others: Sequence[Member]) -> tuple[str, ...]:
    """The note about files that were left out."""
    names = [PurePosixPath(other.name).name for other in others]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return (f"Left out, as they are no slices: {', '.join(names[:_NAMED] + more)}.",) if names else ()


def _folder(member: Member) -> str:
    return member.name.rpartition("/")[0]


def _ending(member: Member) -> str:
    """Letters only: names of slices often end in the numbers of an identifier."""
    ending = PurePosixPath(member.name).suffix.lower()
    return ending if ending[1:].isalpha() else ""


def _without_digits(member: Member) -> str:
    return re.sub("[0-9]+", "", member.name)


def _is_text(member: Member) -> bool:
    with member.stream() as file:
        start = file.read(min(_START, max(member.size, 1)))
    return bool(start) and b"\0" not in start
