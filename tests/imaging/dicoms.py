"""Small DICOM files for the tests of the readers."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

SERIES = uid.generate_uid(entropy_srcs=["series"])
SPACING = (2.5, 0.8, 0.6)  # mm between slices, rows, columns of the phantom below
ORIGIN = (-10.0, -20.0, 30.0)
#: Image Orientation (Patient) as hospitals write it.
AXIAL, SAGITTAL, CORONAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)


def phantom() -> np.ndarray:
    """A volume in Hounsfield units, (slices, rows, columns), in which no axis is like another."""
    return np.random.default_rng(0).integers(-1000, 1500, (4, 5, 6)).astype(np.int16)


def image(pixels: np.ndarray, **attributes: object) -> Dataset:
    """An image of one frame, (rows, columns) or (rows, columns, 3), or of several, (frames, rows, columns)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.SeriesInstanceUID = SERIES
    dataset.PatientName = "LEAK^PATIENT"
    dataset.PatientID = "LEAK-1"
    dataset.Modality = "DX"
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    frames = pixels.ndim == 3 and not colour
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    if frames:
        dataset.NumberOfFrames = len(pixels)
    dataset.Rows, dataset.Columns = pixels.shape[1:] if frames else pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def report() -> Dataset:
    """A structured report, as it lies beside the images of a study."""
    dataset = image(np.zeros((4, 4), np.uint8), Modality="SR", SOPClassUID=uid.BasicTextSRStorage)
    del dataset.Rows, dataset.Columns, dataset.PixelData
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def cuts(volume: np.ndarray, orientation: tuple[int, ...] = AXIAL) -> list[tuple[np.ndarray, tuple, tuple]]:
    """The slices of an upright volume: pixels, position of the first pixel, and pixel spacing."""
    (x, y, z), (dz, dy, dx) = ORIGIN, SPACING
    top = z + dz * (len(volume) - 1)
    if orientation == AXIAL:
        return [(volume[i], (x, y, z + dz * i), (dy, dx)) for i in range(volume.shape[0])]
    if orientation == SAGITTAL:
        return [(volume[::-1, :, i], (x + dx * i, y, top), (dz, dy)) for i in range(volume.shape[2])]
    return [(volume[::-1, i], (x, y + dy * i, top), (dz, dx)) for i in range(volume.shape[1])]


def series(volume: np.ndarray, orientation: tuple[int, ...] = AXIAL, **attributes: object) -> list[Dataset]:
    """The slices of a CT whose stored values are Hounsfield units + 1024."""
    return [
        image(
            (pixels + 1024).astype(np.uint16),
            SOPClassUID=uid.CTImageStorage,
            Modality="CT",
            ImagePositionPatient=list(position),
            ImageOrientationPatient=list(orientation),
            PixelSpacing=list(spacing),
            RescaleSlope=1,
            RescaleIntercept=-1024,
            RescaleType="HU",
            **attributes,
        )
        for pixels, position, spacing in cuts(volume, orientation)
    ]


def save_series(datasets: list[Dataset], folder: Path, names: list[int] | None = None) -> Path:
    """Write slices as files without an ending, the i-th as names[i]."""
    for i, dataset in enumerate(datasets):
        save(dataset, folder / f"IM{names[i] if names else i:03d}")
    return folder


def enhanced(volume: np.ndarray, order: list[int]) -> Dataset:
    """The same CT as one file of several frames, stored in another order."""
    planes = cuts(volume)
    whole = image(
        (volume[order] + 1024).astype(np.uint16),
        SOPClassUID=uid.EnhancedCTImageStorage,
        Modality="CT",
        FrameOfReferenceUID=uid.generate_uid(),
    )

    def item(**attributes: object) -> Dataset:
        dataset = Dataset()
        for name, value in attributes.items():
            setattr(dataset, name, value)
        return dataset

    whole.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=list(planes[0][2]), SliceThickness=SPACING[0])],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        )
    ]
    whole.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=list(planes[i][1]))],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")],
            FrameVOILUTSequence=[item(WindowCenter=40, WindowWidth=400)],
        )
        for i in order
    ]
    return whole
