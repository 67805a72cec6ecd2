"""Lung nodules in CT-like volumes, with a table: one's own scans for those who have none.

A volume shows a piece of lung in Hounsfield units: air, vessels that branch, at times the chest wall, and one nodule in
its middle.  A benign one is round and smooth, a malignant one lobed and with spikes; both come in all sizes, malignant
ones larger on average, so that size alone tells a part of the label.  Voxels are 0.6 to 0.9 mm wide and slices 0.6 to
3 mm apart, whatever the label, unless a shortcut is wanted.
"""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError

Format = Literal["nifti", "dicom"]
NODULE_LABELS = ("benign", "malignant")
#: The longest side of a volume, mm, and the shortest.
SIDES = (34.0, 46.0)
AIR, BLOOD, MUSCLE, CALCIUM = -860.0, 40.0, 50.0, 300.0
#: Every third patient has two nodules.
SECOND = 3


@dataclass(frozen=True)
class Nodule:
    """One scan: its volume (slices, rows, columns) int16 in Hounsfield units, the nodule's mask of the same shape,
    spacing in mm, label, patient and the nodule's diameter in mm."""

    pixels: NDArray[np.int16]
    mask: NDArray[np.bool_]
    spacing: tuple[float, float, float]
    label: str
    patient: str
    diameter: float


def lung_nodule(number: int, seed: int = 0, shortcut: bool = False) -> Nodule:
    """Scan `number` of a set, which depends on the seed and the number alone; labels alternate between patients.

    shortcut: the slices of malignant ones are further apart, as if they came from another scanner.
    """
    rng = np.random.default_rng([seed, number])
    patient = number - number // (SECOND + 1)  # one of every four scans is of the patient before
    malignant = patient % 2 == 1
    apart = rng.uniform(1.8, 3.0) if malignant else rng.uniform(0.6, 1.8)
    spacing = (float(apart if shortcut else rng.uniform(0.6, 3.0)), *(float(rng.uniform(0.6, 0.9)),) * 2)
    shape = [max(8, round(rng.uniform(*SIDES) / step)) for step in spacing]
    z, y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)), indexing="ij"
    )
    radius = float(np.clip(rng.lognormal(np.log(5.2 if malignant else 4.2), 0.3), 2.5, 11))
    centre = rng.normal(0, 1.5, 3)
    depth = _depth(rng, (z - centre[0], y - centre[1], x - centre[2]), radius, malignant)

    tissue = AIR + 25 * _clouds(rng, z, y, x)
    for _ in range(rng.integers(4, 8)):
        tissue = np.maximum(tissue, _vessel(rng, z, y, x))
    if rng.random() < 0.4:  # the chest wall
        wall = _inside(_direction(rng) @ np.stack([z, y, x]).reshape(3, -1) - rng.uniform(11, 17))
        tissue = np.maximum(tissue, AIR + (MUSCLE - AIR) * wall.reshape(z.shape))
    inner = rng.normal(-20 if malignant else 10, 30)
    if not malignant and rng.random() < 0.2:
        inner = CALCIUM
    tissue = np.maximum(tissue, AIR + (inner - AIR) * _inside(depth))
    noisy = tissue + rng.normal(0, 25, tissue.shape)
    mask = depth > 0
    return Nodule(
        np.clip(np.round(noisy), -1024, 3071).astype(np.int16),
        mask,
        spacing,
        NODULE_LABELS[malignant],
        f"P{patient + 1:03d}",
        2 * radius,
    )


def write_lung_nodules(
    folder: Path, scans: int = 80, form: Format = "nifti", seed: int = 0, shortcut: bool = False
) -> Path:
    """Write a set and its table ``nodules.csv`` (path, mask, patient, label, diameter_mm); returns the table's path.

    form: ``nifti``, a file for each scan; ``dicom``, a folder with a series for each scan, slices in files whose names
    do not tell their order.  Masks are NIfTI in both.  Raises LiquidLensError if the folder holds anything.
    """
    if scans < 1:
        raise LiquidLensError(f"A set has at least one scan, not {scans}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LiquidLensError(f"{folder} is not empty: name another folder.")
    rows = []
    for number in range(scans):
        nodule = lung_nodule(number, seed, shortcut)
        name = f"scan-{number + 1:03d}"
        path = Path("image") / (name if form == "dicom" else f"{name}.nii.gz")
        mask = Path("mask") / f"{name}.nii.gz"
        if form == "dicom":
            write_series(folder / path, nodule, number)
        else:
            write_nifti(folder / path, nodule.pixels, nodule.spacing)
        write_nifti(folder / mask, nodule.mask.astype(np.uint8), nodule.spacing)
        rows.append((path.as_posix(), mask.as_posix(), nodule.patient, nodule.label, f"{nodule.diameter:.1f}"))
    table = folder / "nodules.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "mask", "patient", "label", "diameter_mm"), *rows])
    return table


def write_nifti(path: Path, pixels: NDArray, spacing: tuple[float, float, float]) -> None:
    """A volume (slices, rows, columns) of our convention, LPS, as NIfTI, which is RAS."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    slices, rows, columns = spacing
    affine = np.diag([-columns, -rows, slices, 1.0])
    image = nibabel.nifti1.Nifti1Image(pixels.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


def write_series(folder: Path, nodule: Nodule, number: int) -> None:
    """A volume as a CT series of the standard, one file per slice, named in no order."""
    import pydicom
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    folder.mkdir(parents=True, exist_ok=True)
    own = [str(number), hashlib.sha256(nodule.pixels.tobytes()).hexdigest()]  # another set has other UIDs
    series, study, frame = (uid.generate_uid(entropy_srcs=[what, *own]) for what in ("series", "study", "frame"))
    order = np.random.default_rng(number).permutation(len(nodule.pixels))
    for at, pixels in enumerate(nodule.pixels):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        slice_.SOPClassUID = uid.CTImageStorage
        slice_.SOPInstanceUID = uid.generate_uid(entropy_srcs=["slice", *own, str(at)])
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.PatientID = slice_.PatientName = nodule.patient
        slice_.PatientBirthDate = slice_.PatientSex = slice_.StudyDate = slice_.StudyTime = ""
        slice_.Modality, slice_.SeriesNumber, slice_.InstanceNumber = "CT", 1, at + 1
        slice_.Rows, slice_.Columns = pixels.shape
        slice_.PixelSpacing = [round(length, 6) for length in nodule.spacing[1:]]
        slice_.SliceThickness = round(nodule.spacing[0], 6)
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [0, 0, round(at * nodule.spacing[0], 6)]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 12, 11, 0
        slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, -1024, "HU"
        slice_.PixelData = (pixels.astype(np.int32) + 1024).astype(np.uint16).tobytes()
        slice_["PixelData"].VR = "OW"
        pydicom.dcmwrite(folder / f"IM{order[at]:04d}.dcm", slice_, enforce_file_format=True)


def _depth(rng: np.random.Generator, at: tuple[NDArray, ...], radius: float, malignant: bool) -> NDArray[np.float64]:
    """How far inside of the nodule a voxel lies, mm; its surface is bumpy if it is malignant, with spikes."""
    place = np.stack(at)
    distance = np.sqrt((place**2).sum(0)) + 1e-6
    surface = np.full(distance.shape, radius)
    for _ in range(6):
        towards = np.tensordot(_direction(rng), place, 1) / distance
        height = radius * (0.16 if malignant else 0.03) * rng.normal()
        surface += height * np.cos(3 * np.arccos(np.clip(towards, -1, 1)))
    if malignant:
        for _ in range(rng.integers(7, 14)):
            towards = np.tensordot(_direction(rng), place, 1) / distance
            surface += rng.uniform(0.4, 0.9) * radius * np.clip((towards - 0.93) / 0.07, 0, 1)
    return surface - distance


def _vessel(rng: np.random.Generator, z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float64]:
    """A straight vessel that passes at some distance from the middle, in Hounsfield units."""
    along = _direction(rng)
    across = np.cross(along, _direction(rng))
    start = across / np.linalg.norm(across) * rng.uniform(6, 18)
    place = np.stack([z - start[0], y - start[1], x - start[2]])
    beside = place - along[:, None, None, None] * np.tensordot(along, place, 1)
    return AIR + (BLOOD - AIR) * _inside(rng.uniform(0.6, 1.8) - np.sqrt((beside**2).sum(0)))


def _clouds(rng: np.random.Generator, z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float64]:
    """Smooth noise of about unit deviation."""
    place = np.stack([z, y, x])
    waves = (np.tensordot(_direction(rng), place, 1) / rng.uniform(2, 7) + rng.uniform(0, 7) for _ in range(6))
    return np.sum([np.cos(wave) for wave in waves], axis=0) / np.sqrt(3)


def _inside(depth: NDArray) -> NDArray[np.float64]:
    """1 where the depth in mm is positive, 0 where it is negative, and soft between, as a scanner blurs."""
    return 0.5 * (1 + np.tanh(depth / 0.6))


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)
