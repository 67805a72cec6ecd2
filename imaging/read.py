"""Reading one scan from a file: NumPy arrays, NIfTI volumes, and PNG, JPEG, BMP and TIFF images.

A file that holds several scans is read by naming one after a ``#``: ``vesselmnist3d.npz#test_images/7`` is item 7 of
one array of an archive, ``scans.npy#7`` item 7 of a stack, ``series.nii.gz#2`` one volume of a 4D image,
``pages.tif#0`` one page of a TIFF.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.errors import LiquidLensError
from imaging.scan import Scan


def read(source: str | Path) -> Scan:
    """Read one scan.

    source: a path that ends in .npy, .npz, .nii, .nii.gz, .png, .jpg, .jpeg, .bmp, .tif or .tiff, optionally with
        ``#selection`` (see this module's text).
    Raises LiquidLensError, naming the source, if it is missing, broken, of another kind, or holds no single scan.
    """
    kind = None
    try:
        path, selection = _split(str(source))
        kind = kind_of(path)
        if kind is None:
            raise LiquidLensError(f"this kind of file cannot be read; known kinds are {', '.join(_READERS)}.")
        if not path.is_file():
            raise LiquidLensError("there is no such file.")
        return _READERS[kind](path, selection)
    except LiquidLensError as error:
        raise LiquidLensError(f"{source}: {error}") from error
    except Exception as error:  # a damaged file leads its reader into all kinds of errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise LiquidLensError(f"{source}: not a readable {kind or ''} file; it may be damaged ({reason}).") from error


def kind_of(path: Path) -> str | None:
    """The ending by which `read` knows what a file holds, in lower case; None for files that it does not read."""
    return next((suffix for suffix in _READERS if path.name.lower().endswith(suffix)), None)


def _split(source: str) -> tuple[Path, str]:
    """Split ``path#selection``, unless a file of that whole name exists."""
    if "#" not in source or Path(source).exists():
        return Path(source), ""
    path, _, selection = source.rpartition("#")
    return Path(path), selection


def _read_npy(path: Path, selection: str) -> Scan:
    with path.open("rb") as file:
        return _scan_of(np.lib.format.read_array(file, allow_pickle=False), selection, "")


def _read_npz(path: Path, selection: str) -> Scan:
    with np.lib.npyio.NpzFile(path.open("rb"), own_fid=True, allow_pickle=False) as archive:
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
        return _scan_of(np.asarray(archive[name]), item, f"{name}/")


def _scan_of(array: NDArray, item: str, prefix: str) -> Scan:
    """A scan from an array, or from item `item` of a stack of scans."""
    if array.dtype.kind not in "biuf":
        raise LiquidLensError(f"pixels are numbers, this array holds {array.dtype}.")
    if item:
        if array.ndim < 3:
            raise LiquidLensError(f"this is no stack of scans, there is no item {item!r}.")
        array = array[_index(item, len(array))]
    elif array.ndim == 4:
        raise LiquidLensError(f"a stack of {len(array)} volumes; name one of them, as in #{prefix}0.")
    return Scan(_float32(array))


def _float32(array: NDArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which Scan refuses with a sentence
        return np.ascontiguousarray(array, dtype=np.float32)


def _index(item: str, length: int) -> int:
    if not item.isdecimal() or int(item) >= length:
        raise LiquidLensError(f"there is no item {item!r}; items are 0 to {length - 1}.")
    return int(item)


def _read_nifti(path: Path, selection: str) -> Scan:
    import nibabel  # here, because it takes a quarter of a second that arrays need not pay

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it complains of also arrives as an exception
    image: Any = nibabel.load(path)
    to_lps = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(image.affine), nibabel.orientations.axcodes2ornt("LPS")
    )
    data = np.asanyarray(image.dataobj)
    if data.ndim == 4:
        if not selection and data.shape[3] > 1:
            raise LiquidLensError(f"a 4D image of {data.shape[3]} volumes; name one of them, as in {path.name}#0.")
        data = data[..., _index(selection or "0", data.shape[3])]
    elif selection:
        raise LiquidLensError(f"this image is one volume, there is no item {selection!r}.")
    if data.ndim != 3:
        raise LiquidLensError(f"a volume has 3 axes, this image has {data.ndim}.")
    if data.dtype.kind not in "biuf":
        raise LiquidLensError(f"pixels are numbers, this image holds {data.dtype}.")
    oriented = nibabel.orientations.apply_orientation(data, to_lps)
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    spacing = tuple(zooms[list(to_lps[:, 0]).index(axis)] for axis in (2, 1, 0))
    return Scan(_float32(oriented.transpose(2, 1, 0)), spacing)


def _read_image(path: Path, selection: str) -> Scan:
    from PIL import Image, ImageOps  # here, as nibabel

    with Image.open(path, formats=["PNG", "JPEG", "BMP", "TIFF"]) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1 and not selection:
            raise LiquidLensError(f"an image of {pages} pages; name one of them, as in {path.name}#0.")
        if pages == 1 and selection:
            raise LiquidLensError(f"this is one image, there is no item {selection!r}.")
        image.seek(_index(selection or "0", pages))
        upright = ImageOps.exif_transpose(image)
    deep = upright.mode.startswith("I") or upright.mode == "F"  # more than 8 bits: the numbers as they are
    return Scan(_float32(np.array(upright if deep else upright.convert("L"))))


_READERS: dict[str, Callable[[Path, str], Scan]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".png": _read_image,
    ".jpg": _read_image,
    ".jpeg": _read_image,
    ".bmp": _read_image,
    ".tif": _read_image,
    ".tiff": _read_image,
}
