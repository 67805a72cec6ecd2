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

#: Files that the page does not read: part of its sentence.
DIFFERENT: dict[str, str] = {
    "SC_jpeg_no_color_transform.dcm": "a colour JPEG without the usual transformation",
    "SC_rgb_jpeg.dcm": "may be damaged",
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
    if path.name in DIFFERENT:
        assert isinstance(expected, Scan)
        assert DIFFERENT[path.name] in str(found)
        return False
    assert_same(found, expected)
    return isinstance(expected, Scan)


def as_frame(pixels: np.ndarray, syntax: str, frame: bytes, path: Path, **attributes: object) -> Path:
    dataset = image(pixels, **attributes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return save(dataset, path)
