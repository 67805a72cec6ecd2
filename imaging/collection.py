"""Every scan in a place: in a file of one scan or of many, in an archive, among the DICOM files of a folder.

`imaging.read` reads the one scan that a person names.  Here a place is opened once and its scans come one after the
other, so that a stack of 100,000 volumes is unpacked once and never held.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.budget import DEFAULT, Budget, size_of
from liquidlens.imaging.formats.archives import Member, open_folder, open_zip
from liquidlens.imaging.formats.arrays import chosen, item_of, members, stored
from liquidlens.imaging.formats.items import Collection, Item, in_arrays, in_stack, single, whole
from liquidlens.imaging.formats.kinds import Kind
from liquidlens.imaging.read import exists, item_name, kind_of_file, kind_of_member, read, read_file
from liquidlens.imaging.request import Request
from liquidlens.imaging.scan import Scan

#: The kinds of files in a folder or an archive that are scans.
READABLE: tuple[Kind, ...] = ("NPY", "NPZ", "NIfTI", "image", "DICOM")
#: Images of one page by their ending; and in how many bytes a PNG says whether it is one (its chunk acTL).
_SINGLE, _START = (".png", ".jpg", ".jpeg", ".bmp"), 2**16


@dataclass(frozen=True)
class Place:
    """Where scans lie.

    path: a file, or a folder.  selection: what stands after a ``#``: one scan as `imaging.read` takes it, or one array
        of an .npz archive, which stands for its items; nothing stands for all that the place holds.
    series: only the DICOM files that lie in the folder itself, not in its subfolders, are meant.
    first, step, end: only the scans with the numbers of ``range(first, end, step)``; None is the number of all scans.
    at, at_mm, mask: where to look in a volume, for models that see a part of it: at a voxel (slice, row, column), a
        point of the patient (x, y, z), or the centroid of a segmentation, a file as `imaging.read` takes it; the first
        that is given counts.
    """

    path: str
    selection: str = ""
    series: bool = False
    first: int = 0
    step: int = 1
    end: int | None = None
    at: Sequence[float] | None = None
    at_mm: Sequence[float] | None = None
    mask: str = ""

    def __str__(self) -> str:
        return named(self.path, self.selection)

    @property
    def where(self) -> str:
        """Where to look, as text; empty for the middle."""
        if self.at is not None:
            return ",".join(f"{number:g}" for number in self.at)
        if self.at_mm is not None:
            return ",".join(f"{number:g}" for number in self.at_mm) + " mm"
        return f"mask {self.mask}" if self.mask else ""


@dataclass(frozen=True)
class Found:
    """One scan of a place, or why there is none.

    number, of: which one it is, from 0, and how many the place holds; `of` is 0 if nobody can open the place, because
        of what is in it, or if it ends before the first one that is meant: then this is its only scan.  Where it is out
        of reach here and now, it is taken to end with this one.  item: what stands after the ``#`` where
        `imaging.read` is to read this scan alone; nothing if it is the only one.
    sha256: of the file; of an item of an array, of its own bytes; of a series, of its files' bytes in the order of
        their names.  None if they could not be read.
    """

    number: int
    of: int
    item: str
    sha256: str | None
    scan: Scan | LiquidLensError


class Next(NamedTuple):
    """A scan that is about to be read, by `read`: its number, the number of scans, and the item, as of `Found`."""

    number: int
    of: int
    item: str
    read: Callable[[], Found]


def named(path: str, item: str) -> str:
    """What `imaging.read` takes: ``path``, or ``path#item``."""
    return f"{path}#{item}" if item else path


def each(place: Place, budget: Budget = DEFAULT, *, axes: int, colour: bool = False) -> Iterator[Next]:
    """The scans of a place in their order, each to be read before the next one is asked for.

    axes: how many axes the wanted scans have in space, 2 (images) or 3 (volumes).  An array with one axis more is a
        stack of them; DICOM files of many frames, and series, are volumes, or as many images.
    budget, colour: as of `imaging.read`.
    A place that cannot be opened is one scan with an error, and so is each scan that cannot be read.
    """
    request = Request(Path(place.path).name, place.selection, budget, colour)
    with ExitStack() as files:
        try:
            collection = _open(place, request, axes, files)
            numbers = range(collection.length)[place.first : place.end : place.step]
            if place.first >= collection.length:
                raise LiquidLensError(f"{place}: it holds {collection.length} scans, no number {place.first} any more.")
        except LiquidLensError as error:
            of = place.first + 1 if not exists(place.path) or _is_of_the_machine(error) else 0
            failure = Found(place.first, of, place.selection, None, error)
            yield Next(place.first, of, place.selection, lambda: failure)
            return
        for number in numbers:
            item = collection.item(number)
            read = functools.partial(_found, place, item, number, collection.length, budget)
            yield Next(number, collection.length, item.name, read)


def _is_of_the_machine(error: BaseException | None) -> bool:
    """Whether an error is of this machine at this time, and not of a file's content."""
    return error is not None and (isinstance(error, (OSError, MemoryError)) or _is_of_the_machine(error.__context__))


def _found(place: Place, item: Item, number: int, of: int, budget: Budget) -> Found:
    digest = None
    try:
        with reading(named(place.path, item.name), item.kind):
            digest, decode = item.load()
            scan: Scan | LiquidLensError = _pointed(decode(), place, budget)
    except LiquidLensError as error:
        scan = error
    return Found(number, of, item.name, digest, scan)


def _pointed(scan: Scan, place: Place, budget: Budget) -> Scan:
    """The scan, to be looked at where its place says.  Raises LiquidLensError if that lies outside of it."""
    if place.at is not None:
        return scan.pointed(place.at)
    if place.at_mm is not None:
        return scan.pointed(scan.voxel_at(place.at_mm))
    return scan.pointed(scan.middle_of(read(place.mask, budget))) if place.mask else scan


def _open(place: Place, request: Request, axes: int, files: ExitStack) -> Collection:
    path = Path(place.path)
    with reading(place, None):
        kind = None if path.is_dir() else kind_of_file(path)
    with reading(place, kind or "folder"):
        if kind is not None:
            return _in_file(files.enter_context(path.open("rb")), kind, request, axes)
        found = open_folder(path, request.budget, deep=not place.series)
        if not place.series:
            return _in_members(found, request, axes)
        # With subfolders, the folder's name alone would mean their series as well.
        return _in_members(found, request, axes, ("DICOM",), numbered=any(entry.is_dir() for entry in path.iterdir()))


def _in_file(file: BinaryIO, kind: Kind, request: Request, axes: int) -> Collection:
    """The scans in a file, or in a file of an archive: at least one, and no more than the budget allows."""
    collection = _claimed(file, kind, request, axes)
    request.budget.check_scans(collection.length)
    if not collection.length:
        raise LiquidLensError("it holds no scan.")
    return collection


def _claimed(file: BinaryIO, kind: Kind, request: Request, axes: int) -> Collection:
    request.budget.check_file(size_of(file))
    wanted, budget = request.selection, request.budget
    if kind == "ZIP" and not wanted:
        return _in_members(open_zip(file, budget), request, axes)
    if kind == "NPZ":
        arrays = members(file, budget)
        name, item = chosen(wanted, arrays)
        if not wanted or (name in arrays and not item):
            return in_arrays({name: arrays[name]} if wanted else arrays, request, axes)
        if name in arrays:
            found = arrays[name]
            return single(whole(wanted, lambda: item_of(stored(found.stream(), found.size, budget), item)))
    if kind == "NPY":
        array = stored(file, size_of(file), budget)
        if wanted:
            return single(whole(wanted, functools.partial(item_of, array, wanted)))
        if len(array.shape) == axes + request.colour + 1:
            return in_stack("", array.shape, lambda: array)
    number = 1 if wanted else _number(file, kind, budget, axes)
    digest = functools.cache(functools.partial(_digest, file))

    def one(at: int) -> Item:
        name = str(at) if number > 1 else wanted
        decode = functools.partial(read_file, file, kind, replace(request, selection=name))
        return Item(name, kind, lambda: (digest(), decode))

    return Collection(number, one)


def _number(file: BinaryIO, kind: Kind, budget: Budget, axes: int) -> int:
    """How many scans a file that is no array holds, by its header; 1 if it does not say."""
    file.seek(0)
    with contextlib.suppress(Exception):  # whatever is wrong with it, its reader says it better
        if kind == "NIfTI" and axes == 3:
            from liquidlens.imaging.formats.nifti import volumes

            return volumes(file)
        if kind == "image" and axes == 2:
            from liquidlens.imaging.formats.images import pages

            return pages(file, budget)
        if kind == "DICOM" and axes == 2:
            from liquidlens.imaging.formats.series import frames

            return frames(file, budget)
    return 1


def _in_members(
    found: Sequence[Member], request: Request, axes: int, wanted: Container[Kind] = READABLE, numbered: bool = False
) -> Collection:
    """The scans in the files of a folder or an archive.  Where volumes are wanted, a DICOM series is one, which has a
    number if there are several, or if `numbered`."""
    kinds = [(member, kind_of_member(member)) for member in found]
    items: list[Item] = []
    if axes == 3 and (slices := [member for member, kind in kinds if kind == "DICOM"]):
        kinds = [(member, kind) for member, kind in kinds if kind != "DICOM"]
        items += _in_series(slices, [member for member, _ in kinds], request)
    opened = _Opened(request, axes)
    items += (item for member, kind in kinds if kind and kind in wanted for item in opened.items(member, kind))
    if request.selection:
        items = [item for item in items if item.name == request.selection]
    if not items:
        missing = f"there is no item {request.selection!r}" if request.selection else "it holds no scan"
        raise LiquidLensError(f"{missing}.")
    if len(items) == 1 and items[0].name == "0" and not numbered:  # the only series
        items = [items[0]._replace(name=request.selection)]
    return Collection(len(items), items.__getitem__)


def _in_series(members: Sequence[Member], others: Sequence[Member], request: Request) -> Iterator[Item]:
    from liquidlens.imaging.formats.series import Series, find_series, read_series

    found, broken, reports = find_series(members, others, request.budget)

    def load(series: Series) -> tuple[str, Callable[[], Scan]]:
        return _digest_of(image.member for image in series.images), lambda: read_series(series, request)

    def fail(error: LiquidLensError) -> tuple[str, Callable[[], Scan]]:
        raise error

    for number, series in enumerate(found):
        first, *further = series.images
        name = str(number) if further else item_name(first.member.name)  # a file says more than a number
        yield Item(name, "DICOM", functools.partial(load, series))
    for name in reports:
        broken[name] = LiquidLensError("this DICOM file holds no image.")
    yield from (Item(item_name(name), "DICOM", functools.partial(fail, error)) for name, error in broken.items())


class _Opened:
    """Files of an archive or folder, of which the last one stays unpacked: its scans are asked for in their order."""

    def __init__(self, request: Request, axes: int):
        self._request, self._axes = request, axes
        self._open = functools.lru_cache(1)(self._collection)

    def items(self, member: Member, kind: Kind) -> Iterator[Item]:
        """The scans in one file.  What is wrong with the file is found when its only scan is loaded."""
        names = [""]
        with contextlib.suppress(LiquidLensError), reading(member.name, kind):
            if not _is_single(member):
                collection = self._open(member, kind)
                names = [collection.item(number).name for number in range(collection.length)]
        for number, name in enumerate(names):
            item = named(item_name(member.name), name)
            yield Item(item, kind, functools.partial(self._load, member, kind, number))

    def _load(self, member: Member, kind: Kind, number: int) -> tuple[str, Callable[[], Scan]]:
        return self._open(member, kind).item(number).load()

    def _collection(self, member: Member, kind: Kind) -> Collection:
        request = replace(self._request, name=member.name, selection="")
        return _in_file(member.open(), kind, request, self._axes)


def _is_single(member: Member) -> bool:
    """Whether a file is one image, by its ending, and of a PNG by its first bytes as well."""
    ending = Path(member.name).suffix.lower()
    if ending != ".png":
        return ending in _SINGLE
    with member.stream() as file:
        return b"acTL" not in file.read(min(_START, member.size))


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # has readinto


def _digest_of(members: Iterable[Member]) -> str:
    digest = hashlib.sha256()
    for member in sorted(members, key=lambda member: member.name):
        with member.stream() as file:
            while block := file.read(min(2**20, max(member.size, 1))):
                digest.update(block)
    return digest.hexdigest()
