"""DICOM grey values: every way in which they can be stored, and what does not leave the reader."""

import io
import traceback

import gdcm
import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import apply_modality_lut, compress, pack_bits

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read, read_safely
from liquidlens.imaging.formats.kinds import kind_of
from tests.imaging.dicoms import image, phantom, save, save_series, series

RANDOM = np.random.default_rng(0)
#: Smooth, so that compression has something to find, and of 12 bits.
DEEP = (np.add.outer(np.arange(32) * 60, np.arange(48) * 40) + RANDOM.integers(0, 9, (32, 48))).astype(np.uint16)
SHALLOW = (DEEP >> 4).astype(np.uint8)


def encapsulated(pixels, syntax, codestream):
    dataset = image(pixels, PixelData=encapsulate([codestream]))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def compressed(pixels, syntax):
    dataset = image(pixels)
    compress(dataset, syntax)
    return dataset


def plain(syntax):
    dataset = image(DEEP.byteswap() if syntax == uid.ExplicitVRBigEndian else DEEP)
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def jpeg_lossless(tmp_path):
    """By GDCM, which is the only encoder at hand."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(save(image(DEEP), tmp_path / "plain.dcm")))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "scan.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return tmp_path / "scan.dcm"


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
        uid.JPEGLosslessSV1,
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_lossless_transfer_syntaxes_keep_every_value(tmp_path, syntax):
    if syntax in (uid.RLELossless, uid.JPEGLSLossless):
        path = save(compressed(DEEP, syntax), tmp_path / "scan.dcm")
    elif syntax == uid.JPEG2000Lossless:
        path = save(encapsulated(DEEP, syntax, encode_array(DEEP)), tmp_path / "scan.dcm")
    elif syntax == uid.JPEGLosslessSV1:
        path = jpeg_lossless(tmp_path)
    else:
        path = save(plain(syntax), tmp_path / "scan.dcm")
    assert np.array_equal(read(path).pixels, DEEP)


def test_jpeg_is_read_as_pillow_reads_it(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(SHALLOW).save(buffer, "JPEG")
    path = save(encapsulated(SHALLOW, uid.JPEGBaseline8Bit, buffer.getvalue()), tmp_path / "scan.dcm")
    assert np.array_equal(read(path).pixels, np.array(Image.open(buffer)))


@pytest.mark.parametrize("syntax", [uid.JPEG2000MC, uid.MPEG2MPML])
def test_transfer_syntaxes_that_cannot_be_read(tmp_path, syntax):
    with pytest.raises(LiquidLensError, match=r"scan\.dcm: its transfer syntax cannot be read here \("):
        read(save(encapsulated(SHALLOW, syntax, b"12"), tmp_path / "scan.dcm"))


def test_transfer_syntaxes_that_nobody_knows(tmp_path):
    path = save(image(SHALLOW), tmp_path / "scan.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.4.55555.6.7.8\0"))
    with pytest.raises(LiquidLensError, match=r"one that is not of the standard"):
        read(path)


@pytest.mark.parametrize("name", ["scan", "1.2.840.113619", "scan.dcm", "scan.DICOM"])
def test_dicom_is_known_by_its_content(tmp_path, name):
    assert np.array_equal(read(save(image(DEEP), tmp_path / name)).pixels, DEEP)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_bare_data_set_is_known_by_its_content(tmp_path, implicit):
    dataset = image(DEEP)
    del dataset.file_meta
    dataset.save_as(tmp_path / "scan", implicit_vr=implicit, little_endian=True)
    assert np.array_equal(read(tmp_path / "scan").pixels, DEEP)
    assert kind_of(tmp_path / "scan") is None, "by its name"


@pytest.mark.parametrize("signed", [False, True])
def test_unused_high_bits_are_not_pixels(tmp_path, signed):
    """12 bits stored in 16, old overlays in the other 4."""
    values = RANDOM.integers(-2048, 2048, (8, 8)) if signed else RANDOM.integers(0, 4096, (8, 8))
    stored = ((values & 0xFFF) | RANDOM.integers(0, 16, (8, 8)) << 12).astype(np.uint16)
    dataset = image(stored, BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    assert np.array_equal(read(save(dataset, tmp_path / "scan.dcm")).pixels, values)
    dataset.HighBit = 15
    with pytest.raises(LiquidLensError, match="not in the lowest bits"):
        read(save(dataset, tmp_path / "scan.dcm"))


def test_rescaling_gives_hounsfield_units(tmp_path):
    dataset = series(phantom())[0]
    scan = read(save(dataset, tmp_path / "scan.dcm"))
    assert np.array_equal(scan.pixels, phantom()[0])
    assert (scan.modality, scan.units, scan.notes) == ("CT", "HU", ())
    del dataset.RescaleType
    assert read(save(dataset, tmp_path / "scan.dcm")).units == "HU", "CT that does not name its unit is in HU"


@pytest.mark.parametrize("change", [{"RescaleType": "HU_MOD"}, {"RescaleSlope": None, "RescaleIntercept": None}])
def test_other_units_are_not_called_hounsfield(tmp_path, change):
    dataset = series(phantom())[0]
    for name, value in change.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    scan = read(save(dataset, tmp_path / "scan.dcm"))
    assert scan.units is None
    assert scan.notes == ("The file does not give Hounsfield units.",)


def test_a_modality_table_is_applied(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.ModalityLUTType = "OD"
    table.LUTData = (np.arange(4096) ** 2 // 4096).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    dataset = image(DEEP, ModalityLUTSequence=[table])
    expected = apply_modality_lut(DEEP, dataset)
    assert (expected != DEEP).any()
    assert np.array_equal(read(save(dataset, tmp_path / "scan.dcm")).pixels, expected)


def test_monochrome1_is_inverted_and_its_window_too(tmp_path):
    plain, inverse = (
        image(values, BitsStored=12, HighBit=11, WindowCenter=centre, WindowWidth=101, VOILUTFunction="LINEAR_EXACT")
        for values, centre in ((DEEP, 1000), (4095 - DEEP, 3095))
    )
    inverse.PhotometricInterpretation = "MONOCHROME1"
    one, two = read(save(plain, tmp_path / "a.dcm")), read(save(inverse, tmp_path / "b.dcm"))
    assert np.array_equal(one.pixels, two.pixels)
    assert one.window == two.window == (949.5, 1050.5)
    assert (one.notes, len(two.notes)) == ((), 1)


def test_monochrome1_with_rescaling_keeps_its_range(tmp_path):
    """Stored 0..255 means -100..410 here; what was the highest becomes the lowest."""
    dataset = image(SHALLOW, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-100)
    assert np.array_equal(read(save(dataset, tmp_path / "scan.dcm")).pixels, 410 - 2.0 * SHALLOW)


def test_a_ct_without_hounsfield_units_is_inverted_like_others(tmp_path):
    dataset = image(SHALLOW, PhotometricInterpretation="MONOCHROME1", Modality="CT")
    scan = read(save(dataset, tmp_path / "scan.dcm"))
    assert np.array_equal(scan.pixels, 255 - SHALLOW.astype(np.float32))
    assert (scan.units, len(scan.notes)) == (None, 2)


def test_grey_pixels_of_several_values_are_refused(tmp_path):
    dataset = image(np.zeros((4, 5, 3), np.uint8))
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PlanarConfiguration = "MONOCHROME2", 3, 0
    with pytest.raises(LiquidLensError, match="have several values each"):
        read(save(dataset, tmp_path / "scan.dcm"))


def test_hounsfield_units_are_never_inverted(tmp_path):
    dataset = series(phantom())[0]
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(read(save(dataset, tmp_path / "scan.dcm")).pixels, phantom()[0])


@pytest.mark.parametrize(
    ("attributes", "window"),
    [
        ({"WindowCenter": 40, "WindowWidth": 400}, (-160, 239)),
        ({"WindowCenter": [40, 600], "WindowWidth": [400, 1500]}, (-160, 239)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, (-160, 240)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}, (-160, 240)),
        ({"WindowCenter": 40}, None),
        ({"WindowCenter": 40, "WindowWidth": 0}, None),
        ({}, None),
    ],
)
def test_the_window_is_given_and_not_applied(tmp_path, attributes, window):
    scan = read(save(image(DEEP, **attributes), tmp_path / "scan.dcm"))
    assert scan.window == window
    assert np.array_equal(scan.pixels, DEEP)


def test_the_range_of_a_display_table_is_the_window(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [256, 100, 8]
    table.LUTData = bytes(256)
    table["LUTData"].VR = "OW"
    assert read(save(image(DEEP, VOILUTSequence=[table]), tmp_path / "scan.dcm")).window == (100, 355)


def test_colour(tmp_path):
    rgb = RANDOM.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path = save(image(rgb), tmp_path / "scan.dcm")
    scan = read(path)
    assert np.abs(scan.pixels - np.array(Image.fromarray(rgb).convert("L"))).max() <= 1, "Pillow rounds in fixed point"
    assert scan.notes == ("Colour was turned to grey.",)
    assert np.array_equal(read(path, colour=True).pixels, rgb)
    grey = read(save(image(np.repeat(rgb[..., :1], 3, axis=-1)), tmp_path / "grey.dcm"))
    assert (np.array_equal(grey.pixels, rgb[..., 0]), grey.notes) == (True, ())
    assert read(save(image(DEEP), tmp_path / "deep.dcm"), colour=True).pixels.shape == (32, 48, 3)


@pytest.mark.parametrize(("bits", "bytes_each"), [(8, 1), (8, 2), (16, 2)])
def test_colours_of_palettes_have_8_bits(tmp_path, bits, bytes_each):
    """Entries of 8 bits may be stored in 16 (PS3.3, C.7.6.3.1.5)."""
    grey = np.arange(0, 96, 6, dtype=np.uint8).reshape(4, 4)
    table = (np.arange(256) * (257 if bits == 16 else 1)).astype(f"<u{bytes_each}").tobytes()
    dataset = image(grey, Modality="US", PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table)
    path = save(dataset, tmp_path / "scan.dcm")
    assert np.array_equal(read(path).pixels, grey)
    assert np.array_equal(read(path, colour=True).pixels, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_of_deep_colours_the_upper_8_bits_are_read(tmp_path, bits):
    rgb = RANDOM.integers(0, 2**bits, (8, 8, 3)).astype(np.uint16)
    path = save(image(rgb, BitsStored=bits, HighBit=bits - 1), tmp_path / "scan.dcm")
    assert np.array_equal(read(path, colour=True).pixels, rgb >> (bits - 8))


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (3, 7), (5, 7), (2, 7), (4, 4), (17, 1)])
def test_frames_of_single_bits_begin_within_bytes(tmp_path, rows, columns):
    frames = RANDOM.integers(0, 2, (17, rows, columns)).astype(np.uint8)
    dataset = image(frames, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=pack_bits(frames.ravel()))
    path = save(dataset, tmp_path / "scan.dcm")
    for i, frame in enumerate(frames):
        assert np.array_equal(read(f"{path}#{i}").pixels, frame)
    dataset.PixelData = dataset.PixelData[:-2]
    with pytest.raises(LiquidLensError, match="damaged"):
        read(f"{save(dataset, path)}#0")


def test_pixel_spacing_or_that_of_the_detector(tmp_path):
    dataset = image(DEEP, ImagerPixelSpacing=[0.2, 0.1])
    assert read(save(dataset, tmp_path / "scan.dcm")).spacing == (0.2, 0.1)
    dataset.PixelSpacing = [0.4, 0.3]
    assert read(save(dataset, tmp_path / "scan.dcm")).spacing == (0.4, 0.3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"PixelData": None}, "holds no pixels"),
        ({"Rows": None}, r"holds no image \(DX\)"),
        ({"PixelData": bytes(100)}, "not a readable DICOM file"),
        ({"PixelData": b""}, "holds no pixels"),
        ({"Modality": "RTDOSE"}, "radiation dose"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation"),
        ({"BitsAllocated": 12}, "not a readable DICOM file"),
        ({"Rows": 60_000, "Columns": 60_000}, "over the budget of 536,870,912; raise 'pixels'"),
        ({"NumberOfFrames": 10_000}, "over the budget of 2,048; raise 'slices'"),
    ],
)
def test_files_that_are_no_image(tmp_path, change, sentence):
    dataset = image(DEEP)
    for name, value in change.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    with pytest.raises(LiquidLensError, match=rf"scan\.dcm: .*{sentence}") as caught:
        read(save(dataset, tmp_path / "scan.dcm"))
    assert "\n" not in str(caught.value)


BLANK_TABLE = Dataset()
BLANK_TABLE.add_new("LUTDescriptor", "US", None)
BLANK_TABLE.add_new("ModalityLUTType", "LO", "")
BLANK_TABLE.add_new("LUTData", "OW", None)


@pytest.mark.parametrize(
    ("attributes", "right"),
    [
        ({"RescaleSlope": None, "RescaleIntercept": None}, DEEP),
        ({"RescaleSlope": None, "RescaleIntercept": -1024}, DEEP - 1024.0),
        ({"RescaleSlope": 2, "RescaleIntercept": None}, DEEP * 2.0),
        ({"ModalityLUTSequence": [BLANK_TABLE], "RescaleSlope": 1, "RescaleIntercept": -1024}, DEEP - 1024.0),
        ({"ModalityLUTSequence": [BLANK_TABLE], "RescaleSlope": None, "RescaleIntercept": None}, DEEP),
        ({"ModalityLUTSequence": [], "RescaleSlope": 1, "RescaleIntercept": -1024}, DEEP - 1024.0),
        ({"ModalityLUTSequence": [Dataset()]}, DEEP),
        ({"HighBit": None}, DEEP),
        ({"NumberOfFrames": None}, DEEP),
        ({"PixelSpacing": None, "RescaleType": None, "WindowCenter": None, "WindowWidth": None}, DEEP),
    ],
)
def test_what_is_left_blank_has_its_default(tmp_path, attributes, right):
    scan = read(save(image(DEEP, Modality="CT", **attributes), tmp_path / "scan.dcm"))
    assert np.array_equal(scan.pixels, right)
    assert (scan.units == "HU") == all(attributes.get(f"Rescale{name}") for name in ("Slope", "Intercept"))


def test_a_blank_function_of_the_window_is_linear(tmp_path):
    dataset = image(DEEP, WindowCenter=40, WindowWidth=400, VOILUTFunction="")
    assert read(save(dataset, tmp_path / "scan.dcm")).window == (-160, 239)


@pytest.mark.parametrize("told", [None, 1, 2])
@pytest.mark.parametrize("stored", ["plain", "bits", "fractions", "RLE", "JPEG-LS", "JPEG 2000", "table"])
def test_more_frames_than_the_header_says_are_refused(tmp_path, stored, told):
    frames = np.stack([DEEP, DEEP // 2, DEEP // 3])
    dataset = image(frames)
    if stored == "bits":
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
        dataset.PixelData = np.packbits(frames & 1, bitorder="little").tobytes()
    elif stored == "fractions":
        dataset.FloatPixelData = frames.astype("<f4").tobytes()
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit
        dataset.BitsAllocated = 32
    elif stored == "table":  # of offsets: two fragments for each frame, which do not begin as images do
        parts = [bytes(10) for _ in frames]
        dataset.PixelData = encapsulate(parts, has_bot=True)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    elif stored != "plain":
        syntaxes = {"RLE": uid.RLELossless, "JPEG-LS": uid.JPEGLSLossless, "JPEG 2000": uid.JPEG2000Lossless}
        compress(dataset, syntaxes[stored])
    dataset.NumberOfFrames = told
    with pytest.raises(
        LiquidLensError, match=f"its pixels are those of 3 images, and its header speaks of {told or 1}"
    ):
        read(f"{save(dataset, tmp_path / 'scan.dcm')}{'#0' if told == 2 else ''}")


@pytest.mark.parametrize("pieces", [1, 3])
def test_one_frame_in_several_fragments_is_one(tmp_path, pieces):
    dataset = image(DEEP)
    compress(dataset, uid.JPEG2000Lossless)
    frame = get_frame(dataset.PixelData, 0)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=pieces, has_bot=False)
    assert np.array_equal(read(save(dataset, tmp_path / "scan.dcm")).pixels, DEEP)


@pytest.mark.parametrize("stray", range(4))
@pytest.mark.parametrize("pixels", [DEEP, SHALLOW])
def test_jpeg_ls_with_stray_bytes_in_front_of_its_end(tmp_path, pixels, stray):
    """NEMA's WG04 MR1_JLSL has one; GDCM reads it."""
    dataset = compressed(pixels, uid.JPEGLSLossless)
    frame = get_frame(dataset.PixelData, 0)
    at = frame.rindex(b"\xff\xd9")
    dataset.PixelData = encapsulate([frame[:at] + bytes(stray) + frame[at : at + 2]])
    path = save(dataset, tmp_path / "scan.dcm")
    for reader in (read, read_safely):
        assert np.array_equal(reader(path).pixels, pixels)
    several = compressed(np.stack([pixels, pixels // 2]), uid.JPEGLSLossless)
    frames = [get_frame(several.PixelData, i, number_of_frames=2) for i in range(2)]
    several.PixelData = encapsulate([f[: f.rindex(b"\xff\xd9")] + bytes(stray) + b"\xff\xd9" for f in frames])
    save(several, path)
    assert np.array_equal(read(f"{path}#1").pixels, pixels // 2)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.JPEGLSLossless, uid.JPEGBaseline8Bit])
def test_a_frame_larger_than_its_image_is_not_decoded(tmp_path, syntax, monkeypatch):
    frame = io.BytesIO()
    if syntax == uid.JPEGLSLossless:
        frame.write(get_frame(compressed(np.zeros((600, 700), np.uint8), syntax).PixelData, 0))
    elif syntax == uid.JPEGBaseline8Bit:
        whole = io.BytesIO()
        Image.new("L", (700, 600)).save(whole, "JPEG")
        # Markers that stand alone and stray bytes, which decoders skip.
        frame.write(whole.getvalue()[:2] + b"\xff\xd0\0x\xff\xff\x01" + whole.getvalue()[2:])
    else:
        frame.write(encode_array(np.zeros((600, 700), np.uint8)))
    monkeypatch.setattr("liquidlens.imaging.formats.dicom_pixels.pixel_array", lambda *_, **__: pytest.fail("decoded"))
    path = save(encapsulated(SHALLOW, syntax, frame.getvalue()), tmp_path / "scan.dcm")
    with pytest.raises(LiquidLensError, match="a compressed frame is far larger than the image"):
        read(path)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.JPEGLSLossless, uid.JPEGBaseline8Bit])
@pytest.mark.parametrize(("rows", "columns"), [(48, 32), (16, 96)])
def test_a_frame_of_other_rows_and_columns_is_not_scrambled(tmp_path, syntax, rows, columns):
    """Of as many pixels as the header says."""
    frame = io.BytesIO()
    if syntax == uid.JPEGLSLossless:
        frame.write(get_frame(compressed(SHALLOW, syntax).PixelData, 0))
    elif syntax == uid.JPEGBaseline8Bit:
        Image.fromarray(SHALLOW).save(frame, "JPEG")
    else:
        frame.write(encode_array(SHALLOW))
    dataset = encapsulated(SHALLOW, syntax, frame.getvalue())
    assert read(save(dataset, tmp_path / "scan.dcm")).pixels.shape == (32, 48)
    dataset.Rows, dataset.Columns = rows, columns
    with pytest.raises(
        LiquidLensError, match=f"of 32 x 48 x 1 numbers, and the header speaks of {rows} x {columns} x 1;"
    ):
        read(save(dataset, tmp_path / "scan.dcm"))


def test_every_cut_of_a_file_is_answered_with_a_sentence(tmp_path):
    whole = save(series(phantom())[0], tmp_path / "whole.dcm").read_bytes()
    for kept in range(0, len(whole), 13):
        (tmp_path / "cut.dcm").write_bytes(whole[:kept])
        with pytest.raises(LiquidLensError, match=r"cut\.dcm: "):
            read(tmp_path / "cut.dcm")


def test_no_attribute_of_the_patient_leaves_the_reader(tmp_path, recwarn, caplog, capfd):
    """Neither from a whole file nor from one that has the name where numbers, dates and codes belong."""
    numbers = {"RescaleIntercept": "-1024.0000", "WindowCenter": "40.0000000", "SeriesNumber": "1234567890"}
    slices = series(phantom(), StudyDate="20200101")
    for name, text in numbers.items():
        for dataset in slices:
            setattr(dataset, name, text)
    content = save(slices[0], tmp_path / "whole.dcm").read_bytes()
    said = [read(tmp_path / "whole.dcm")]
    places = (*(text.encode() for text in numbers.values()), b"20200101", b"CT", b"HU", b"0.8\\0.6", b"MONOCHROME2 ")
    errors = 0
    for place in places:
        assert place in content
        (tmp_path / "evil.dcm").write_bytes(content.replace(place, b"LEAK^PATIENT"[: len(place)]))
        for source in (tmp_path / "evil.dcm", save_series(slices, tmp_path / "ct").parent):
            try:
                said.append(read(source))
            except LiquidLensError as error:
                errors += 1
                said += traceback.format_exception(error)
    assert errors >= 4
    heard = [*map(repr, said), *(str(w.message) for w in recwarn), caplog.text, *capfd.readouterr()]
    assert not [text for text in heard if "LEAK" in text]
