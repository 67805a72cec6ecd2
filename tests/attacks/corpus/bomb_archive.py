"""Archives, .zip and .npz, that are small and unpack to gigabytes, or to more files than there are.

They hope that a member is unpacked before its size is judged, that sizes are judged one by one, that an archive within
an archive is opened, or that a list of members is read however long it is.
"""

import io
import struct
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from tests.attacks.attack import Attack, Refused
from tests.attacks.zeros import MEGABYTE, deflated, zipped
from tests.imaging.dicoms import phantom, series
from tests.imaging.test_budgets import archive_of_shared_bytes, npz_that_claims_pixels, npz_whose_header_is_long

GIGABYTE = 1024 * MEGABYTE


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def one_array(name: str, says: int, folder: Path) -> Path:
    """An array of 1 GiB, in 1 MB; the archive says that it has so many bytes."""
    packed = deflated(header((1024, 1024, 1024)), GIGABYTE)
    return zipped(folder / name, {"scan.npy": (packed, says)})


def slices(folder: Path) -> Path:
    """A series of 40 DICOM files, each with 256 MiB of zeros behind it."""
    buffer = io.BytesIO()
    series(phantom())[0].save_as(buffer, enforce_file_format=True)
    member = deflated(buffer.getvalue(), 256 * MEGABYTE), 256 * MEGABYTE
    return zipped(folder / "bomb.zip", {f"IM{number:03}.dcm": member for number in range(40)})


def in_itself(depth: int, folder: Path) -> Path:
    """Archives within archives, the innermost of 1 GiB."""
    content = one_array("bomb.zip", 2**30, folder).read_bytes()
    for _ in range(depth):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(4):
                archive.writestr(f"{number}.zip", content)
        content = buffer.getvalue()
    (folder / "bomb.zip").write_bytes(content)
    return folder / "bomb.zip"


def many_members(number: int, folder: Path) -> Path:
    """A table of so many members of nothing, which all lie at the same place (ZIP64)."""
    entry = b"PK\x01\x02" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b"a.npy"
    local = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, 5, 0) + b"a.npy"
    table = entry * number
    end64 = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, number, number, len(table), len(local))
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, len(local) + len(table), 1)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    (folder / "bomb.zip").write_bytes(local + table + end64 + locator + end)
    return folder / "bomb.zip"


RATIO = Refused("raise 'inflate_ratio'")
ATTACKS = (
    Attack("zip with an array of 1 GiB", "scan", partial(one_array, "bomb.zip", GIGABYTE), RATIO),
    Attack("zip that says 100 bytes for 1 GiB", "scan", partial(one_array, "bomb.zip", 100), Refused("not a readable")),
    Attack("zip of DICOM slices of 256 MiB each", "volumes", slices, Refused("'(inflate_ratio|file_bytes)'")),
    Attack("zip whose members share their bytes", "volumes", archive_of_shared_bytes, RATIO),
    Attack("zip in zip in zip", "scan", partial(in_itself, 3), Refused("it holds no scan")),
    Attack("zip in zip in zip, as a place", "volumes", partial(in_itself, 3), Refused("it holds no scan")),
    Attack("zip of 100,000 members", "scan", partial(many_members, 100_000), Refused("more than 20,480 files")),
    Attack("npz of 1 GiB", "scan", partial(one_array, "bomb.npz", GIGABYTE), RATIO),
    Attack("npz of 1 GiB, as a place", "volumes", partial(one_array, "bomb.npz", GIGABYTE), RATIO),
    Attack(
        "npz that says 100 bytes for 1 GiB", "scan", partial(one_array, "bomb.npz", 100), Refused("not a readable NPZ")
    ),
    Attack("npz that claims 1e11 pixels", "scan", npz_that_claims_pixels, Refused("the file ends before its array")),
    Attack("npz with a header of 2 GiB", "scan", npz_whose_header_is_long, Refused("not a readable NPZ file")),
)
