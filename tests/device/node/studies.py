"""Studies as a scanner sends them."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from liquidlens.imaging.phantoms import chest_xray
from liquidlens.imaging.phantoms.nodules import lung_nodule, write_series

NAME = "LEAK^PATIENT"


def ct(folder: Path, number: int = 0) -> list[Path]:
    """A CT of a generated nodule, one file a slice."""
    write_series(folder, lung_nodule(number), number)
    return sorted(folder.iterdir())


def xray(path: Path, number: int = 0, pixels: np.ndarray | None = None) -> Path:
    """An X-ray of a generated chest, or of these pixels, 12 bits."""
    if pixels is None:
        pixels = chest_xray(seed=number, splits={"test": 1})["test_images"][0].astype(np.uint16) * 16
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    image.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(image, name, uid.generate_uid(entropy_srcs=[name, "x-ray", str(number)]))
    image.PatientName, image.PatientID, image.Modality = NAME, f"X{number}", "DX"
    image.BodyPartExamined, image.PixelSpacing = "CHEST", [1.5, 1.5]
    image.StudyDate, image.StudyTime, image.StudyID = "20260102", "030405", "1"
    image.WindowCenter, image.WindowWidth, image.PixelIntensityRelationshipSign = 1800, 3000, 1
    image.set_pixel_data(pixels, "MONOCHROME2", 12)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path
