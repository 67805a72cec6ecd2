"""DICOM files that are small and ask for gigabytes.

They hope that a deflated data set is unpacked whole, that a compressed image is decoded at the size that its own
codestream claims, which is not that of the DICOM header in front of it, or that the header itself is believed.
"""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from tests.attacks.attack import Attack, Refused
from tests.attacks.zeros import MEGABYTE, deflated
from tests.imaging.dicoms import image, save

SMALL = np.zeros((8, 8), np.uint8)


def deflated_data_set(folder: Path) -> Path:
    """1 GiB, of which all but the image is one element of zeros."""
    dataset = image(SMALL)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    whole = save(dataset, folder / "bomb.dcm").read_bytes()
    plain = save(image(SMALL), folder / "bomb.dcm").read_bytes()
    meta = 144 + struct.unpack("<L", whole[140:144])[0]
    begun = plain[144 + struct.unpack("<L", plain[140:144])[0] :] + b"\xfc\xff\xfc\xffOB\0\0" + b"\0\0\0\x40"
    (folder / "bomb.dcm").write_bytes(whole[:meta] + deflated(begun, 1024 * MEGABYTE))
    return folder / "bomb.dcm"


def without_preamble(folder: Path) -> Path:
    path = deflated_data_set(folder)
    path.write_bytes(path.read_bytes()[132:])
    return path


def codestream(syntax: str, content: bytes, folder: Path) -> Path:
    dataset = image(SMALL)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([content])
    dataset["PixelData"].is_undefined_length = True
    return save(dataset, folder / "bomb.dcm")


def jpeg_2000(folder: Path) -> Path:
    """Its SIZ marker, at byte 6, says 30,000 x 30,000 in one tile."""
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "JPEG2000", no_jp2=True)
    content = bytearray(buffer.getvalue())
    size = struct.pack(">4L", 30_000, 30_000, 0, 0) + struct.pack(">4L", 30_000, 30_000, 0, 0)
    content[8:40] = size
    return codestream(uid.JPEG2000Lossless, bytes(content), folder)


def jpeg_ls(folder: Path) -> Path:
    """Nothing but a start of frame of 60,000 x 60,000."""
    frame = b"\xff\xf7" + struct.pack(">HBHHB3B", 11, 8, 60_000, 60_000, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 0, 0, 0)
    return codestream(uid.JPEGLSLossless, b"\xff\xd8" + frame + scan + bytes(100) + b"\xff\xd9", folder)


def jpeg(folder: Path) -> Path:
    """A start of frame of 65,500 x 65,500."""
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return codestream(uid.JPEGBaseline8Bit, bytes(content), folder)


def lossless_jpeg(folder: Path) -> Path:
    """A start of frame of 65,500 x 65,500 for GDCM, which pydicom asks for this transfer syntax."""
    frame = b"\xff\xc3" + struct.pack(">HBHHB3B", 11, 8, 65_500, 65_500, 1, 1, 0x11, 0)
    table = b"\xff\xc4" + struct.pack(">H", 20) + b"\0\1" + bytes(16)
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0)
    return codestream(uid.JPEGLosslessSV1, b"\xff\xd8" + frame + table + scan + bytes(100) + b"\xff\xd9", folder)


def run_lengths(folder: Path) -> Path:
    """RLE segments that unpack to 64 times as much as the image has: 8 MB of runs of 128 zeros."""
    header = struct.pack("<16L", 1, 64, *[0] * 14)
    return codestream(uid.RLELossless, header + b"\x81\0" * (4 * MEGABYTE), folder)


def claims(folder: Path) -> Path:
    return save(image(SMALL, Rows=65_535, Columns=65_535), folder / "bomb.dcm")


BEYOND = Refused("a compressed frame is far larger than the image that the header describes")
ATTACKS = (
    Attack("deflated DICOM of 1 GiB", "scan", deflated_data_set, Refused("times the packed size .* 'inflate_ratio'")),
    Attack("deflated DICOM without preamble", "scan", without_preamble, Refused("raise 'inflate_ratio'")),
    Attack("DICOM around a JPEG 2000 of 30,000 x 30,000", "scan", jpeg_2000, BEYOND),
    Attack("DICOM around a JPEG-LS of 60,000 x 60,000", "scan", jpeg_ls, BEYOND),
    Attack("DICOM around a JPEG of 65,500 x 65,500", "scan", jpeg, BEYOND),
    Attack("DICOM around a lossless JPEG of 65,500 x 65,500", "scan", lossless_jpeg, BEYOND),
    Attack("DICOM of run lengths beyond its image", "scan", run_lengths, BEYOND),
    Attack("DICOM that claims 65,535 x 65,535", "scan", claims, Refused("raise 'pixels'")),
)
