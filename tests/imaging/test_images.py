"""Images: grey, coloured, deep, of several pages; and which are refused, with which sentence."""

import struct
import zlib

import numpy as np
import pytest
from imagecodecs import apng_encode, png_encode
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read
from liquidlens.imaging.storage import storage

GREY = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".tiff"])
def test_images_of_8_bits(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"scan{suffix}")
    scan = read(tmp_path / f"scan{suffix}")
    assert scan.pixels.dtype == np.float32
    assert np.array_equal(scan.pixels, GREY)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpegs(tmp_path, suffix):
    Image.new("L", (7, 5), 99).save(tmp_path / f"scan{suffix}")
    scan = read(tmp_path / f"scan{suffix}")
    assert scan.pixels.shape == (5, 7)
    assert np.abs(scan.pixels - 99).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_of_16_bits_keep_their_numbers(tmp_path, suffix):
    deep = GREY.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / f"scan{suffix}")
    assert np.array_equal(read(tmp_path / f"scan{suffix}").pixels, deep)


def test_pngs_of_16_bits_with_transparency_keep_their_numbers(tmp_path):
    deep = np.stack([GREY.astype(np.uint16) * 257 + 3, np.full(GREY.shape, 65535, np.uint16)], axis=-1)
    path = tmp_path / "scan.png"
    path.write_bytes(png_encode(deep))
    assert np.array_equal(read(path).pixels, deep[..., 0])
    assert np.array_equal(read(path, colour=True).pixels, np.repeat(deep[..., :1], 3, axis=-1))
    assert (read(path).notes, storage(path).bits) == ((), 16)
    content = path.read_bytes()
    for kept in range(0, content.index(b"IEND") - 4, 3):
        (tmp_path / "cut.png").write_bytes(content[:kept])
        with pytest.raises(LiquidLensError, match=r"cut\.png: not a readable"):
            read(tmp_path / "cut.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    chunk = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:33] + chunk + content[33:])  # behind its header
    assert np.array_equal(read(path).pixels, np.rot90(deep[..., 0], -1))
    deep[0, 0, 1] = 0
    path.write_bytes(png_encode(deep))
    assert read(path).notes == ("Transparency was ignored.",)
    path.write_bytes(apng_encode(np.stack([deep, deep])))
    with pytest.raises(LiquidLensError, match="pages of 16-bit grey with transparency"):
        read(f"{path}#1")


def test_tiffs_whose_larger_values_are_darker_are_inverted(tmp_path):
    """WhiteIsZero, tag 262."""
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(deep).save(tmp_path / "deep.tif", tiffinfo={262: 0})
    scan = read(tmp_path / "deep.tif")
    assert np.array_equal(scan.pixels, 65535 - deep.astype(np.float32))
    assert "inverted" in scan.notes[0]
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "fractions.tif", tiffinfo={262: 0})
    with pytest.raises(LiquidLensError, match="larger values are darker can be read"):
        read(tmp_path / "fractions.tif")


def test_tiffs_of_fractions(tmp_path):
    Image.fromarray(GREY.astype(np.float32) - 1000.5).save(tmp_path / "scan.tif")
    assert np.array_equal(read(tmp_path / "scan.tif").pixels, GREY - np.float32(1000.5))


def test_images_of_one_bit_and_with_a_palette(tmp_path):
    image = Image.fromarray(GREY)
    image.convert("1", dither=Image.Dither.NONE).save(tmp_path / "bits.png")
    assert set(np.unique(read(tmp_path / "bits.png").pixels)) == {0, 255}
    image.quantize(256).save(tmp_path / "palette.png")
    assert np.array_equal(read(tmp_path / "palette.png").pixels, GREY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_colour_becomes_luminance(tmp_path, mode):
    image = Image.new("RGB", (7, 5), (255, 0, 0)).convert(mode)
    image.save(tmp_path / "scan.tif")
    assert np.unique(read(tmp_path / "scan.tif").pixels).tolist() == [76]  # 0.299 of red, rounded


def test_the_orientation_of_a_photograph_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(GREY).save(tmp_path / "scan.png", exif=exif)
    assert np.array_equal(read(tmp_path / "scan.png").pixels, np.rot90(GREY, -1))


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_images_of_several_pages(tmp_path, suffix):
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pages[0].save(tmp_path / f"pages{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(LiquidLensError, match=rf"an image of 2 pages; name one of them, as in pages{suffix}#0"):
        read(tmp_path / f"pages{suffix}")
    assert np.array_equal(read(f"{tmp_path}/pages{suffix}#1").pixels, 255 - GREY)
    with pytest.raises(LiquidLensError, match="items are 0 to 1"):
        read(f"{tmp_path}/pages{suffix}#2")
    pages[0].save(tmp_path / f"single{suffix}")
    with pytest.raises(LiquidLensError, match="one image, there is no item '1'"):
        read(f"{tmp_path}/single{suffix}#1")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("kept", [0, 3, 40, 0.5])
def test_truncated_images_are_refused_by_name(tmp_path, suffix, kept):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / f"all{suffix}")
    content = (tmp_path / f"all{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(LiquidLensError, match=rf"cut{suffix}: not a readable"):
        read(tmp_path / f"cut{suffix}")


def test_other_images_under_a_known_name(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "scan.gif")
    (tmp_path / "scan.gif").rename(tmp_path / "scan.png")
    with pytest.raises(LiquidLensError, match=r"scan\.png: not a readable"):
        read(tmp_path / "scan.png")


def test_an_image_too_large_to_be_one(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(LiquidLensError, match=r"bomb\.png: .* larger than any scan"):
        read(tmp_path / "bomb.png")


def test_colour_is_noted_and_given_when_asked_for(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    assert read(tmp_path / "rgb.png").notes == ("Colour was turned to grey.",)
    assert np.array_equal(read(tmp_path / "rgb.png", colour=True).pixels, rgb)
    Image.fromarray(GREY).convert("RGBA").save(tmp_path / "grey.png")
    assert read(tmp_path / "grey.png").notes == (), "grey and opaque"
    Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / "deep.png")
    assert np.array_equal(read(tmp_path / "deep.png", colour=True).pixels, np.repeat(GREY[..., None], 3, axis=-1))
