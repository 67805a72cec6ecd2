"""A good small file of every format that is read: what is cut short, or has its bits flipped."""

import gzip
import io
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import nibabel
import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.attacks.attack import Opener
from tests.imaging.dicoms import enhanced, image, phantom, series

VOLUME = phantom()
GREY = np.random.default_rng(0).integers(0, 256, (40, 33)).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 257


class Format(NamedTuple):
    """The ending of such files, a whole one, and whether it holds a volume or an image."""

    ending: str
    content: bytes
    opener: Opener


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _picture(name: str, pixels: np.ndarray = GREY, **options: object) -> bytes:
    return _written(lambda file: Image.fromarray(pixels).save(file, name, **options))


def _nifti(kind: type = nibabel.Nifti1Image) -> bytes:
    return kind(VOLUME, np.diag([2.0, 3, 4, 1])).to_bytes()


def _dicom(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian, frame: bytes = b"") -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    if frame:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
    return _written(lambda file: dataset.save_as(file, enforce_file_format=True))


def _compressed(syntax: str, plugin: str) -> bytes:
    dataset = image(DEEP)
    dataset.compress(syntax, encoding_plugin=plugin)
    return _dicom(dataset, syntax)


def _zip(**members: bytes) -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name.replace("_", "."), content)

    return _written(write)


def formats() -> list[Format]:
    """All of them, the variants among them that other code reads."""
    npy = _written(lambda file: np.save(file, VOLUME))
    npz = _written(lambda file: np.savez_compressed(file, scan=VOLUME))
    return [
        Format(".npy", npy, "volumes"),
        Format(".npz", npz, "volumes"),
        Format(".nii", _nifti(), "volumes"),
        Format("-2.nii", _nifti(nibabel.Nifti2Image), "volumes"),
        Format(".nii.gz", gzip.compress(_nifti(), mtime=0), "volumes"),
        Format(".zip", _zip(**{f"{i}_dcm": _dicom(part) for i, part in enumerate(series(VOLUME))}), "volumes"),
        Format("-npy.zip", _zip(scan_npy=npy), "volumes"),
        Format(".png", _picture("PNG"), "images"),
        Format("-16.png", _picture("PNG", DEEP), "images"),
        Format("-palette.png", _written(lambda file: Image.fromarray(GREY).convert("P").save(file, "PNG")), "images"),
        Format(".jpg", _picture("JPEG"), "images"),
        Format("-progressive.jpg", _picture("JPEG", progressive=True), "images"),
        Format(".bmp", _picture("BMP"), "images"),
        Format(".tif", _picture("TIFF"), "images"),
        Format("-16.tif", _picture("TIFF", DEEP), "images"),
        Format("-lzw.tif", _picture("TIFF", compression="tiff_lzw"), "images"),
        Format("-deflate.tif", _picture("TIFF", compression="tiff_adobe_deflate"), "images"),
        Format(".dcm", _dicom(image(DEEP)), "images"),
        Format("-implicit.dcm", _dicom(image(DEEP), uid.ImplicitVRLittleEndian), "images"),
        Format("-deflated.dcm", _dicom(image(DEEP), uid.DeflatedExplicitVRLittleEndian), "images"),
        Format("-rle.dcm", _compressed(uid.RLELossless, "pydicom"), "images"),
        Format("-jpeg2000.dcm", _compressed(uid.JPEG2000Lossless, "pylibjpeg"), "images"),
        Format("-jpegls.dcm", _compressed(uid.JPEGLSLossless, "pyjpegls"), "images"),
        Format("-jpeg.dcm", _dicom(image(GREY), uid.JPEGBaseline8Bit, _picture("JPEG")), "images"),
        Format("-frames.dcm", _dicom(enhanced(VOLUME, [2, 0, 3, 1])), "volumes"),
    ]
