"""NIfTI volumes: how they lie in the patient, units, windows, colours; and which are refused, with which sentence."""

import gzip
import itertools

import nibabel
import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read
from liquidlens.imaging.formats.geometry import Plane, arrange
from tests.imaging.niftis import save_nifti


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SLA", "ARI"])
def test_nifti_of_any_orientation_ends_in_the_same_array(tmp_path, axes):
    """Slices inferior to superior, rows anterior to posterior, columns right to left, whatever the file's axes are."""
    ours = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    as_lps = ours.transpose(2, 1, 0)
    lps = nibabel.orientations.axcodes2ornt("LPS")
    there = nibabel.orientations.ornt_transform(lps, nibabel.orientations.axcodes2ornt(axes))
    zooms_by_world = {"L": 1.0, "R": 1.0, "P": 2.0, "A": 2.0, "S": 3.0, "I": 3.0}
    path = save_nifti(
        tmp_path / "scan.nii",
        nibabel.orientations.apply_orientation(as_lps, there),
        axes,
        [zooms_by_world[axis] for axis in axes],
    )
    scan = read(path)
    assert np.array_equal(scan.pixels, ours)
    assert scan.spacing == pytest.approx((3.0, 2.0, 1.0))


def test_nifti_rescaling_is_applied(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4))
    image.set_data_dtype(np.int16)
    data = np.linspace(-1000.5, 1000.5, 27).reshape(3, 3, 3)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4), image.header), tmp_path / "scan.nii")
    assert np.allclose(np.sort(read(tmp_path / "scan.nii").pixels.ravel()), np.sort(data.ravel()), atol=0.05)


def test_nifti_2_is_read(tmp_path):
    volume = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    nibabel.save(nibabel.Nifti2Image(volume.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), tmp_path / "scan.nii")
    assert np.array_equal(read(tmp_path / "scan.nii").pixels, volume)


def nifti(folder, codes, change=lambda header: None, data=None):
    """A NIfTI file with the two codes (sform, qform), changed before it is written."""
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8) if data is None else data, np.diag([2.0, 2, 2, 1]))
    image.set_sform(image.affine, codes[0])
    image.set_qform(image.affine, codes[1])
    change(image.header)
    nibabel.save(image, folder / "scan.nii")
    return folder / "scan.nii"


def test_nifti_says_whether_the_sides_are_known(tmp_path):
    for codes in ((1, 1), (1, 0), (0, 1)):
        scan = read(nifti(tmp_path, codes))
        assert (scan.oriented, scan.notes) == (True, ()), codes
    there = read(nifti(tmp_path, (1, 1))).voxel_at((-4, -4, 2))
    assert there == pytest.approx((1, 1, 0)), "NIfTI's x and y point the other way"
    unknown = read(nifti(tmp_path, (0, 0)))
    assert not unknown.oriented
    with pytest.raises(LiquidLensError, match=r"it does not tell the patient's coordinates"):
        unknown.voxel_at((0, 0, 0))
    assert "does not say how the patient lies" in unknown.notes[0]

    image = nibabel.load(nifti(tmp_path, (1, 1)))
    image.set_qform(np.diag([-2.0, 2, 2, 1]), 1)
    nibabel.save(image, tmp_path / "two.nii")
    doubtful = read(tmp_path / "two.nii")
    assert not doubtful.oriented
    assert "disagree" in doubtful.notes[0]


def test_an_impossible_qform_does_not_matter_beside_an_sform(tmp_path):
    path = nifti(tmp_path, (1, 0))
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348])
    header["qform_code"], header["quatern_b"], header["quatern_c"] = 1, 1, 1
    path.write_bytes(header.binaryblock + content[348:])
    scan = read(path)
    assert scan.oriented
    assert scan.affine == read(nifti(tmp_path, (1, 0))).affine
    assert scan.notes == ("The rotation of the file's qform is impossible; the sform was used.",)
    header["sform_code"] = 0
    path.write_bytes(header.binaryblock + content[348:])
    with pytest.raises(LiquidLensError, match="damaged"):
        read(path)


def test_nifti_units_and_window(tmp_path):
    def change(header):
        header.set_xyzt_units("micron")
        header["cal_min"], header["cal_max"] = -100, 200

    scan = read(nifti(tmp_path, (1, 1), change))
    assert scan.spacing == pytest.approx((0.002, 0.002, 0.002))
    assert scan.window == (-100, 200)
    assert read(nifti(tmp_path, (1, 1))).window is None


def test_nifti_colour_becomes_luminance(tmp_path):
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"] = 255
    scan = read(nifti(tmp_path, (1, 1), data=colours))
    assert np.unique(scan.pixels).tolist() == [76]
    assert scan.notes == ("Colour was turned to grey.",)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("srow_x", [0, 0, 0, 0], "broken geometry"),
        ("srow_x", [np.nan] * 4, "broken geometry"),
        ("intent_code", 3001, "a CIFTI file"),
        ("datatype", 32, "pixels are numbers"),
        ("magic", b"ni1", "without its pixels"),
        ("dim", [5, 1, 1, 1, 1, 3, 1, 1], "a volume has 3 axes, this image has 5"),
        ("vox_offset", 0, r"begin within the header \(vox_offset 0, less than 352\)"),
        ("vox_offset", 351, "begin within the header"),
        ("dim", [3, -2, 4, 5, 1, 1, 1, 1], "not a readable"),
    ],
)
def test_nifti_files_that_are_no_volume(tmp_path, field, value, sentence):
    path = nifti(tmp_path, (1, 0))
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348])
    header[field] = value
    path.write_bytes(header.binaryblock + content[348:])
    with pytest.raises(LiquidLensError, match=rf"scan\.nii: .*{sentence}"):
        read(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("offset", [0, 348, 543])
def test_voxels_do_not_begin_within_the_header_of_nifti_2_either(tmp_path, offset, packed):
    image = nibabel.Nifti2Image(np.ones((3, 4, 5), np.uint8), np.eye(4))
    content = bytearray(image.to_bytes())
    content[168:176] = offset.to_bytes(8, "little")
    path = tmp_path / ("scan.nii.gz" if packed else "scan.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(LiquidLensError, match=rf"begin within the header \(vox_offset {offset}, less than 544\)"):
        read(path)


def matrix(*columns):
    return np.vstack([np.column_stack([*columns, (0, 0, 0)]), (0, 0, 0, 1)])


def rotation(degrees, axis):
    """About one axis, as a 3 x 3 matrix."""
    turn = np.radians(degrees)
    one, two = (i for i in range(3) if i != axis)
    found = np.eye(3)
    found[[one, one, two, two], [one, two, one, two]] = np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)
    return found


@pytest.mark.parametrize("degrees", [0, 3, 30, 44, 90, 135])
@pytest.mark.parametrize("axis", range(3))
def test_rotated_nifti_volumes_are_read(tmp_path, axis, degrees):
    """Also where the matrix was rounded to four digits."""
    stored = np.random.default_rng(0).integers(0, 99, (40, 36, 30)).astype(np.int16)
    for turn in (rotation(degrees, axis), np.round(rotation(degrees, axis) @ rotation(10, (axis + 1) % 3), 4)):
        nibabel.save(nibabel.Nifti1Image(stored, matrix(*(turn @ np.diag([0.5, 0.6, 2.5])).T)), tmp_path / "scan.nii")
        scan = read(tmp_path / "scan.nii")
        assert sorted(scan.spacing) == pytest.approx([0.5, 0.6, 2.5], rel=1e-3)
        assert np.array_equal(np.sort(scan.pixels.ravel()), np.sort(stored.ravel()))


@pytest.mark.parametrize(("axis", "against"), [(2, 0), (2, 1), (0, 1), (1, 0), (0, 2), (1, 2)])
def test_sheared_nifti_volumes_are_refused_from_half_a_pixel_on(tmp_path, axis, against):
    """As a series of tilted slices, in the patient's directions or obliquely.  The third axis counts slices."""
    shape, spacing = (8, 9, 10), (1.0, 1.0, 2.0)
    for turn, share in itertools.product((np.eye(3), rotation(25, 1)), (0.4, 0.6)):
        columns = np.diag(spacing)
        columns[axis, against] = share / (shape[axis] - 1)
        if against == 2:  # then the slices are shifted instead
            columns[axis, against] = share / ((shape[2] - 1) * spacing[2])
        image = nibabel.Nifti1Image(np.zeros(shape, np.int16), matrix(*(turn @ column for column in columns)))
        nibabel.save(image, tmp_path / "scan.nii")
        if share < 0.5:
            assert read(tmp_path / "scan.nii").pixels.size == 720
            continue
        in_slices = axis != 2 and against != 2
        with pytest.raises(LiquidLensError, match="right angles" if in_slices else r"tilted slices: .* up to 0\.6 mm"):
            read(tmp_path / "scan.nii")


def test_the_same_geometry_is_judged_alike_as_dicom_and_as_nifti(tmp_path):
    """A gantry tilted by so many degrees."""
    volume = np.zeros((6, 50, 40), np.int16)
    for degrees in (0, 1, 2.5, 3, 18):
        slope = 2.0 * np.tan(np.radians(degrees))
        affine = matrix((-1, 0, 0), (0, -1, 0), (0, -slope, 2))
        nibabel.save(nibabel.Nifti1Image(volume.T, affine), tmp_path / "scan.nii")
        planes = [Plane(f"{i}", (50, 40), (1, 1), (0, slope * i, 2.0 * i), (1, 0, 0, 0, 1, 0)) for i in range(6)]
        told = []
        for judge in (lambda: read(tmp_path / "scan.nii"), lambda planes=planes: arrange(planes)):
            try:
                judge()
                told.append("read")
            except LiquidLensError as error:
                told.append(str(error).partition("tilted slices")[2])
        assert told[0] == told[1], degrees
        assert (told[0] == "read") == (slope * 5 <= 0.5)


def test_axes_of_length_1_behind_space_and_time(tmp_path):
    volumes = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 2)).astype(np.int16)
    for shape in ((3, 4, 5, 1, 1), (3, 4, 5, 1), (3, 4, 5, 1, 1, 1)):
        nibabel.save(nibabel.Nifti1Image(volumes[..., 0].reshape(shape), np.diag([-1, -1, 1, 1])), tmp_path / "one.nii")
        assert np.array_equal(read(tmp_path / "one.nii").pixels, volumes[..., 0].T)
    nibabel.save(nibabel.Nifti1Image(volumes[..., None], np.diag([-1, -1, 1, 1])), tmp_path / "two.nii")
    assert np.array_equal(read(f"{tmp_path}/two.nii#1").pixels, volumes[..., 1].T)


def test_bytes_behind_the_end_of_gzip_have_a_sentence_of_their_own(tmp_path):
    packed = gzip.compress(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)).to_bytes())
    (tmp_path / "padded.nii.gz").write_bytes(packed + bytes(100))
    assert read(tmp_path / "padded.nii.gz").pixels.shape == (5, 4, 3)
    (tmp_path / "joined.nii.gz").write_bytes(packed + b"more")
    with pytest.raises(LiquidLensError, match="behind the end of what gzip packed there are more bytes"):
        read(tmp_path / "joined.nii.gz")
    (tmp_path / "flipped.nii.gz").write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    with pytest.raises(LiquidLensError, match="damaged"):
        read(tmp_path / "flipped.nii.gz")
