"""TIFF: every sort of number, byte order and packing has its values, or is refused with the reason."""

import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read
from liquidlens.imaging.budget import Budget

RAMP = np.linspace(0, 1, 96).reshape(8, 12)
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
PACKINGS = [None, "packbits", "lzw", "deflate", "adobe_deflate", "lzma", "zstd"]


def numbers(kind: str) -> np.ndarray:
    """From the least to the largest value of a type."""
    dtype = np.dtype(kind)
    low, high = (-60_000, 60_000) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = [min(high, low + int((high - low) * x)) for x in RAMP.ravel()]
    return np.array(values, dtype).reshape(RAMP.shape)


def plain(array: np.ndarray, order: str, deflate: bool = False, planar: bool = False, photometric: int = 1) -> bytes:
    """The bytes of a TIFF by its specification (revision 6.0, section 2), with one strip for each plane."""
    rows, columns, *samples = array.shape
    number = samples[0] if samples else 1
    planes = [array[..., i] for i in range(number)] if planar else [array]
    strips = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    starts = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    directory = 8 + sum(map(len, strips))
    directory += directory % 2
    tags = {
        256: ("I", [columns]),
        257: ("I", [rows]),
        258: ("H", [8 * array.dtype.itemsize] * number),
        259: ("H", [8 if deflate else 1]),
        262: ("H", [photometric]),
        273: ("I", starts),
        277: ("H", [number]),
        278: ("I", [rows]),
        279: ("I", [len(strip) for strip in strips]),
        284: ("H", [2 if planar else 1]),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[array.dtype.kind]] * number),
    }
    entries, more = b"", b""
    for tag, (kind, values) in tags.items():
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(content) > 4:
            at = directory + 6 + 12 * len(tags) + len(more)
            content, more = struct.pack(f"{order}I", at), more + content
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + content.ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, directory)
    body = (head + b"".join(strips)).ljust(directory, b"\0")
    return body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", TYPES)
def test_files_written_by_the_specification(tmp_path, kind, order, deflate):
    path, values = tmp_path / "scan.tif", numbers(kind)
    path.write_bytes(plain(values, order, deflate))
    scan = read(path)
    assert np.array_equal(scan.pixels, values.astype(np.float32))
    assert scan.pixels.min() < scan.pixels.max()
    assert scan.notes == ()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", TYPES)
def test_every_number_byte_order_packing_and_layout(tmp_path, kind, packing):
    path, values = tmp_path / "scan.tif", numbers(kind)
    predictors = (False,) if packing in (None, "packbits") or kind in ("u8", "i8", "f2") else (False, True)
    layouts: list[dict] = [{}, {"tile": (16, 16)}, {"rowsperstrip": 3}, {"bigtiff": True}]
    for order, predictor, layout in itertools.product("<>", predictors, layouts):
        tifffile.imwrite(path, values, byteorder=order, compression=packing, predictor=predictor, **layout)
        assert np.array_equal(read(path).pixels, values.astype(np.float32)), (order, predictor, layout)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colour_of_8_and_16_bits(tmp_path, kind, order, planar):
    """Of 16 bits the upper 8 are read; luminance is that of Pillow."""
    values = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (8, 12, 3)).astype(kind)
    path = tmp_path / "scan.tif"
    path.write_bytes(plain(values, order, planar=planar, photometric=2))
    eight = (values >> (0 if kind == "u1" else 8)).astype(np.uint8)
    scan = read(path)
    assert np.array_equal(scan.pixels, np.asarray(Image.fromarray(eight).convert("L")))
    assert scan.notes == ("Colour was turned to grey.",)
    assert np.array_equal(read(path, colour=True).pixels, eight)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("packing", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group3", "group4"])
def test_pictures_of_8_bits_are_seen_as_pillow_sees_them(tmp_path, mode, packing):
    """Pillow writes them through libtiff, and reads these right."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 4), dtype=np.uint8)
    picture = Image.fromarray(noise).convert("RGB").convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.fromarray(noise[..., 3]))
    if (packing in ("group3", "group4") and mode != "1") or (packing == "jpeg" and mode in ("1", "P", "LA", "RGBA")):
        pytest.skip("TIFF does not pack such pictures in this way")
    path = tmp_path / "scan.tif"
    picture.save(path, compression=packing)
    with Image.open(path) as again:
        grey, colour = np.asarray(again.convert("L"), np.float32), np.asarray(again.convert("RGB"), np.float32)
    near = 2 if packing == "jpeg" else 0  # two decoders round the cosine transform in their own way
    assert np.abs(read(path).pixels - grey).max() <= near
    assert np.abs(read(path, colour=True).pixels - colour).max() <= 2 * near
    assert ("Transparency was ignored." in read(path).notes) == mode.endswith("A")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_the_orientation_is_applied(tmp_path, kind, orientation):
    path, values = tmp_path / "scan.tif", numbers(kind)
    tifffile.imwrite(path, values, extratags=[(274, "H", 1, orientation, True)])
    upright = {
        1: values,
        2: np.fliplr(values),
        3: np.rot90(values, 2),
        4: np.flipud(values),
        5: values.T,
        6: np.rot90(values, -1),
        7: np.rot90(values, 2).T,
        8: np.rot90(values),
    }[orientation]
    assert np.array_equal(read(path).pixels, upright)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16, 32])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_any_number_of_bits(tmp_path, bits, white_is_zero):
    """Those below 8 are spread over 0..255; deeper ones keep their numbers.  Where white is 0, both are inverted."""
    values = np.array([[int(x * (2**bits - 1)) for x in row] for row in RAMP], np.uint64)
    stored = values.astype("u1" if bits <= 8 else "u2" if bits <= 16 else "u4")
    photometric = "miniswhite" if white_is_zero else "minisblack"
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, stored, bitspersample=bits, photometric=photometric)
    right = values.astype(float)
    right = 2**bits - 1 - right if white_is_zero else right
    right = right * 255 / (2**bits - 1) if bits < 8 else right
    scan = read(path)
    assert np.array_equal(scan.pixels, right.astype(np.float32))
    assert any("inverted" in note for note in scan.notes) == (white_is_zero and bits > 8)


@pytest.mark.parametrize(
    ("array", "settings", "sentence"),
    [
        (RAMP.astype("f4"), {"photometric": "miniswhite"}, "larger values are darker can be read of whole numbers"),
        (RAMP.astype("c8"), {}, "holds complex64"),
        (np.zeros((8, 12, 2), "u1"), {"photometric": "minisblack", "planarconfig": "contig"}, "2 channels, which are"),
        (np.zeros((8, 12, 5), "u2"), {"photometric": "rgb"}, "5 channels, which are"),
        (np.zeros((8, 12, 3), "f4"), {"photometric": "rgb"}, "up to 16 bits can be read, this TIFF holds float32"),
        (np.zeros((8, 12, 3), "u1"), {"photometric": "cielab"}, "colours of this TIFF are of a sort"),
        (np.zeros((16, 16), "u1"), {"compression": "jpeg2000"}, "packed in a way that cannot be read"),
        (
            np.zeros((4, 16, 16), "u1"),
            {"volumetric": True, "tile": (4, 16, 16), "photometric": "minisblack"},
            "a depth of 4",
        ),
    ],
)
def test_what_is_no_picture_is_refused_and_not_called_damaged(tmp_path, array, settings, sentence):
    tifffile.imwrite(tmp_path / "scan.tif", array, metadata=None, **settings)
    with pytest.raises(LiquidLensError, match=sentence) as caught:
        read(tmp_path / "scan.tif")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_cut_is_refused(tmp_path, packing):
    """Behind its directory, Pillow's and tifffile's files hold nothing but pixels."""
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "whole.tif", values, compression=packing, rowsperstrip=5)
    content = (tmp_path / "whole.tif").read_bytes()
    for kept in range(0, len(content), 3):
        (tmp_path / "cut.tif").write_bytes(content[:kept])
        with pytest.raises(LiquidLensError, match=r"cut\.tif: not a readable image file"):
            read(tmp_path / "cut.tif")


@pytest.mark.parametrize("packing", ["deflate", "lzw"])
def test_strips_that_are_missing_or_too_short_are_refused(tmp_path, packing):
    """Where a strip is not there, tifffile and libtiff give zeros."""
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16), dtype=np.uint16)
    path = tmp_path / "scan.tif"
    for tag in ("StripOffsets", "StripByteCounts"):
        tifffile.imwrite(path, values, compression=packing, rowsperstrip=4)
        with tifffile.TiffFile(path, mode="r+") as tiff:
            counts = list(tiff.pages[0].tags[tag].value)
            tiff.pages[0].tags[tag].overwrite([*counts[:2], 0, counts[3]])
        with pytest.raises(LiquidLensError, match="ends before its pixels"):
            read(path)
    tifffile.imwrite(path, values, compression=packing, rowsperstrip=4)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = list(tiff.pages[0].tags["StripByteCounts"].value)
        tiff.pages[0].tags["StripByteCounts"].overwrite([*counts[:2], counts[2] // 2, counts[3]])
    with pytest.raises(LiquidLensError, match="not a readable image"):
        read(path)


def test_tiles_and_pages_within_the_budget(tmp_path):
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), tile=(16, 16), compression="deflate")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["TileWidth"].overwrite(2**15)
        tiff.pages[0].tags["TileLength"].overwrite(2**15)
    with pytest.raises(LiquidLensError, match="tiles of this TIFF are far larger"):
        read(path)
    tifffile.imwrite(path, np.zeros((5, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(LiquidLensError, match="over the budget of 4"):
        read(f"{path}#0", Budget(slices=4))
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8))
    with pytest.raises(LiquidLensError, match="over the budget of 4,000"):
        read(path, Budget(pixels=4000))
    tifffile.imwrite(path, np.zeros((9000, 9000), np.uint8), compression="zstd", rowsperstrip=9000)
    with pytest.raises(LiquidLensError, match="inflate_ratio"):
        read(path)


def test_directories_that_go_round_are_refused(tmp_path):
    path = tmp_path / "scan.tif"
    content = bytearray(plain(numbers("u1"), "<"))
    directory = struct.unpack_from("<I", content, 4)[0]
    (tags,) = struct.unpack_from("<H", content, directory)
    struct.pack_into("<I", content, directory + 2 + 12 * tags, directory)  # the next page is the same one
    path.write_bytes(content)
    with pytest.raises(LiquidLensError):
        read(f"{path}#4000")


def test_deep_images_that_use_few_bits_are_noted(tmp_path):
    """As a detector of 12 bits leaves them, in TIFF and PNG."""
    for name in ("scan.tif", "scan.png"):
        for largest, noted in ((255, False), (4095, True), (4096, False)):
            Image.fromarray((RAMP * largest).astype(np.uint16)).save(tmp_path / name)
            assert any("nearly black" in note for note in read(tmp_path / name).notes) == noted, (name, largest)
