"""Rules: which model judges a series, decided by the headers of its images."""

import fnmatch
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from liquidlens.errors import reading
from liquidlens.imaging.budget import Budget
from liquidlens.imaging.formats import dicom
from liquidlens.serve.node.settings import Range, Rule

#: Who made our reports and pictures: a node does not judge its own.
MAKER = "LiquidLens"


@dataclass(frozen=True)
class Facts:
    """What rules look at.  slices: of all images and their frames.  slice_spacing, pixel_spacing: mm, None if the
    images do not say it.  own: whether it was made by a node."""

    modality: str
    body_part: str
    description: str
    image_type: tuple[str, ...]
    slices: int
    slice_spacing: float | None
    pixel_spacing: float | None
    own: bool


def headers(images: Sequence[Path], budget: Budget) -> list[Dataset]:
    """The headers of images, without pixels.  Raises LiquidLensError if one cannot be read, or if they are over the
    budget: a header can claim any number of frames."""
    budget.check_slices(len(images))
    found = []
    with dicom.quiet():
        for image in images:
            with reading(image.name, "DICOM"), image.open("rb") as file:
                header = dicom.header(file, budget)
                budget.check_slices(dicom.number_of_frames(header))
                found.append(header)
    return found


def facts(images: Sequence[Dataset]) -> Facts:
    """What the headers of one series say; what they do not say in order counts as not said."""
    first = images[0]
    spacing = dicom.spacing(first, 0)
    return Facts(
        modality=dicom.modality(first) or "",
        body_part=_text(first, "BodyPartExamined"),
        description=_text(first, "SeriesDescription"),
        image_type=tuple(str(word).upper() for word in first.get("ImageType") or ()),
        slices=sum(dicom.number_of_frames(image) for image in images),
        slice_spacing=_between(images),
        pixel_spacing=None if spacing is None else max(spacing),
        own=_text(first, "Manufacturer") == MAKER,
    )


def first_match(rules: Sequence[Rule], series: Facts) -> Rule | None:
    """The rule that decides about a series; None if none fits."""
    if series.own or not series.modality:
        return None
    return next((rule for rule in rules if _fits(rule, series)), None)


def _fits(rule: Rule, series: Facts) -> bool:
    return (
        (not rule.modality or series.modality in rule.modality)
        and (not rule.body_part or series.body_part.casefold() == rule.body_part.casefold())
        and (not rule.description or fnmatch.fnmatchcase(series.description.casefold(), rule.description.casefold()))
        and {word.upper() for word in rule.image_type} <= set(series.image_type)
        and _within(rule.slices, series.slices)
        and _within(rule.slice_spacing, series.slice_spacing)
        and _within(rule.pixel_spacing, series.pixel_spacing)
    )


def _within(meant: Range | None, found: float | None) -> bool:
    return meant is None or (found is not None and meant[0] <= found <= meant[1])


def _text(header: Dataset, name: str) -> str:
    return str(header.get(name) or "").strip()


def _between(images: Sequence[Dataset]) -> float | None:
    """The usual distance between neighbours along the slices' normal, mm."""
    planes = [dicom.plane(image, frame, "") for image in images for frame in range(dicom.number_of_frames(image))]
    known = [plane for plane in planes if plane is not None]
    if len(known) < max(2, len(planes)):
        return None
    normal = np.cross(*np.reshape(known[0].orientation, (2, 3)))
    places = np.sort([np.dot(plane.position, normal) for plane in known])
    return statistics.median_low(np.diff(places).tolist())
