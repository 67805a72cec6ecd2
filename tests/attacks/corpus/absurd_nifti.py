"""NIfTI headers that make no sense: dimensions, voxel sizes, matrices, rescaling, types, and where voxels begin.

They hope for divisions by zero, for buffers of negative or huge size, and for numbers that are none in what a model
reads.
"""

from functools import partial
from pathlib import Path

import numpy as np

from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.corpus.bomb_nifti import header

NAN, INFINITE = float("nan"), float("inf")


def saying(fields: dict[str, object], folder: Path) -> Path:
    """2 x 2 x 2 voxels whose header says something else."""
    (folder / "scan.nii").write_bytes(header(**fields) + bytes(range(8)))
    return folder / "scan.nii"


def extension(size: int, folder: Path) -> Path:
    """An extension of the header that says such a size."""
    head = header(vox_offset=400)[:-4] + b"\1\0\0\0" + np.array([size, 4], "<i4").tobytes()
    (folder / "scan.nii").write_bytes(head.ljust(400, b"\0") + bytes(range(8)))
    return folder / "scan.nii"


def spatial(number: float) -> dict[str, object]:
    """A matrix of such numbers."""
    return {"sform_code": 1, **{f"srow_{axis}": [number] * 4 for axis in "xyz"}}


BROKEN = Refused(r"scan\.nii: not a readable NIfTI file")
HEADER = Refused(r"\(vox_offset .* less than 352\)")
MATRIX = Refused("broken geometry: the file's matrix does not span a volume")
SAYING: dict[str, tuple[dict[str, object], Refused | Reads]] = {
    "no axes": ({"dim": [0] * 8}, Refused("a volume has 3 axes|not a readable")),
    "300 axes": ({"dim": [300, 2, 2, 2, 2, 2, 2, 2]}, Refused("not a readable|a volume has 3 axes")),
    "negative axes": ({"dim": [3, -2, -2, 2, 1, 1, 1, 1]}, BROKEN),
    "an axis of nothing": ({"dim": [3, 0, 2, 2, 1, 1, 1, 1]}, Refused("The scan is empty|not a readable")),
    "seven axes of 32,767": ({"dim": [7] + [32_767] * 7}, Refused("a volume has 3 axes, this image has 7")),
    "voxels of size 0": ({"pixdim": [1, 0, 0, 0, 1, 1, 1, 1]}, Reads((2, 2, 2))),
    "voxels of negative size": ({"pixdim": [1, -1, -1, -1, 1, 1, 1, 1]}, Reads((2, 2, 2))),
    "voxels of size NaN": ({"pixdim": [1, NAN, NAN, NAN, 1, 1, 1, 1]}, Reads((2, 2, 2))),
    "a matrix of NaN": (spatial(NAN), MATRIX),
    "a matrix of 0": (spatial(0), MATRIX),
    "a matrix of 1e38": (spatial(1e38), MATRIX),
    "a rotation of NaN": (
        {"sform_code": 0, "qform_code": 1, "quatern_b": NAN},
        Refused("broken geometry|not a readable"),
    ),
    "a rotation beyond 1": ({"sform_code": 0, "qform_code": 1, "quatern_b": 9.0}, BROKEN),
    "slope NaN": ({"scl_slope": NAN, "scl_inter": NAN}, Reads((2, 2, 2))),
    "slope 0": ({"scl_slope": 0.0}, Reads((2, 2, 2))),
    "slope negative": ({"scl_slope": -1.0, "scl_inter": 0.0}, Reads((2, 2, 2))),
    "slope 3e38": ({"scl_slope": 3e38, "scl_inter": 3e38}, Refused("pixels are not finite")),
    "intercept infinite": ({"scl_slope": 1.0, "scl_inter": INFINITE}, BROKEN),
    "voxels in front of the file": ({"vox_offset": -1e9}, HEADER),
    "voxels at NaN": ({"vox_offset": NAN}, BROKEN),
    "voxels at 1e38": ({"vox_offset": 1e38}, Refused("not a readable|begin far behind")),
    "voxels in the header": ({"vox_offset": 4}, HEADER),
    "type 0": ({"datatype": 0}, Refused("pixels are numbers")),
    "type 31,999": ({"datatype": 31_999}, BROKEN),
    "complex numbers of 256 bits": ({"datatype": 2048, "bitpix": 256}, Refused("pixels are numbers|not a readable")),
    "other bits than its type": ({"bitpix": 1}, Reads((2, 2, 2))),
    "window of NaN": ({"cal_min": NAN, "cal_max": INFINITE}, Reads((2, 2, 2))),
}
ATTACKS = (
    *(Attack(f"NIfTI: {name}", "trusted", partial(saying, said), ends) for name, (said, ends) in SAYING.items()),
    Attack("NIfTI: an extension of size 0", "trusted", partial(extension, 0), BROKEN),
    Attack("NIfTI: an extension of negative size", "trusted", partial(extension, -16), BROKEN),
    Attack("NIfTI: an extension of 2 GB in 48 bytes", "trusted", partial(extension, 2**31 - 16), BROKEN),
)
