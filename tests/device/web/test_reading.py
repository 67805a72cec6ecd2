"""What the page reads of a file is what `imaging.read` reads: pixels, geometry, notes.

What the one refuses the other does, but for the differences that docs/web.md lists, which are tested here as well.
"""

import gzip
import io
import os
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from imagecodecs import png_encode
from PIL import Image

from liquidlens.imaging import Scan
from tests.attacks.attack import SECRET, Refused, corpus
from tests.device.web.conftest import read_in_browser
from tests.device.web.reading import assert_same, assert_same_file, python
from tests.imaging.dicoms import enhanced, image, phantom, report, save, save_series, series

PYDICOM = Path(pydicom.__file__).parent / "data"
NIBABEL = Path(nibabel.__file__).parent
LARGEST = 16 * 2**20
PNG = b"\x89PNG\r\n\x1a\n" + bytes(99)
#: Attacks that sit in parts of a file that the page skips: it reads the rest.
SKIPPED = re.compile(r"NIfTI: an extension of|PNG with .*(text|colour profile)|zip: a link")
#: All of them take a minute: by default it is every fourth, with LIQUIDLENS_ATTACKS=all each.
ATTACKS = list(corpus("scan", "trusted"))[:: 1 if os.environ.get("LIQUIDLENS_ATTACKS") == "all" else 4]


@pytest.mark.parametrize(("folder", "most"), [(PYDICOM, 80), (NIBABEL, 5)], ids=["pydicom", "nibabel"])
def test_every_packaged_file_is_read_or_refused_as_in_python(reader, folder, most):
    files = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".py", ".pyc", ".json")
    ]
    both = 0
    for path in files:
        if path.stat().st_size <= LARGEST:
            try:
                both += assert_same_file(reader, path)
            except AssertionError as error:
                raise AssertionError(f"{path}: {error}") from error
    assert both >= most


def test_every_real_sample_is_read_or_refused_as_in_python(reader, data_root):
    samples = [path for path in sorted((data_root / "samples").rglob("*")) if path.is_file()]
    if not samples:
        pytest.skip(f"needs {data_root / 'samples'}")
    assert sum(assert_same_file(reader, path) for path in samples) >= 10


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_ends_in_one_line_that_tells_nothing_of_the_patient(reader, tmp_path, attack):
    """The corpus of hostile files, those that are one file: what Python refuses the page does not read either."""
    made = attack.make(tmp_path)
    name, _, selection = str(made).partition("#")
    path = Path(name)
    if not path.is_file() or path.stat().st_size > LARGEST:
        pytest.skip("no file that a page would be given here")
    found = read_in_browser(reader, {path.name: path.read_bytes()}, selection=selection)
    if isinstance(attack.ends, Refused) and not SKIPPED.search(attack.name):
        assert isinstance(found, str), "only the page reads it"
    if isinstance(found, str):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", found)
        assert SECRET not in found


NIFTI_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "i8", "u8")


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("second", [False, True], ids=["NIfTI-1", "NIfTI-2"])
def test_nifti_of_every_type_order_and_direction(reader, tmp_path, axes, second):
    rng = np.random.default_rng(0)
    image_class = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    for number, kind in enumerate(NIFTI_TYPES):
        pixels = rng.integers(0, 100, (3, 4, 5)).astype(kind)
        affine = np.eye(4)
        affine[:3, :3] = np.diag([0.7, -1.3, 2.0])[:, axes] * rng.choice([-1, 1], 3)
        affine[:3, :3] += rng.normal(0, 0.02 * (number % 3), (3, 3))  # some are oblique
        affine[:3, 3] = [-10, 20, 30]
        image = image_class(pixels, affine, dtype=kind)
        image.header.set_slope_inter(*((2.5, -10.25) if number % 2 else (1, 0)))
        image.header["cal_min"], image.header["cal_max"] = (5, 50) if number % 4 == 0 else (0, 0)
        image.set_sform(affine, code=number % 3)
        image.set_qform(affine, code=(number + 1) % 3)
        image.header.set_xyzt_units("meter" if number == 7 else "mm")
        path = tmp_path / f"{kind}.nii{'.gz' * (number % 2)}"
        image.to_filename(path)
        assert_same_file(reader, path)


def test_nifti_of_colours_and_of_several_volumes(reader, tmp_path):
    rng = np.random.default_rng(0)
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name in "RGB":
        colours[name] = rng.integers(0, 256, (3, 4, 5))
    path = tmp_path / "colours.nii"
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), path)
    # One in ten thousand is half-way between two numbers, and rounded by NumPy as its matrix product is ordered.
    assert_same(read_in_browser(reader, {path.name: path.read_bytes()}), python(path), tolerance=1)
    path = tmp_path / "two.nii.gz"
    nibabel.save(nibabel.Nifti1Image(rng.random((3, 4, 5, 2)).astype(np.float32), np.eye(4)), path)
    assert_same_file(reader, path)
    for item in ("0", "1", "2", "x"):
        found = read_in_browser(reader, {path.name: path.read_bytes()}, selection=item)
        assert_same(found, python(f"{path}#{item}"))


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<u2", ">i2", "<i4", ">u4", "<i8", "<f2", ">f4", "<f8", "c8", "U3"])
def test_npy_of_every_type(reader, tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 120, (3, 4, 5))
    for order in "CF":
        path = tmp_path / f"{order}.npy"
        np.save(path, np.asarray(values.astype(dtype), order=order))
        assert_same_file(reader, path)
        assert_same(read_in_browser(reader, {path.name: path.read_bytes()}, selection="2"), python(f"{path}#2"))
    for name, shape in {"stack": (2, 3, 4, 5), "line": (7,), "empty": (0, 3)}.items():
        path = tmp_path / f"{name}.npy"
        np.save(path, np.zeros(shape))
        assert_same_file(reader, path)
    np.save(tmp_path / "nan.npy", np.array([[1, np.nan]]))
    assert_same_file(reader, tmp_path / "nan.npy")


def test_png_of_every_mode(reader, tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (11, 13), np.uint8)
    colour = rng.integers(0, 256, (11, 13, 4), np.uint8)
    palette = Image.fromarray(colour[..., :3]).quantize(13)
    clear = Image.fromarray(grey)
    clear.info["transparency"] = int(grey[0, 0])
    images = {
        "1": Image.fromarray(grey > 99),
        "L": Image.fromarray(grey),
        "deep": Image.fromarray(rng.integers(0, 65536, (11, 13), np.uint16)),
        "LA": Image.fromarray(colour[..., :2], "LA"),
        "RGB": Image.fromarray(colour[..., :3]),
        "RGBA": Image.fromarray(colour),
        "opaque": Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])),
        "P": palette,
        "clear": clear,
    }
    for name, picture in images.items():
        for bits in (None, 1, 2, 4) if name == "P" else (None,):
            path = tmp_path / f"{name}{bits or ''}.png"
            small = palette.quantize(2**bits) if bits else picture
            small.save(path, **({"bits": bits} if bits else {}), **picture.info)
            assert_same_file(reader, path)
            found = read_in_browser(reader, {path.name: path.read_bytes()}, colour=True)
            assert_same(found, python(path, colour=True))


def test_jpeg_grey_coloured_and_turned(reader, tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((90, 60), Image.Resampling.BICUBIC)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        path = tmp_path / f"turned{turn}.jpg"
        picture.convert("L").save(path, exif=exif)
        assert_same_file(reader, path)
    for subsampling in (0, 1, 2):
        path = tmp_path / f"colour{subsampling}.jpg"
        picture.save(path, subsampling=subsampling, progressive=subsampling == 1)
        assert_same(read_in_browser(reader, {path.name: path.read_bytes()}), python(path), tolerance=2)
    for ending in ("bmp", "tiff"):
        path = tmp_path / f"other.{ending}"
        picture.save(path)
        assert "this page reads PNG and JPEG" in str(read_in_browser(reader, {path.name: path.read_bytes()}))


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_deep_png_with_transparency_keeps_its_numbers_and_of_several_pages_is_refused(reader, tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (11, 13, 2), np.uint16)
    (tmp_path / "deep.png").write_bytes(png_encode(deep))
    assert_same_file(reader, tmp_path / "deep.png")
    pages = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 20)]
    pages[0].save(tmp_path / "pages.png", save_all=True, append_images=pages[1:])
    assert "several pages" in read_in_browser(reader, {"pages.png": (tmp_path / "pages.png").read_bytes()})
    assert "an image of 2 pages" in python(tmp_path / "pages.png")


@pytest.mark.parametrize(("bits", "each"), [(8, 1), (8, 2), (16, 2)])
def test_colours_have_8_bits(reader, tmp_path, bits, each):
    rng = np.random.default_rng(0)
    dataset = image(rng.integers(0, 256, (6, 7), np.uint8), Modality="US", PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        table = rng.integers(0, 2**bits, 256).astype(f"<u{each}").tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table)
    assert_same_file(reader, save(dataset, tmp_path / "palette.dcm"))
    rgb = rng.integers(0, 2**bits, (6, 7, 3)).astype(np.uint16)
    assert_same_file(reader, save(image(rgb, BitsStored=bits, HighBit=bits - 1), tmp_path / "rgb.dcm"))


def test_inverted_slices_with_rescalings_of_their_own_are_inverted_alike(reader, tmp_path):
    slices = series(phantom(), PhotometricInterpretation="MONOCHROME1", WindowCenter=100, WindowWidth=50)
    for at, dataset in enumerate(slices):
        dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "MR", 1 + at % 3, 0
    folder = save_series(slices, tmp_path / "mr")
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert_same(read_in_browser(reader, files), python(folder))


def test_an_impossible_qform_does_not_matter_beside_an_sform(reader, tmp_path):
    scan = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2, 3, 4, 1]))
    scan.set_sform(scan.affine, 1)
    scan.set_qform(scan.affine, 1)
    whole = bytearray(scan.to_bytes())
    struct.pack_into("<f", whole, 256, 2.0)  # quatern_b
    (tmp_path / "scan.nii").write_bytes(whole)
    assert_same_file(reader, tmp_path / "scan.nii")
    assert "qform is impossible" in python(tmp_path / "scan.nii").notes[0]


def test_series_as_files_and_as_an_archive(reader, tmp_path):
    """pydicom's study of three patients, in every way that a person can give it."""
    study = PYDICOM / "test_files" / "dicomdirtests"
    for folder, items in {study / "98892001" / "CT5N": ("",), study / "98892001": ("", "0", "1", "2")}.items():
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        archive = tmp_path / f"{folder.name}.zip"
        archive.write_bytes(packed(files))
        for item in items:
            selection = f"#{item}" if item else ""
            assert_same(read_in_browser(reader, files, selection=item), python(f"{folder}{selection}"))
            found = read_in_browser(reader, {archive.name: archive.read_bytes()}, selection=item)
            assert_same(found, python(f"{archive}{selection}"))


def test_stacks_that_are_not_even_are_refused_with_the_same_sentence(reader, tmp_path):
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16)

    def without(slices, at):
        return [one for i, one in enumerate(slices) if i != at]

    def moved(slices, at, by):
        slices[at].ImagePositionPatient = [a + b for a, b in zip(slices[at].ImagePositionPatient, by, strict=True)]
        return slices

    cases = {
        "whole": series(volume),
        "missing": without(series(volume), 1),
        "uneven": moved(series(volume), 1, (0, 0, 0.4)),
        "duplicate": moved(series(volume), 1, (0, 0, -2.5)),
        "tilted": [moved([one], 0, (0, 2.0 * i, 0))[0] for i, one in enumerate(series(volume))],
    }
    for orientation in ((0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)):
        cases["-".join(map(str, orientation))] = series(volume, orientation)
    for name, slices in cases.items():
        folder = save_series(slices, tmp_path / name)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        found, expected = read_in_browser(reader, files), python(folder)
        assert_same(found, expected)
        if isinstance(expected, str):
            assert str(found).removeprefix("the files: ") == expected.removeprefix(f"{folder}: ")


def assert_same_refusal(found: dict | str, expected: Scan | str, part: str) -> None:
    """Both refuse it, with the same sentence behind the names."""
    assert isinstance(expected, str), expected
    assert isinstance(found, str), found
    assert part in expected
    assert found[found.index(part) :] == expected[expected.index(part) :]


@pytest.mark.parametrize("ending", ["", ".dcm", ".IMA"])
@pytest.mark.parametrize("damage", ["zeros", "cut", "page", "size", "picture"])
def test_a_slice_that_is_damaged_is_told(reader, tmp_path, damage, ending):
    slices = series(phantom())
    if damage == "size":
        del slices[3].Rows
    for i, dataset in enumerate(slices):
        save(dataset, tmp_path / f"CT{i:03d}{ending}")
    last = tmp_path / f"CT003{ending}"
    whole = last.read_bytes()
    changed = {"zeros": bytes(len(whole)), "cut": whole[:500], "page": b"<html>404</html>", "picture": PNG}
    last.write_bytes(changed.get(damage, whole))
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for selection in ("", "0"):
        found = read_in_browser(reader, content, selection=selection)
        expected = python(f"{tmp_path}#{selection}" if selection else tmp_path)
        assert isinstance(expected, str), expected
        assert last.name in str(found)


def test_every_seventh_cut_of_the_last_slice_is_told(reader, tmp_path):
    content = {f"CT{i:03d}.dcm": save(d, tmp_path / "a.dcm").read_bytes() for i, d in enumerate(series(phantom()))}
    for kept in range(0, len(content["CT003.dcm"]), 7):
        found = read_in_browser(reader, content | {"CT003.dcm": content["CT003.dcm"][:kept]})
        assert "CT003.dcm" in str(found), kept


def test_junk_beside_a_series_is_left_out_with_the_same_note(reader, tmp_path):
    save_series(series(phantom()), tmp_path)
    own = report()
    own.SOPClassUID = "1.3.12.2.1107.5.9.1"
    for name, dataset in (("SR001", report()), ("RAW1", own)):
        save(dataset, tmp_path / name)
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\0")
    (tmp_path / "README").write_text("Study of 2020")
    found = read_in_browser(reader, {path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert_same(found, python(tmp_path))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"PixelSpacing": None}, "slices without position"),
        ({"ImagePositionPatient": None}, "slices without position"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "a mosaic of Siemens"),
        ({"SOPInstanceUID": "1.2.3"}, "copied slices"),
        ({"PixelData": bytes(120)}, "its pixels are those of 2 images"),
    ],
)
def test_odd_slices_are_refused_with_the_same_sentence(reader, tmp_path, change, part):
    slices = series(phantom())
    for at in (1, 2):
        for name, value in change.items():
            setattr(slices[at], name, value)
    save_series(slices, tmp_path)
    found = read_in_browser(reader, {path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert_same_refusal(found, python(tmp_path), part)


BLANK_TABLE = pydicom.Dataset()


@pytest.mark.parametrize(
    "attributes",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": -1024},
        {"RescaleSlope": 2, "RescaleIntercept": None},
        {"ModalityLUTSequence": [BLANK_TABLE], "RescaleSlope": 1, "RescaleIntercept": -1024},
        {"HighBit": None, "NumberOfFrames": None, "PixelSpacing": None},
        {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": ""},
        {"PixelData": b""},
        {"NumberOfFrames": 2, "PixelData": bytes(2 * 3 * 60)},
    ],
)
def test_blank_attributes_and_frames_that_are_not_told(reader, tmp_path, attributes):
    path = save(image(phantom()[0].astype(np.uint16), Modality="CT", **attributes), tmp_path / "scan.dcm")
    assert_same_file(reader, path)


@pytest.mark.parametrize("share", [0.4, 0.6])
@pytest.mark.parametrize(("axis", "against"), [(2, 0), (2, 1), (0, 1), (1, 0)])
def test_sheared_nifti_volumes_are_judged_alike(reader, tmp_path, axis, against, share):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[against, axis] = share / ((8, 9, 10)[axis] - 1)
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 9, 10), np.int16), affine), tmp_path / "scan.nii")
    assert assert_same_file(reader, tmp_path / "scan.nii") == (share < 0.5)


def test_odd_nifti_files_are_judged_alike(reader, tmp_path):
    whole = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5, 1, 1), np.eye(4)).to_bytes()
    (tmp_path / "axes.nii").write_bytes(whole)
    assert assert_same_file(reader, tmp_path / "axes.nii")
    for name, content, part in (
        ("offset.nii", whole[:108] + bytes(4) + whole[112:], "the voxels begin within the header (vox_offset 0"),
        ("joined.nii.gz", gzip.compress(whole) + b"more", "behind the end of what gzip packed"),
    ):
        (tmp_path / name).write_bytes(content)
        assert_same_refusal(read_in_browser(reader, {name: content}), python(tmp_path / name), part)


def test_deep_images_that_use_few_bits_have_the_same_note(reader, tmp_path):
    for largest in (255, 256, 4095, 4096):
        Image.fromarray(np.linspace(0, largest, 48).reshape(6, 8).astype(np.uint16)).save(tmp_path / "scan.png")
        assert assert_same_file(reader, tmp_path / "scan.png")


def test_frames_that_lie_in_the_patient_are_a_volume(reader, tmp_path):
    path = save(enhanced(phantom(), [2, 0, 3, 1]), tmp_path / "enhanced.dcm")
    assert assert_same_file(reader, path)
    assert_same(read_in_browser(reader, {path.name: path.read_bytes()}, selection="3"), python(f"{path}#3"))


def test_archives_that_are_encrypted_or_have_one_name_twice_are_refused(reader, tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros((3, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            for _ in range(2):
                archive.writestr("scan.npy", content.getvalue())
    found = read_in_browser(reader, {"twice.zip": (tmp_path / "twice.zip").read_bytes()})
    assert "the archive has two members of the name 'scan.npy'" in found
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("scan.npy", content.getvalue())
    locked = bytearray((tmp_path / "locked.zip").read_bytes())
    locked[6] |= 1  # the flag of an encrypted member
    locked[locked.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    found = read_in_browser(reader, {"locked.zip": bytes(locked)})
    assert found.endswith("the archive is encrypted; unpack it first.")
    assert str(python(tmp_path / "locked.zip")).endswith("the archive is encrypted; unpack it first.")


def test_archives_of_arrays(reader, tmp_path):
    path = tmp_path / "many.npz"
    np.savez_compressed(path, images=np.arange(60.0).reshape(3, 4, 5), labels=np.arange(3))
    for item in ("", "images", "images/1", "images/3", "labels", "nothing"):
        selection = f"#{item}" if item else ""
        found = read_in_browser(reader, {path.name: path.read_bytes()}, selection=item)
        assert_same(found, python(f"{path}{selection}"))


def test_a_file_that_unpacks_to_too_much_is_refused(reader, tmp_path):
    path = tmp_path / "bomb.nii.gz"
    header = nibabel.Nifti1Header()
    header.set_data_shape((1024, 1024, 100))
    header.set_data_dtype(np.uint8)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(100):
            file.write(bytes(2**20))
    found = read_in_browser(reader, {path.name: path.read_bytes()})
    assert "times the packed size are over this page's budget" in str(found)
    assert isinstance(python(path), str)


def test_an_archive_that_names_the_same_bytes_many_times_is_refused(reader):
    """Stored, not packed, and declared to unpack to nothing."""
    content = bytes(2**20)
    name = b"0.dcm"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, len(content), 0, len(name), 0) + name + content
    entries = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, len(content), 0, len(name), 0, 0, 0, 0, 0, 0)
        + b"%05d" % number
        for number in range(1100)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1100, 1100, len(entries), len(local), 0)
    found = read_in_browser(reader, {"many.zip": local + entries + end})
    assert "unpacked bytes are over this page's budget" in str(found)


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_png_has_one_header_and_it_comes_first(reader):
    small, large = (struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0) for side in (2, 20_000))
    pixels, end = chunk(b"IDAT", zlib.compress(bytes(6))), chunk(b"IEND", b"")
    header = chunk(b"IHDR", small)
    whole = b"\x89PNG\r\n\x1a\n"
    assert not isinstance(read_in_browser(reader, {"fine.png": whole + header + pixels + end}), str)
    for parts in (
        header + chunk(b"IHDR", large) + pixels + end,
        chunk(b"tEXt", small) + chunk(b"IHDR", large) + pixels + end,
        chunk(b"IHDR", small + b"\0") + pixels + end,
    ):
        assert "it has no one header" in str(read_in_browser(reader, {"bad.png": whole + parts}))


def test_what_the_page_alone_refuses_or_rounds(reader, tmp_path):
    """Where docs/web.md says so, and nothing else of this suite comes by."""
    interlaced = struct.pack(">2I5B", 1, 1, 1, 0, 0, 0, 1)
    parts = chunk(b"IHDR", interlaced) + chunk(b"IDAT", zlib.compress(bytes(2))) + chunk(b"IEND", b"")
    volume = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)).to_bytes()
    for name, content, sentence in (
        ("adam7.png", b"\x89PNG\r\n\x1a\n" + parts, "interlaced"),
        (
            "members.nii.gz",
            gzip.compress(volume[:200]) + gzip.compress(volume[200:]),
            "behind the end of what gzip packed",
        ),
    ):
        (tmp_path / name).write_bytes(content)
        assert not isinstance(python(tmp_path / name), str), name
        found = read_in_browser(reader, {name: content})
        assert isinstance(found, str), name
        assert sentence in found
    buffer = io.BytesIO()
    np.save(buffer, np.full((2, 2), 2**60 + 2**36 + 1))
    assert (read_in_browser(reader, {"large.npy": buffer.getvalue()})["pixels"] == 2.0**60).all()
    (tmp_path / "large.npy").write_bytes(buffer.getvalue())
    assert (python(tmp_path / "large.npy").pixels == 2.0**60 + 2.0**37).all()


def test_a_jpeg_says_how_large_it_is_before_it_is_decoded(reader):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, "JPEG")
    whole = buffer.getvalue()
    frame = whole.index(b"\xff\xc0")
    filled = whole[:frame] + b"\xff\xff\xff" + whole[frame:]
    assert read_in_browser(reader, {"filled.jpg": filled})["shape"] == [8, 8]
    for bytes_between in (b"", b"\xff\xff", b"\xff\xd0"):
        claimed = whole[frame : frame + 5] + b"\xff\xff\xff\xff" + whole[frame + 9 :]
        found = read_in_browser(reader, {"large.jpg": whole[:frame] + bytes_between + claimed})
        assert "pixels are over this page's budget" in str(found)
    found = read_in_browser(reader, {"none.jpg": whole[:frame] + whole[frame + 19 :]})
    assert "how large the image is" in str(found)


def test_floats_beyond_their_element_and_packed_pixels_of_odd_widths_are_refused(reader, tmp_path):
    one = series(phantom())[0]
    del one.PixelData
    one.FloatPixelData = np.zeros(one.Rows * one.Columns, np.float32).tobytes()
    one.BitsAllocated = 32
    whole = save(one, tmp_path / "whole.dcm").read_bytes()
    one.FloatPixelData = one.FloatPixelData[:-4]
    one.add_new(0x7FE00009, "OD", bytes(64))
    short = save(one, tmp_path / "short.dcm").read_bytes()
    assert not isinstance(read_in_browser(reader, {"whole.dcm": whole}), str)
    assert isinstance(read_in_browser(reader, {"short.dcm": short}), str)

    packed_file = pydicom.dcmread(PYDICOM / "test_files" / "MR_small_RLE.dcm")
    packed_file.BitsAllocated = 64
    packed_file.save_as(tmp_path / "odd.dcm")
    found = read_in_browser(reader, {"odd.dcm": (tmp_path / "odd.dcm").read_bytes()})
    assert "pixels of 64 bits cannot be read here" in str(found)


def test_a_series_that_unpacks_to_too_much_is_refused(reader, tmp_path):
    """Each of its files alone is within the budget."""
    file = pydicom.dcmread(PYDICOM / "test_files" / "MR_small.dcm")
    file.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    noise = np.random.default_rng(0).bytes(2**20)  # for a ratio within the budget as well
    file.add_new(0x00091010, "OB", noise + bytes(300 * 2**20))
    file.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    content = (tmp_path / "one.dcm").read_bytes()
    found = read_in_browser(reader, {f"{number}.dcm": content for number in range(4)})
    assert "bytes are over this page's budget" in str(found)
