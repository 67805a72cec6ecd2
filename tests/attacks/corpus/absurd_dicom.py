"""DICOM headers that make no sense: sizes, bits, frames, lengths, rescaling, tables, and sequences without end.

They hope for divisions by zero, for buffers of negative or huge size, for numbers that are none in what a model reads,
and for recursion that ends the process.
"""

import struct
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.attacks.attack import Attack, Reads, Refused
from tests.imaging.dicoms import enhanced, image, phantom, save, series

PIXELS = np.arange(30, dtype=np.uint16).reshape(5, 6)


def saying(attributes: dict[str, object], folder: Path) -> Path:
    """One image whose header says something else."""
    return save(image(PIXELS, **attributes), folder / "scan.dcm")


def text(name: str, value: str, folder: Path) -> Path:
    """One image of a CT with a text where a number belongs, of the length of the number that was there."""
    dataset = series(phantom())[0]
    setattr(dataset, name, "7" * len(value))
    whole = save(dataset, folder / "scan.dcm").read_bytes()
    at = whole.index(b"7" * len(value))
    (folder / "scan.dcm").write_bytes(whole[:at] + value.encode() + whole[at + len(value) :])
    return folder / "scan.dcm"


def stack(name: str, values: list, folder: Path) -> Path:
    """A series of four slices in which one attribute of all says something else."""
    for number, dataset in enumerate(series(phantom())):
        setattr(dataset, name, values)
        save(dataset, folder / "ct" / f"{number}.dcm")
    return folder / "ct"


def palette(entries: int, folder: Path) -> Path:
    """A table of colours of 6 bytes that says how many entries it has."""
    table = {f"{colour}PaletteColorLookupTableDescriptor": [entries, 0, 16] for colour in ("Red", "Green", "Blue")}
    data = {f"{colour}PaletteColorLookupTableData": bytes(6) for colour in ("Red", "Green", "Blue")}
    return saying({"PhotometricInterpretation": "PALETTE COLOR", **table, **data}, folder)


def nested(depth: int, folder: Path) -> Path:
    """A sequence in a sequence in a sequence, so deep."""
    content = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
        content = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    whole = save(image(PIXELS), folder / "scan.dcm").read_bytes()
    at = 144 + struct.unpack("<L", whole[140:144])[0]
    (folder / "scan.dcm").write_bytes(whole[:at] + content + whole[at:])
    return folder / "scan.dcm"


def length_of(element: bytes, length: int, folder: Path) -> Path:
    """The data set's image, of which one element says that it is so long."""
    whole = save(image(PIXELS), folder / "scan.dcm").read_bytes()
    at = whole.index(element) + len(element)
    (folder / "scan.dcm").write_bytes(whole[:at] + struct.pack("<L", length) + whole[at + 4 :])
    return folder / "scan.dcm"


def frames_of_nowhere(folder: Path) -> Path:
    """Frames that share one empty item."""
    dataset = enhanced(phantom(), [0, 1, 2, 3])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([Dataset()])
    return save(dataset, folder / "scan.dcm")


def unknown_syntax(folder: Path) -> Path:
    whole = save(image(PIXELS), folder / "scan.dcm").read_bytes()
    known = uid.ExplicitVRLittleEndian.encode()
    (folder / "scan.dcm").write_bytes(whole.replace(known, b"1.2.840.10008.9.9.9"[: len(known)], 1))
    return folder / "scan.dcm"


BROKEN = Refused(r"scan\.dcm: not a readable DICOM file; it may be damaged \(\w+\)\.$")
SAYING: dict[str, tuple[dict[str, object], Refused | Reads]] = {
    "no rows": ({"Rows": 0}, BROKEN),
    "no columns": ({"Columns": 0}, BROKEN),
    "more rows than pixels": ({"Rows": 500}, BROKEN),
    "bits 0": ({"BitsAllocated": 0}, BROKEN),
    "bits 255": ({"BitsAllocated": 255, "BitsStored": 255, "HighBit": 254}, BROKEN),
    "bits stored beyond those allocated": ({"BitsStored": 60_000, "HighBit": 59_999}, BROKEN),
    "high bit in nowhere": ({"HighBit": 3}, Refused("not in the lowest bits")),
    "sign 7": ({"PixelRepresentation": 7}, BROKEN),
    "2e9 frames": ({"NumberOfFrames": 2 * 10**9}, Refused("raise 'slices'")),
    "-1 frames": ({"NumberOfFrames": -1}, Refused("its header speaks of -1")),
    "255 samples": ({"SamplesPerPixel": 255}, Refused("have several values each")),
    "no samples": ({"SamplesPerPixel": 0, "PhotometricInterpretation": "RGB"}, BROKEN),
    "spacing 0": ({"PixelSpacing": [0, 0]}, Reads((5, 6))),
    "spacing negative": ({"PixelSpacing": [-1, -1]}, Reads((5, 6))),
    "spacing 1e300": ({"PixelSpacing": [1e300, 1e300]}, Reads((5, 6))),
    "slope 0": ({"RescaleSlope": 0, "RescaleIntercept": 0}, Reads((5, 6))),
    "slope negative": ({"RescaleSlope": -1, "RescaleIntercept": 0}, Reads((5, 6))),
    "slope 1e300": ({"RescaleSlope": 1e300, "RescaleIntercept": 0}, Refused("pixels are not finite")),
    "window of no width": ({"WindowCenter": 1e308, "WindowWidth": -1e308}, Reads((5, 6))),
}
ATTACKS = (
    *(Attack(f"DICOM: {name}", "trusted", partial(saying, said), ends) for name, (said, ends) in SAYING.items()),
    Attack("DICOM: slope NaN", "trusted", partial(text, "RescaleSlope", "nan "), Refused("pixels are not finite")),
    Attack("DICOM: intercept infinite", "trusted", partial(text, "RescaleIntercept", "-inf"), Refused("not finite")),
    Attack("DICOM: a word for the slope", "trusted", partial(text, "RescaleSlope", "LEAK^PATIENT"), BROKEN),
    Attack("DICOM: frames in letters", "trusted", partial(text, "NumberOfFrames", "LEAKED"), BROKEN),
    Attack("DICOM: spacing 1 and NaN", "trusted", partial(text, "PixelSpacing", "1\\nan "), Reads((5, 6))),
    Attack("DICOM: spacing NaN", "trusted", partial(text, "PixelSpacing", "nan\\nan "), Reads((5, 6))),
    Attack(
        "DICOM: a series of spacing 1e300",
        "trusted",
        partial(stack, "PixelSpacing", [1e300, 1e300]),
        Refused("does not say in numbers where it lies"),
    ),
    Attack(
        "DICOM: a series of one place", "trusted", partial(stack, "ImagePositionPatient", [0, 0, 0]), Refused("dupl")
    ),
    Attack(
        "DICOM: a series of no direction",
        "trusted",
        partial(stack, "ImageOrientationPatient", [0] * 6),
        Refused("broken geometry"),
    ),
    Attack("DICOM: colour table of 65,535 entries", "trusted", partial(palette, 65_535), BROKEN),
    Attack("DICOM: sequences 5,000 deep", "trusted", partial(nested, 5_000), BROKEN),
    Attack(
        "DICOM: pixels of 4 GiB", "trusted", partial(length_of, b"\xe0\x7f\x10\x00OW\0\0", 2**32 - 2), Reads((5, 6))
    ),
    Attack(
        "DICOM: pixels of undefined length",
        "trusted",
        partial(length_of, b"\xe0\x7f\x10\x00OW\0\0", 2**32 - 1),
        Refused("holds no pixels"),
    ),
    Attack("DICOM: frames that lie nowhere", "trusted", frames_of_nowhere, Refused("do not say where they lie")),
    Attack(
        "DICOM: a transfer syntax of nobody", "trusted", unknown_syntax, Refused("transfer syntax cannot be read here")
    ),
)
