"""NIfTI files of a few megabytes that unpack to gigabytes, or say that they do.

They hope that gzip is unpacked before the header is judged, or goes on after the volume, or that nibabel allocates what
a header claims.
"""

import gzip
import zlib
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from tests.attacks.attack import Attack, Refused
from tests.attacks.zeros import MEGABYTE, deflated

GZIP = zlib.MAX_WBITS | 16


def header(**fields: object) -> bytes:
    """A header, of 2 x 2 x 2 bytes but for the fields that are given."""
    found = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).header
    found["magic"], found["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        found[name] = value
    return found.binaryblock + bytes(4)


def packed(folder: Path) -> Path:
    """2 GiB that the header admits."""
    (folder / "bomb.nii.gz").write_bytes(
        deflated(header(dim=[3, 512, 512, 2_048, 1, 1, 1, 1], datatype=4, bitpix=16), 1024 * MEGABYTE, GZIP)
    )
    return folder / "bomb.nii.gz"


def goes_on(folder: Path) -> Path:
    """8 voxels, and 8 GiB after them."""
    (folder / "bomb.nii.gz").write_bytes(deflated(header(), 8 * 1024 * MEGABYTE, GZIP))
    return folder / "bomb.nii.gz"


def extension(folder: Path) -> Path:
    """Zeros where an extension of 2 GB is said to be."""
    head = header(vox_offset=2e9)[:-4] + b"\1\0\0\0" + np.int32(2_000_000_000 - 2_000_000_000 % 16).tobytes()
    (folder / "bomb.nii.gz").write_bytes(deflated(head, 2 * 1024 * MEGABYTE, GZIP))
    return folder / "bomb.nii.gz"


def claiming(dim: list[int], name: str, folder: Path) -> Path:
    head = header(dim=dim)
    (folder / name).write_bytes(gzip.compress(head) if name.endswith("gz") else head)
    return folder / name


HUGE = [3, 30_000, 30_000, 30_000, 1, 1, 1, 1]
MANY = [4, 2, 2, 2, 32_767, 1, 1, 1]
ATTACKS = (
    Attack("gzip NIfTI of 2 GiB of zeros", "scan", packed, Refused("raise '(inflate_ratio|file_bytes)'")),
    Attack("gzip NIfTI with 8 GiB after its volume", "scan", goes_on, Refused("goes on for long after its last voxel")),
    Attack("gzip NIfTI with an extension of 2 GB", "scan", extension, Refused("begin far behind the header")),
    Attack("gzip NIfTI that claims 27e12 voxels", "scan", partial(claiming, HUGE, "a.nii.gz"), Refused("'pixels'")),
    Attack("NIfTI that claims 27e12 voxels", "scan", partial(claiming, HUGE, "a.nii"), Refused("'pixels'")),
    Attack(
        "NIfTI that claims 32,767 volumes", "volumes", partial(claiming, MANY, "a.nii"), Refused("not a readable|4D")
    ),
)
