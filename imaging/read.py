"""Reading one scan from a file: NumPy arrays and NIfTI volumes.

A file that holds several scans is read by naming one after a ``#``: ``vesselmnist3d.npz#test_images/7`` is item 7 of
one array of an archive, ``scans.npy#7`` item 7 of a stack, ``series.nii.gz#2`` one volume of a 4D image.
"""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaging.errors import LiquidLensError
from imaging.scan import Scan


def read(source: str | Path) -> Scan:
    """Read one scan.

    source: a path that ends in .npy, .npz, .nii or .nii.gz, optionally with ``#selection`` (see this module's text).
    Raises LiquidLensError, naming the file, if it is missing, broken, of another kind, or holds no single scan.
    """
    path, selection = _split(str(source))
    reader = next((read for suffix, read in _READERS.items() if path.name.lower().endswith(suffix)), None)
    if reader is None:
        raise LiquidLensError(f"{path}: this kind of file cannot be read; known kinds are {', '.join(_READERS)}.")
    if not path.is_file():
        raise LiquidLensError(f"{path}: there is no such file.")
    try:
        return reader(path, selection)
    except LiquidLensError as error:
        raise LiquidLensError(f"{path}: {error}") from error


def _split(source: str) -> tuple[Path, str]:
    """Split ``path#selection``, unless a file of that whole name exists."""
    if "#" not in source or Path(source).exists():
        return Path(source), ""
    path, _, selection = source.rpartition("#")
    return Path(path), selection


def _read_npy(path: Path, selection: str) -> Scan:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise LiquidLensError(f"not a readable .npy file ({error}).") from error
    return _scan_of(array, selection, "")


def _read_npz(path: Path, selection: str) -> Scan:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            if not names:
                raise LiquidLensError("the archive is empty.")
            name, _, item = selection.partition("/")
            if not selection and len(names) == 1:
                name = names[0]
            if name not in names:
                raise LiquidLensError(
                    f"the archive holds {', '.join(names)}; name one scan, as in {path.name}#{names[0]}/0."
                )
            return _scan_of(archive[name], item, f"{name}/")
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise LiquidLensError(f"not a readable .npz archive; it may be truncated ({error}).") from error


def _scan_of(array: NDArray, item: str, prefix: str) -> Scan:
    """A scan from an array, or from item `item` of a stack of scans."""
    if array.dtype.kind not in "biuf":
        raise LiquidLensError(f"pixels are numbers, this array holds {array.dtype}.")
    if item:
        array = array[_index(item, len(array) if array.ndim else 0)]
    elif array.ndim == 4:
        raise LiquidLensError(f"a stack of {len(array)} volumes; name one of them, as in #{prefix}0.")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which Scan refuses with a sentence
        return Scan(array.astype(np.float32))


def _index(item: str, length: int) -> int:
    if not item.isdecimal() or int(item) >= length:
        raise LiquidLensError(f"there is no item {item!r}; items are 0 to {length - 1}.")
    return int(item)


def _read_nifti(path: Path, selection: str) -> Scan:
    import nibabel  # here, because it takes a quarter of a second that arrays need not pay

    try:
        image = nibabel.Nifti1Image.from_filename(path)
        to_lps = nibabel.orientations.ornt_transform(
            nibabel.orientations.io_orientation(image.affine), nibabel.orientations.axcodes2ornt("LPS")
        )
        data = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel's readers raise whatever the broken header leads to
        raise LiquidLensError(f"not a readable NIfTI file ({error}).") from error
    if data.ndim == 4 and (selection or data.shape[3] == 1):
        data = data[..., _index(selection or "0", data.shape[3])]
    if data.ndim == 4:
        raise LiquidLensError(f"a 4D image of {data.shape[3]} volumes; name one of them, as in {path.name}#0.")
    if data.ndim != 3:
        raise LiquidLensError(f"a volume has 3 axes, this image has {data.ndim}.")
    if data.dtype.kind not in "biuf":
        raise LiquidLensError(f"pixels are numbers, this image holds {data.dtype}.")
    oriented = nibabel.orientations.apply_orientation(data, to_lps)
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    spacing = [zooms[list(to_lps[:, 0]).index(axis)] for axis in range(3)]
    pixels = np.ascontiguousarray(oriented.transpose(2, 1, 0), dtype=np.float32)
    return Scan(pixels, spacing=(spacing[2], spacing[1], spacing[0]))


_READERS: dict[str, Callable[[Path, str], Scan]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
}
