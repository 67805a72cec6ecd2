"""DICOM series: order, orientation, archives; and the stacks that are refused, by name."""

import io
import zipfile

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom import uid

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
