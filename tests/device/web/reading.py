"""Comparing what the page reads with what `imaging.read` reads."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page
from pydicom.encaps import encapsulate

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read
from tests.device.web.conftest import read_in_browser
from tests.imaging.dicoms import image, save

#: Files that the page reads otherwise or not at all: part of its sentence, or how far its pixels are off.
DIFFERENT: dict[str, str | float] = {
    "SC_jpeg_no_color_transform.dcm": "a colour JPEG without the usual transformation",
    "SC_rgb_jpeg.dcm": "may be damaged",
    "SC_rgb_rle_32bit.dcm": 256.0,  # of 4,294,967,296
}


def python(source: Path | str, colour: bool = False) -> Scan | str:
    try:
        return read(source, colour=colour)
    except LiquidLensError as error:
        return str(error)


def assert_same(found: dict | str, expected: Scan | str, tolerance: float = 0) -> None:
    if isinstance(expected, str) or isinstance(found, str):
        assert isinstance(expected, str), f"only Python reads it: {found}"
        assert isinstance(found, str), f"only the page reads it: {expected}"
        return
    assert found["pixels"].shape == expected.pixels.shape
    assert np.abs(found["pixels"] - expected.pixels).max() <= tolerance
    for name in ("modality", "units", "oriented"):
        assert found[name] == getattr(expected, name), name
    assert found["notes"] == list(expected.notes)
    for name in ("spacing", "window"):
        numbers = getattr(expected, name)
        assert (found[name] is None) == (numbers is None), name
        assert found[name] is None or found[name] == pytest.approx(numbers, rel=1e-9), name


def assert_same_file(page: Page, path: Path) -> bool:
    """Whether both read it."""
    found, expected = read_in_browser(page, {path.name: path.read_bytes()}), python(path)
    difference = DIFFERENT.get(path.name, 0)
    if isinstance(difference, str):
        assert isinstance(expected, Scan)
        assert difference in str(found)
        return False
    assert_same(found, expected, difference)
    return isinstance(expected, Scan)


def as_frame(pixels: np.ndarray, syntax: str, frame: bytes, path: Path, **attributes: object) -> Path:
    dataset = image(pixels, **attributes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return save(dataset, path)
