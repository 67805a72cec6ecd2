"""Reading DICOM scans of one or many frames, files or archive members."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset

from liquidlens.errors import LiquidLensError, reading
from liquidlens.imaging.budget import Budget
from liquidlens.imaging.formats import dicom, dicom_pixels, strays
from liquidlens.imaging.formats.archives import Member
from liquidlens.imaging.formats.geometry import Plane, arrange, to_lps
from liquidlens.imaging.request import Request, index
from liquidlens.imaging.scan import Scan


@dataclass(frozen=True)
class _Slice:
    """One slice that is not decoded yet."""

    plane: Plane | None
    modality: str | None
    decode: Callable[[], dicom_pixels.Frame]


@dataclass(frozen=True)
class Image:
    """One image file of a folder or archive, by its header."""

    member: Member
    header: Dataset


@dataclass(frozen=True)
class Series:
    """The images of one series.  damaged: the error for a file that seems to be one of its slices.  notes: about files
    that lie beside them."""

    images: Sequence[Image]
    damaged: LiquidLensError | None
    notes: tuple[str, ...]


def read_dicom(file: BinaryIO, request: Request) -> Scan:
    """An image or, from a file of several frames that lie in the patient, a volume; ``request.selection`` names one
    frame, counted from 0 as stored."""
    with dicom.quiet():
        header = dicom.header(file, request.budget)
        dicom.check(header, request.budget)
        frames = dicom.number_of_frames(header)
        if frames == 1 and request.selection:
            raise LiquidLensError(f"this is one image, there is no item {request.selection!r}.")
        wanted = index(request.selection, frames) if request.selection else None
        dataset = dicom_pixels.load(file)
        if frames == 1 or wanted is not None:
            return _image(dataset, wanted or 0, request.colour)
        slices = [_slice_of(dataset, i) for i in range(frames)]
        if any(part.plane is None for part in slices):
            raise LiquidLensError(
                f"an image of {frames} frames that do not say where they lie; name one of them, as in {request.name}#0."
            )
        return _volume(slices)


def frames(file: BinaryIO, budget: Budget) -> int:
    """How many frames a DICOM file holds.  Raises LiquidLensError if they are over the budget."""
    with dicom.quiet():
        header = dicom.header(file, budget)
        dicom.check(header, budget)
        return dicom.number_of_frames(header)


def read_only_series(members: Sequence[Member], others: Sequence[Member], request: Request) -> Scan | None:
    """The one DICOM series among `members` that are DICOM files, or series ``request.selection``; None if none of them
    is an image.  others: the other files of the folder or archive.

    Raises LiquidLensError if there are several series, if their slices are no even stack, or if a slice seems to be
    damaged.
    """
    series, broken, _ = find_series(members, others, request.budget)
    if not request.selection:
        for error in broken.values():
            raise error
    if not series:
        return None
    if len(series) > 1 and not request.selection:
        found = "; ".join(f"#{i} {_describe(one.images)}" for i, one in enumerate(series))
        raise LiquidLensError(f"{len(series)} series: {found}; name one, as in {request.name}#0.")
    return read_series(series[index(request.selection or "0", len(series))], request)


def read_series(series: Series, request: Request) -> Scan:
    """One series that `find_series` found.  Raises LiquidLensError if its slices are no even stack, or if one seems to
    be damaged."""
    if series.damaged is not None:
        raise series.damaged
    images = series.images
    with dicom.quiet():
        if len(images) == 1:
            with reading(images[0].member.name, "DICOM"), images[0].member.open() as file:
                scan = read_dicom(file, replace(request, name=images[0].member.name, selection=""))
        else:
            scan = _volume(_slices(images, request))
    return replace(scan, notes=(*scan.notes, *series.notes))


def find_series(
    members: Sequence[Member], others: Sequence[Member], budget: Budget
) -> tuple[list[Series], dict[str, LiquidLensError], list[str]]:
    """The images among DICOM files by series, in the order of their series numbers; what is wrong with files that
    cannot be read, by name; and the names of those that are no image by their own words.

    A file of several frames is a series of its own.  Series in subfolders come last, so that the others have the same
    numbers without them.  others: files that are not DICOM.
    """
    found: dict[tuple[str, str], list[Image]] = defaultdict(list)
    broken, reports = {}, []
    with dicom.quiet():
        for member in members:
            try:
                with reading(member.name, "DICOM"):
                    budget.check_file(member.size)
                    with member.open() as file:
                        header = dicom.header(file, budget)
                    own = str(header.get("SOPInstanceUID")) if dicom.number_of_frames(header) > 1 else ""
                    if dicom.size(header):
                        found[str(header.get("SeriesInstanceUID")), own].append(Image(member, header))
                    elif dicom.is_something_else(header):
                        reports.append(member)
                    else:
                        raise LiquidLensError(
                            "this DICOM file holds no image; it may be damaged: give a whole copy, or take it away."
                        )
            except LiquidLensError as error:
                broken[member] = error

    def complete(images: Sequence[Image]) -> Series:
        own = [image.member for image in images]
        unread = strays.beside(own, list(broken))
        junk = strays.beside(own, others)
        damaged = broken[unread[0]] if unread else strays.damaged(own, junk)
        return Series(images, damaged, strays.left_out(strays.beside(own, [*reports, *others])))

    series = [complete(images) for images in sorted(found.values(), key=_place)]
    return series, {member.name: error for member, error in broken.items()}, [member.name for member in reports]


def _slices(images: Sequence[Image], request: Request) -> list[_Slice]:
    """The slices of a series, within the budget.  Raises LiquidLensError if they are no stack for a reason that their
    positions do not tell."""
    request.budget.check_slices(len(images))
    request.budget.check_file(sum(image.member.size for image in images))
    request.budget.check_pixels(sum(image.header.Rows * image.header.Columns for image in images))
    names: dict[str, str] = {}
    slices = []
    for image in images:
        name = image.member.name
        with reading(name, "DICOM"):
            dicom.check(image.header, request.budget)
            part = _slice_in(image)
        if part.plane is None:
            raise LiquidLensError(
                f"slices without position: {name} does not say in numbers where it lies; give one file alone."
            )
        own = str(image.header.get("SOPInstanceUID") or name)
        if own in names:
            raise LiquidLensError(f"copied slices: {names[own]} and {name} are the same image; take one of them away.")
        names[own] = name
        slices.append(part)
    return slices


def _place(images: Sequence[Image]) -> tuple[bool, int, str]:
    first = images[0]
    return all("/" in image.member.name for image in images), _number(first.header), first.member.name


def _number(header: Dataset) -> int:
    try:
        return int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _describe(images: Sequence[Image]) -> str:
    header = images[0].header
    number = max(len(images), dicom.number_of_frames(header))
    what = "image" if number == 1 else "images"
    return f"{dicom.modality(header) or 'unknown'}, {number} {what} of {header.Rows} x {header.Columns}"


def _image(dataset: Dataset, at: int, colour: bool) -> Scan:
    frame = dicom_pixels.decode(dataset, at, colour)
    return Scan(
        frame.pixels,
        dicom.spacing(dataset, at),
        dicom.modality(dataset),
        units=frame.units,
        window=frame.window,
        notes=frame.notes,
    )


def _slice_of(dataset: Dataset, at: int) -> _Slice:
    """A slice from a frame of a file that is in memory."""
    return _Slice(
        dicom.plane(dataset, at, f"frame {at}"),
        dicom.modality(dataset),
        lambda: dicom_pixels.decode(dataset, at, colour=False),
    )


def _slice_in(image: Image) -> _Slice:
    """A slice from a file that is opened when its turn comes."""

    def decode() -> dicom_pixels.Frame:
        with reading(image.member.name, "DICOM"), image.member.open() as file:
            return dicom_pixels.decode(dicom_pixels.load(file), 0, colour=False)

    return _Slice(dicom.plane(image.header, 0, image.member.name), dicom.modality(image.header), decode)


def _volume(slices: Sequence[_Slice]) -> Scan:
    planes = [part.plane for part in slices if part.plane is not None]
    order, affine = arrange(planes)
    first = slices[0]
    stack = np.empty((len(slices), *planes[0].size), np.float32)
    frames = []
    for at, i in enumerate(order):
        frame = slices[i].decode()
        if frame.pixels.shape != planes[0].size:
            raise LiquidLensError(f"mixed slices: {planes[i].name} is not of the size that it says.")
        stack[at] = frame.pixels
        frames.append((frame.units, frame.window, frame.notes, frame.mirror))
        if frame.units != frames[0][0] or slices[i].modality != first.modality:
            raise LiquidLensError(f"mixed slices: {planes[0].name} and {planes[i].name} differ in modality or units.")
    # Each slice was inverted within its own range, as rescaled; within the widest one, equal tissue is equal.
    widest = max((mirror for *_, mirror in frames if mirror is not None), default=0.0)
    shifts = [0.0 if mirror is None else widest - mirror for *_, mirror in frames]
    if any(shifts):
        stack += np.array(shifts)[:, None, None]
    pixels, spacing, place, angles = to_lps(stack, affine)
    middle = len(frames) // 2
    window, shift = frames[middle][1], shifts[middle]
    notes = dict.fromkeys(note for _, _, notes, _ in frames for note in notes)
    return Scan(
        pixels,
        spacing,
        first.modality,
        units=frames[0][0],
        window=(window[0] + shift, window[1] + shift) if window else None,
        oriented=True,
        affine=place,
        notes=(*notes, *angles),
    )
