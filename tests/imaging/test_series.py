"""DICOM series: order, orientation, archives; and the stacks that are refused, by name."""

import io
import re
import zipfile

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom import uid
from pydicom.dataelem import RawDataElement

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Budget, read
from tests.imaging.dicoms import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    SPACING,
    enhanced,
    image,
    phantom,
    report,
    save,
    save_series,
    series,
)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL])
def test_a_series_of_any_orientation_is_the_same_volume(tmp_path, orientation):
    scan = read(save_series(series(phantom(), orientation), tmp_path / "ct"))
    assert np.array_equal(scan.pixels, phantom())
    assert scan.spacing == pytest.approx(SPACING)
    assert (scan.modality, scan.units, scan.oriented, scan.notes) == ("CT", "HU", True, ())


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL])
def test_simpleitk_reads_the_same_volume(tmp_path, orientation):
    folder = save_series(series(phantom(), orientation), tmp_path / "ct")
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    theirs = SimpleITK.DICOMOrient(SimpleITK.ReadImage(files), "LPS")
    ours = read(folder)
    assert np.array_equal(ours.pixels, SimpleITK.GetArrayFromImage(theirs))
    assert ours.spacing == pytest.approx(theirs.GetSpacing()[::-1])
    for place in ((0, 0, 0), (2.5, 1, 3)):
        there = theirs.TransformContinuousIndexToPhysicalPoint(place[::-1])
        assert ours.voxel_at(there) == pytest.approx(place, abs=1e-4)


def test_names_do_not_order_a_series(tmp_path):
    slices = series(phantom())
    for i, dataset in enumerate(slices):
        dataset.InstanceNumber = [3, 1, 4, 2][i]
    assert np.array_equal(read(save_series(slices, tmp_path / "ct", [2, 0, 3, 1])).pixels, phantom())


def test_an_oblique_series_goes_to_the_nearest_axes(tmp_path):
    """Turned by 20 degrees around the patient's long axis."""
    turn = np.array([[np.cos(0.349), -np.sin(0.349), 0], [np.sin(0.349), np.cos(0.349), 0], [0, 0, 1]])
    slices = series(phantom())
    for dataset in slices:
        dataset.ImageOrientationPatient = [f"{x:.6f}" for x in np.concatenate([turn[:, 0], turn[:, 1]])]
    scan = read(save_series(slices, tmp_path / "ct"))
    assert np.array_equal(scan.pixels, phantom())
    assert scan.notes == ("The volume lies 20 degrees off the patient's axes; its sides are the nearest ones.",)


def test_a_file_of_many_frames_is_ordered_by_position(tmp_path):
    path = save(enhanced(phantom(), [2, 0, 3, 1]), tmp_path / "enhanced.dcm")
    scan = read(path)
    assert np.array_equal(scan.pixels, phantom())
    assert scan.spacing == pytest.approx(SPACING)
    assert (scan.units, scan.window, scan.oriented) == ("HU", (-160, 239), True)
    assert np.array_equal(read(f"{path}#1").pixels, phantom()[0])
    assert np.array_equal(read(tmp_path).pixels, phantom())


def test_highdicom_reads_the_same_volume(tmp_path):
    path = save(enhanced(phantom(), [2, 0, 3, 1]), tmp_path / "enhanced.dcm")
    theirs = highdicom.imread(path).get_volume().to_patient_orientation("HPL")
    ours = read(path)
    assert np.array_equal(ours.pixels, theirs.array)
    assert ours.spacing == pytest.approx(theirs.spacing)


def test_frames_without_positions_are_chosen_by_number(tmp_path):
    frames = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    path = save(image(frames), tmp_path / "clip.dcm")
    with pytest.raises(LiquidLensError, match=r"an image of 3 frames .* name one of them, as in clip\.dcm#0"):
        read(path)
    assert np.array_equal(read(f"{path}#2").pixels, frames[2])
    with pytest.raises(LiquidLensError, match="items are 0 to 2"):
        read(f"{path}#3")


def moved(i, *offset):
    def change(slices):
        slices[i].ImagePositionPatient = [a + b for a, b in zip(slices[i].ImagePositionPatient, offset, strict=True)]

    return change


def tilted(slices):
    for i, dataset in enumerate(slices):
        dataset.ImagePositionPatient[1] += i * 0.67  # 15 degrees


def doubled(slices):
    slices.append(series(phantom())[1])


def changed(**attributes):
    def change(slices):
        for name, value in attributes.items():
            setattr(slices[2], name, value)

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda slices: slices.pop(1),
            r"missing slice: between IM\d* and IM\d* the distance is 5\.0 mm instead of 2\.5",
        ),
        (doubled, r"duplicate slices: IM001 and IM004 lie at the same place"),
        (tilted, r"tilted slices: .* \(15\.0 degrees"),
        (moved(3, 0, 0, 0.5), r"uneven slices: between IM002 and IM003 the distance is 3\.0 mm instead of 2\.5"),
        (moved(2, 5, 0, 0), r"tilted slices: .* shifted by up to 5\.0 mm"),
        (changed(ImageOrientationPatient=list(CORONAL)), "mixed slices: IM000 and IM002 differ in orientation"),
        (changed(PixelSpacing=[1, 1]), r"mixed slices: .* differ in pixel spacing \(0\.8 x 0\.6 mm and 1 x 1 mm\)"),
        (changed(Rows=3, PixelData=bytes(36)), r"mixed slices: .* differ in size \(5 x 6 and 3 x 6\)"),
        (changed(Modality="PT"), "mixed slices: IM000 and IM002 differ in modality"),
        (changed(RescaleType="US"), "mixed slices: IM000 and IM002 differ in modality or units"),
        (changed(ImagePositionPatient=None), "slices without position: IM002"),
        (changed(PixelData=b"short!"), "IM002: not a readable DICOM file"),
        (changed(SeriesInstanceUID=uid.generate_uid()), r"2 series: #0 CT, 3 images of 5 x 6; #1 CT, 1 image of 5 x 6"),
    ],
)
def test_stacks_that_are_no_volume(tmp_path, change, sentence):
    slices = series(phantom())
    change(slices)
    with pytest.raises(LiquidLensError, match=f"ct: .*{sentence}"):
        read(save_series(slices, tmp_path / "ct"))


def odd(name, text):
    """A slice with a number that is none, as pydicom itself would not write it."""

    def change(slices):
        tag = pydicom.tag.Tag(name)
        content = text.encode() + b" " * (len(text) % 2)
        raw = RawDataElement(tag, pydicom.datadict.dictionary_VR(tag), len(content), content, 0, False, True)
        slices[2][tag] = raw

    return change


@pytest.mark.parametrize("text", ["0.5", "0,5\\0,5", "x\\y", "nan\\nan", "1e999\\1"])
@pytest.mark.parametrize("name", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_odd_numbers_are_told_of_the_file_that_has_them(tmp_path, name, text):
    text = text if name == "PixelSpacing" else "\\".join([text] * (3 if name.startswith("ImageO") else 2))[:16]
    slices = series(phantom())
    odd(name, text)(slices)
    with pytest.raises(LiquidLensError, match="ct: slices without position: IM002 does not say in numbers"):
        read(save_series(slices, tmp_path / "ct"))
    alone = read(tmp_path / "ct" / "IM002")
    assert alone.pixels.shape == (5, 6)
    assert (alone.spacing is None) == (name == "PixelSpacing")


@pytest.mark.parametrize("name", ["ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient"])
def test_no_number_is_no_missing_slice(tmp_path, name):
    """NaN among otherwise good numbers."""
    slices = series(phantom())
    values = [str(float(value)) for value in slices[2][name].value]
    odd(name, "\\".join([*values[:-1], "nan"]))(slices)
    with pytest.raises(LiquidLensError, match="slices without position: IM002"):
        read(save_series(slices, tmp_path / "ct"))


def test_copies_of_a_slice_are_called_so(tmp_path):
    folder = save_series(series(phantom()), tmp_path / "ct")
    (folder / "IM002 (1)").write_bytes((folder / "IM002").read_bytes())
    with pytest.raises(LiquidLensError, match=r"copied slices: IM002 and IM002 \(1\) are the same image"):
        read(folder)


@pytest.mark.parametrize("number", [1, 4])
def test_mosaics_are_called_so(tmp_path, number):
    slices = series(phantom(), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    folder = save_series(slices[:number], tmp_path / "ct")
    for source in (folder, folder / "IM000"):
        with pytest.raises(LiquidLensError, match="IM000: a mosaic of Siemens"):
            read(source)


def test_inverted_slices_with_rescalings_of_their_own_are_inverted_alike(tmp_path):
    """The same tissue in each slice, stored with other slopes, so that each has another range."""
    tissue = np.array([[0, 100], [200, 1000]])
    stored = np.stack([tissue // slope for slope in (1, 2, 4)]).astype(np.uint16)
    slices = series(stored.astype(np.int16) - 1024, BitsStored=12, HighBit=11, VOILUTFunction="LINEAR_EXACT")
    for dataset, slope in zip(slices, (1, 2, 4), strict=True):
        dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "MR", slope, 0
        dataset.WindowCenter, dataset.WindowWidth = 100, 50
    upright = read(save_series(slices, tmp_path / "upright"))
    assert np.array_equal(upright.pixels, [tissue] * 3)
    for dataset in slices:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    inverted = read(save_series(slices, tmp_path / "inverted"))
    assert np.array_equal(inverted.pixels, 4 * 4095 - upright.pixels), "within the widest of the ranges"
    assert (upright.window, inverted.window) == ((75, 125), (4 * 4095 - 125, 4 * 4095 - 75))


DAMAGES = {
    "zeros": lambda whole: bytes(len(whole)),
    "empty": lambda whole: b"",
    "page": lambda whole: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "pointer": lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 526\n",
    "picture": lambda whole: b"\x89PNG\r\n\x1a\n" + bytes(99),
    "noise": lambda whole: np.random.default_rng(0).bytes(len(whole)),
}


@pytest.mark.parametrize("ending", ["", ".dcm", ".IMA", ".1.2.840.7"])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_first_or_last_slice_is_damaged(tmp_path, damage, at, ending):
    """By what the folder holds, the series would be a slice shorter."""
    folder, packed = tmp_path / "ct", tmp_path / "ct.zip"
    for i, dataset in enumerate(series(phantom())):
        save(dataset, folder / f"CT{i:03d}{ending}")
    damaged = folder / f"CT{at:03d}{ending}"
    damaged.write_bytes(DAMAGES[damage](damaged.read_bytes()))
    pack(packed, {path.name: path.read_bytes() for path in folder.iterdir()})
    for source in (folder, packed, f"{folder}#0", f"{packed}#0"):
        with pytest.raises(LiquidLensError, match=f"{re.escape(str(source))}: {damaged.name}: "):
            read(source)


@pytest.mark.parametrize("ending", ["", ".dcm", ".IMA"])
@pytest.mark.parametrize("at", [0, 3])
def test_a_slice_that_is_a_link_to_nowhere_is_told(tmp_path, at, ending):
    """As git-annex and DataLad leave files that were not fetched."""
    for i, dataset in enumerate(series(phantom())):
        save(dataset, tmp_path / f"CT{i:03d}{ending}")
    missing = tmp_path / f"CT{at:03d}{ending}"
    missing.unlink()
    missing.symlink_to("../.git/annex/objects/7f")
    for source in (tmp_path, f"{tmp_path}#0"):
        with pytest.raises(LiquidLensError, match=f"{re.escape(str(source))}: {missing.name}: "):
            read(source)


@pytest.mark.parametrize("ending", ["", ".dcm"])
def test_every_cut_of_the_last_slice_is_told(tmp_path, ending):
    slices = series(phantom())
    for i, dataset in enumerate(slices):
        save(dataset, tmp_path / f"CT{i:03d}{ending}")
    last = tmp_path / f"CT003{ending}"
    whole = last.read_bytes()
    assert read(tmp_path).pixels.shape == (4, 5, 6)
    for kept in range(len(whole)):
        last.write_bytes(whole[:kept])
        with pytest.raises(LiquidLensError, match=f"CT003{ending}"):
            read(tmp_path)


@pytest.mark.parametrize(
    "missing", [("Rows",), ("Rows", "Columns", "PixelData"), ("SOPClassUID", "Rows"), ("Columns",)]
)
def test_a_slice_without_its_size_is_damaged(tmp_path, missing):
    slices = series(phantom())
    for name in missing:
        delattr(slices[3], name)
    if "SOPClassUID" in missing:
        slices[3].file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    with pytest.raises(LiquidLensError, match="IM003: this DICOM file holds no image"):
        read(save_series(slices, tmp_path / "ct"))


def test_junk_beside_a_series_is_left_out_with_a_note(tmp_path):
    """What ends otherwise, text, hidden files, and DICOM files that are no image by their own words."""
    folder = save_series(series(phantom()), tmp_path / "ct")
    own = report()
    own.SOPClassUID = "1.3.12.2.1107.5.9.1"  # Siemens: no image, and not of the standard
    for name, dataset in (("SR001", report()), ("RAW1", own)):
        save(dataset, folder / name)
    (folder / "report.pdf").write_bytes(b"%PDF-1.7\0")
    (folder / "README").write_text("Study of 2020")
    (folder / ".DS_Store").write_bytes(bytes(99))
    scan = read(folder)
    assert np.array_equal(scan.pixels, phantom())
    assert scan.notes == ("Left out, as they are no slices: RAW1, SR001, README, 1 more.",)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "IM004").write_bytes(bytes(99))  # not beside the slices
    assert read(folder).pixels.shape == (4, 5, 6)


def test_broken_directions_are_refused(tmp_path):
    slices = series(phantom(), ImageComments="")
    for dataset in slices:
        dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    with pytest.raises(LiquidLensError, match="broken geometry"):
        read(save_series(slices, tmp_path / "ct"))


def test_one_of_several_series_is_named(tmp_path):
    save_series(series(phantom(), SeriesNumber=7), tmp_path / "cd" / "b")
    other = uid.generate_uid()
    save_series(series(phantom() + 1, SeriesNumber=3, SeriesInstanceUID=other), tmp_path / "cd" / "c")
    with pytest.raises(LiquidLensError, match=r"2 series: .*; name one, as in cd#0\."):
        read(tmp_path / "cd")
    assert np.array_equal(read(f"{tmp_path}/cd#0").pixels, phantom() + 1)
    assert np.array_equal(read(f"{tmp_path}/cd#1").pixels, phantom())
    with pytest.raises(LiquidLensError, match="items are 0 to 1"):
        read(f"{tmp_path}/cd#2")


def test_one_file_of_a_series_is_an_image(tmp_path):
    folder = save_series(series(phantom())[:1], tmp_path / "ct")
    for source in (folder, folder / "IM000"):
        scan = read(source)
        assert np.array_equal(scan.pixels, phantom()[0])
        assert scan.spacing == pytest.approx(SPACING[1:])
        assert (scan.units, scan.oriented) == ("HU", False)


def pack(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(datasets):
    files = {}
    for i, dataset in enumerate(datasets):
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files[f"study/IM{i:03d}"] = buffer.getvalue()
    return files


def test_an_archive_is_read_as_a_folder_is(tmp_path):
    strangers = {"study/README.txt": b"viewer", "__MACOSX/study/IM000": b"junk", "study/.DS_Store": b"junk"}
    path = pack(tmp_path / "ct.zip", contents(series(phantom())) | strangers)
    scan = read(path)
    assert np.array_equal(scan.pixels, phantom())
    assert scan.spacing == pytest.approx(SPACING)


def test_an_archive_with_one_file_is_that_file(tmp_path):
    np.save(tmp_path / "scan.npy", phantom())
    content = (tmp_path / "scan.npy").read_bytes()
    assert np.array_equal(read(pack(tmp_path / "one.zip", {"a/scan.npy": content, "b.txt": b""})).pixels, phantom())
    for files, sentence in (({"a.npy": content, "b.npy": content}, "2 scans"), ({"a.txt": b""}, "no scan")):
        with pytest.raises(LiquidLensError, match=rf"x\.zip: it holds {sentence}"):
            read(pack(tmp_path / "x.zip", files))


@pytest.mark.parametrize("name", ["../scan.npy", "/scan.npy", "a/../../scan.npy", "..\\scan.npy", "C:\\scan.npy"])
def test_archives_whose_names_leave_them(tmp_path, name):
    with pytest.raises(LiquidLensError, match="points outside of it"):
        read(pack(tmp_path / "evil.zip", {name: b"x"}))


def test_archives_with_links_or_of_unusual_methods(tmp_path):
    link = zipfile.ZipInfo("scan.npy")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(LiquidLensError, match="is a link"):
        read(tmp_path / "link.zip")
    with pytest.raises(LiquidLensError, match="unusual method"):
        read(pack(tmp_path / "lzma.zip", {"scan.npy": b"x"}, zipfile.ZIP_LZMA))


def test_folders_and_series_within_the_budget(tmp_path):
    folder = save_series(series(phantom()), tmp_path / "ct")
    for budget, name in (
        (Budget(slices=3), "slices"),
        (Budget(pixels=119), "pixels"),
        (Budget(file_bytes=2000), "file"),
    ):
        with pytest.raises(LiquidLensError, match=f"over the budget of .*; raise '{name}"):
            read(folder, budget)
    assert read(folder, Budget(slices=4, pixels=120)).pixels.shape == (4, 5, 6)
