"""Compressed pixels, tables and headers that libraries mend: the page reads the same of them as `imaging.read`."""

import struct

import jpeg_ls
import nibabel
import numpy as np
import openjpeg
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from liquidlens.imaging import Scan
from tests.device.web.conftest import read_in_browser
from tests.device.web.reading import as_frame, assert_same_file, python
from tests.imaging.dicoms import image, save


@pytest.mark.parametrize("stray", range(3))
def test_jpeg_ls_with_stray_bytes_in_front_of_its_end(reader, tmp_path, stray):
    pixels = np.random.default_rng(0).integers(0, 4000, (64, 64)).astype(np.uint16)
    dataset = image(pixels)
    pydicom.pixels.compress(dataset, pydicom.uid.JPEGLSLossless)
    frame = get_frame(dataset.PixelData, 0)
    at = frame.rindex(b"\xff\xd9")
    dataset.PixelData = encapsulate([frame[:at] + bytes(stray) + frame[at : at + 2]])
    assert assert_same_file(reader, save(dataset, tmp_path / "scan.dcm"))


@pytest.mark.parametrize("second", [False, True], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.parametrize(
    "change",
    [
        {"pixdim": [1, -2, 2, 2], "sform_code": 0},
        {"pixdim": [1, 2, 2, -2], "sform_code": 0, "qform_code": 0},
        {"pixdim": [-1, 2, 0, 2], "sform_code": 0, "qform_code": 0},
        {"pixdim": [1, -2, 2, 2]},
        {"sform_code": 7, "qform_code": 0},
        {"sform_code": 7},
        {"sizeof_hdr": 0},
        {"xyzt_units": 5},
        {"xyzt_units": 3},
        {"xyzt_units": 64},
    ],
    ids=str,
)
def test_nifti_headers_that_nibabel_mends_are_read_alike(reader, tmp_path, second, change):
    kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    made = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2, 2, 1]))
    made.set_sform(made.affine, 1)
    made.set_qform(made.affine, 1)
    content = bytearray(made.to_bytes())
    header = (nibabel.Nifti2Header if second else nibabel.Nifti1Header)(bytes(content[: 540 if second else 348]))
    for field, value in change.items():
        if isinstance(value, list):
            header[field][: len(value)] = value
        else:
            header[field] = value
    path = tmp_path / "scan.nii"
    path.write_bytes(header.binaryblock + content[540 if second else 348 :])
    assert_same_file(reader, path)


def lossless_jpeg(pixels: np.ndarray) -> bytes:
    """12 bits, each the difference from its neighbour (ISO 10918-1, annex H, predictor 1): 0 as one bit, others as five
    that tell how many bits follow."""
    bits, last = "", 1 << 11
    for at, value in enumerate(pixels.ravel().tolist()):
        difference = value - (int(pixels.ravel()[at - pixels.shape[1]]) if at and not at % pixels.shape[1] else last)
        length, last = abs(difference).bit_length(), value
        bits += f"{15 + length:05b}" if length else "0"
        bits += f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}" if length else ""
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    table = bytes([0, 1, 0, 0, 0, 15, *[0] * 11, *range(16)])
    frame = struct.pack(">HBHHB3B", 11, 12, *pixels.shape, 1, 1, 0x11, 0)
    head = b"\xff\xc4" + struct.pack(">H", 2 + len(table)) + table + b"\xff\xc3" + frame
    return b"\xff\xd8" + head + b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0) + packed + b"\xff\xd9"


@pytest.mark.parametrize("side", [8, 9, 10])
def test_lossless_jpeg_to_its_last_pixel_and_not_beyond(reader, tmp_path, side):
    for more in range(3):
        pixels = np.full((side, side), 1000, np.uint16)
        pixels[0, :2] = 1000 + (1 << more), 1001
        path = as_frame(
            pixels, uid.JPEGLosslessSV1, lossless_jpeg(pixels), tmp_path / f"{more}.dcm", BitsStored=12, HighBit=11
        )
        assert assert_same_file(reader, path)
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    frame = lossless_jpeg(noise)
    for less in (2, 3, 4):  # the end marker, and some of the data
        short = as_frame(noise, uid.JPEGLosslessSV1, frame[:-less], tmp_path / "short.dcm", BitsStored=12, HighBit=11)
        assert "cannot be decoded" in read_in_browser(reader, {short.name: short.read_bytes()})
    cut = as_frame(
        noise, uid.JPEGLosslessSV1, frame[: len(frame) // 2], tmp_path / "cut.dcm", BitsStored=12, HighBit=11
    )
    assert not assert_same_file(reader, cut)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_colour_jpeg_ls_however_its_samples_lie(reader, tmp_path, mode):
    rgb = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    stored = np.ascontiguousarray(rgb.transpose(2, 0, 1)) if mode == 0 else rgb
    frame = bytes(jpeg_ls.encode_array(stored, interleave_mode=mode))
    assert assert_same_file(
        reader, as_frame(rgb, uid.JPEGLSLossless, frame, tmp_path / "scan.dcm", PlanarConfiguration=0)
    )


def test_jpeg_2000_of_colours_and_of_many_bits(reader, tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    frame = bytes(openjpeg.encode(rgb, use_mct=False))
    for photometric in ("YBR_FULL", "RGB"):
        told = {"PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
        assert assert_same_file(
            reader, as_frame(rgb, uid.JPEG2000Lossless, frame, tmp_path / f"{photometric}.dcm", **told)
        )
    deep = np.random.default_rng(0).integers(0, 2**20, (32, 32)).astype(np.uint32)
    frame = bytes(openjpeg.encode(deep, bits_stored=20))
    told = {"BitsAllocated": 32, "BitsStored": 20, "HighBit": 19}
    path = as_frame(deep, uid.JPEG2000Lossless, frame, tmp_path / "deep.dcm", **told)
    assert isinstance(python(path), Scan)
    assert "cannot be decoded" in read_in_browser(reader, {path.name: path.read_bytes()})


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
def test_tables_that_begin_below_0(reader, tmp_path, sequence, syntax):
    dataset = image(np.arange(-8, 8, dtype=np.int16).reshape(4, 4), Modality="MR")
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [16, -8, 16])
    table.add_new("LUTData", "US", list(range(100, 116)))
    table.ModalityLUTType = "US"
    setattr(dataset, sequence, [table])
    dataset.file_meta.TransferSyntaxUID = syntax
    assert assert_same_file(reader, save(dataset, tmp_path / "scan.dcm"))
