"""Hostile files that claim or unpack to far more than they are: refused by a named budget before memory is taken."""

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Budget, read
from liquidlens.imaging.budget import parse_budget
from tests.imaging.dicoms import image, save

MEGABYTE = 2**20
ZEROS = bytes(80 * MEGABYTE)


def deflated_dicom(folder):
    dataset = image(np.zeros((8, 8), np.uint8), EncapsulatedDocument=ZEROS)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    return save(dataset, folder / "bomb.dcm")


def deflated_dicom_without_preamble(folder):
    path = deflated_dicom(folder)
    path.write_bytes(path.read_bytes()[132:])
    return path


def packed_nifti(folder):
    """All zeros, a thousand to one."""
    image = nibabel.Nifti1Image(np.zeros((256, 256, 1280), np.uint8), np.eye(4))
    (folder / "bomb.nii.gz").write_bytes(gzip.compress(image.to_bytes()))
    return folder / "bomb.nii.gz"


def nifti_with(field, value, folder):
    header = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).header
    header[field] = value
    (folder / "bomb.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(12)))
    return folder / "bomb.nii.gz"


def nifti_that_claims_pixels(folder):
    return nifti_with("dim", [3, 20_000, 20_000, 20_000, 1, 1, 1, 1], folder)


def nifti_that_claims_a_long_header(folder):
    return nifti_with("vox_offset", 2e12, folder)


def archive(folder):
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("scan.npy", ZEROS)
    return folder / "bomb.zip"


def archive_of_shared_bytes(folder):
    """Many members at the same place: each harmless, together not (David Fifield's zip bomb)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("scan.npy", bytes(8 * MEGABYTE))
    content = buffer.getvalue()
    at, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entries = content[at:end] * 10
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 10, 10, len(entries), at, 0)
    (folder / "bomb.zip").write_bytes(content[:at] + entries + tail)
    return folder / "bomb.zip"


def archive_of_many_files(folder):
    with zipfile.ZipFile(folder / "bomb.zip", "w") as file:
        for i in range(21):
            file.writestr(zipfile.ZipInfo(str(i)), b"")
    return folder / "bomb.zip"


def npz_that_unpacks(folder):
    np.savez_compressed(folder / "bomb.npz", np.zeros((80, 1024, 1024), np.uint8))
    return folder / "bomb.npz"


def npy_header(shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npz_that_claims_pixels(folder):
    with zipfile.ZipFile(folder / "bomb.npz", "w") as file:
        file.writestr("scan.npy", npy_header((100_000, 100_000, 10)))
    return folder / "bomb.npz"


def npz_whose_header_is_long(folder):
    """The length of the header is 4 bytes in version 2, and may claim 4 GiB."""
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("scan.npy", b"\x93NUMPY\x02\x00" + struct.pack("<L", 2**31) + bytes(15 * MEGABYTE))
    return folder / "bomb.npz"


def png(width, height, folder):
    def chunk(name, data):
        return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))

    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(MEGABYTE))
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return folder / "bomb.png"


def png_that_claims_pixels(folder):
    return png(100_000, 100_000, folder)


def png_that_unpacks(folder):
    return png(9_000, 9_000, folder)


def tiff_of_many_pages(folder):
    page = Image.new("L", (1, 1))
    page.save(folder / "bomb.tif", save_all=True, append_images=[page] * 2)
    return folder / "bomb.tif"


@pytest.mark.parametrize(
    ("bomb", "sentence"),
    [
        (deflated_dicom, "times the packed size are over the budget of 1,000; raise 'inflate_ratio'"),
        (deflated_dicom_without_preamble, "raise 'inflate_ratio'"),
        (packed_nifti, "raise 'inflate_ratio'"),
        (nifti_that_claims_pixels, "raise 'pixels'"),
        (nifti_that_claims_a_long_header, "raise 'file_bytes'"),
        (archive, "raise 'inflate_ratio'"),
        (archive_of_shared_bytes, "raise 'inflate_ratio'"),
        (npz_that_unpacks, "raise 'inflate_ratio'"),
        (npz_that_claims_pixels, "the file ends before its array"),
        (npz_whose_header_is_long, "not a readable NPZ file"),
        (png_that_claims_pixels, "larger than any scan"),
        (png_that_unpacks, "raise 'inflate_ratio'"),
    ],
)
def test_bombs_are_refused_before_memory_is_taken(tmp_path, bomb, sentence):
    path = bomb(tmp_path)
    with pytest.raises(LiquidLensError):  # imports what the reader needs
        read(path)
    tracemalloc.start()
    try:
        with pytest.raises(LiquidLensError, match=f"bomb.*: .*{sentence}"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 24 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("bomb", "sentence"),
    [(archive_of_many_files, "more than 20 files"), (tiff_of_many_pages, "over the budget of 2; raise 'slices'")],
)
def test_files_of_too_many_parts(tmp_path, bomb, sentence):
    with pytest.raises(LiquidLensError, match=f"bomb.*: .*{sentence}"):
        read(bomb(tmp_path), Budget(slices=2))


def test_sizes_that_an_archive_declares_are_not_exceeded(tmp_path):
    """A member that says 100 bytes and unpacks to 80 MiB is not unpacked further."""
    path = archive(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<L", len(ZEROS)), struct.pack("<L", 100)))
    tracemalloc.start()
    try:
        with pytest.raises(LiquidLensError, match=r"bomb\.zip: "):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 24 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("level", [1, 6, 9])
def test_masks_of_nearly_nothing_are_read(tmp_path, level):
    """A lesion of some thousand voxels in a chest, packed a thousand to one."""
    mask = np.zeros((512, 512, 120), np.uint8)
    mask[200:216, 300:316, 50:66] = 1
    (tmp_path / "mask.nii.gz").write_bytes(gzip.compress(nibabel.Nifti1Image(mask, np.eye(4)).to_bytes(), level))
    assert read(tmp_path / "mask.nii.gz").pixels.sum() == 16**3


@pytest.mark.parametrize("change", ["seconds=inf", "seconds=1e10", "seconds=nan", "pixels=0", "pixels=inf"])
def test_limits_are_numbers_above_0_that_a_clock_can_wait_for(change):
    with pytest.raises(LiquidLensError, match=f"A limit is a number above 0, .* not '{change}'"):
        parse_budget([change])
    with pytest.raises(LiquidLensError, match="The limit seconds is a number above 0 and at most"):
        Budget(seconds=float("inf"))


def test_a_budget_can_be_raised_and_lowered(tmp_path):
    path = packed_nifti(tmp_path)
    assert read(path, Budget(inflate_ratio=1_100)).pixels.shape == (1280, 256, 256)
    for limit in ("pixels", "file_bytes"):
        with pytest.raises(LiquidLensError, match=rf"over the budget of 10; raise '{limit}'"):
            read(path, Budget(**{limit: 10}))


def test_a_file_larger_than_the_budget_is_not_opened(tmp_path):
    with (tmp_path / "large.npy").open("wb") as file:
        file.truncate(2**32)  # takes no space
    with pytest.raises(LiquidLensError, match=r"large\.npy: 4,294,967,296 bytes are over .* raise 'file_bytes'"):
        read(tmp_path / "large.npy")


def test_one_item_of_a_stack_larger_than_the_budget(tmp_path):
    stack = np.arange(4 * 5 * 6 * 7, dtype=np.int16).reshape(4, 5, 6, 7)
    np.savez_compressed(tmp_path / "stack.npz", scans=stack)
    np.save(tmp_path / "stack.npy", np.asfortranarray(stack))
    assert np.array_equal(read(f"{tmp_path}/stack.npz#scans/3", Budget(pixels=210)).pixels, stack[3])
    assert np.array_equal(read(f"{tmp_path}/stack.npy#3").pixels, stack[3])
