"""Reading scans: arrays, archives, NIfTI volumes and images; and what is refused, with which sentence."""

import gzip
import itertools
import zipfile

import nibabel
import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read
from liquidlens.imaging.formats.geometry import Plane, arrange


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


def save_nifti(path, data_xyz, axes="RAS", zooms=(1.0, 2.0, 3.0)):
    """A NIfTI file whose array axes point to `axes`."""
    orientation = nibabel.orientations.axcodes2ornt(axes)
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(orientation):
        affine[int(world), axis] = sign * zooms[axis]
    affine[3, 3] = 1
    nibabel.save(nibabel.Nifti1Image(data_xyz, affine), path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nii", ".nii.gz"])
def test_every_format_gives_the_same_pixels(tmp_path, volume, suffix):
    path = tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, volume)
    elif suffix == ".npz":
        np.savez_compressed(path, volume)
    else:
        save_nifti(path, volume.transpose(2, 1, 0), "LPS", zooms=(0.5, 0.6, 2.0))
    scan = read(path)
    assert scan.pixels.dtype == np.float32
    assert np.array_equal(scan.pixels, volume)
    assert scan.spacing == (None if "np" in suffix else pytest.approx((2.0, 0.6, 0.5)))


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


def test_one_scan_of_many(tmp_path, volume):
    stack = np.stack([volume, volume + 1])
    np.savez(tmp_path / "many.npz", test_images=stack, labels=np.arange(2))
    np.save(tmp_path / "stack.npy", stack)
    save_nifti(tmp_path / "series.nii.gz", stack.transpose(3, 2, 1, 0), "LPS")
    for name in ("many.npz#test_images/1", "stack.npy#1", "series.nii.gz#1"):
        assert np.array_equal(read(tmp_path / name).pixels, volume + 1), name


def test_a_file_whose_name_holds_the_mark(tmp_path, volume):
    np.save(tmp_path / "scan#1.npy", volume)
    assert np.array_equal(read(tmp_path / "scan#1.npy").pixels, volume)


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        ("", "name one scan, as in many.npz#test_images/0"),
        ("#nothing/0", "name one scan"),
        ("#test_images", "a stack of 2 volumes"),
        ("#test_images/2", "items are 0 to 1"),
        ("#test_images/-1", "items are 0 to 1"),
        ("#names/0", "pixels are numbers"),
    ],
)
def test_archives_say_what_they_hold(tmp_path, volume, selection, sentence):
    np.savez(tmp_path / "many.npz", test_images=np.stack([volume, volume]), names=np.array(["a", "b"]))
    with pytest.raises(LiquidLensError, match=sentence):
        read(f"{tmp_path}/many.npz{selection}")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0, 3, 40, 0.5])
def test_truncated_files_are_refused_by_name(tmp_path, volume, suffix, kept):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".npy":
        np.save(whole, volume)
    elif suffix == ".npz":
        np.savez_compressed(whole, volume)
    else:
        save_nifti(whole, volume)
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(LiquidLensError, match=rf"cut{suffix}: not a readable"):
        read(path)


def evil_files(folder):
    """Files that lead NumPy's and nibabel's readers into errors of many kinds."""
    np.save(folder / "array.npy", np.zeros((3, 3, 3)))
    np.savez(folder / "archive.npz", np.zeros((3, 3, 3)))
    yield "archive named npy", (folder / "archive.npz").read_bytes(), ".npy"
    yield "array named npz", (folder / "array.npy").read_bytes(), ".npz"
    head = (folder / "array.npy").read_bytes()
    for what, shape in (("huge", b"(9999999, 9999999, 99)"), ("absurd", b"(10**99,)"), ("broken", b"(3, 3, ")):
        yield what, head.replace(b"(3, 3, 3)", shape), ".npy"
    with zipfile.ZipFile(folder / "text.zip", "w") as archive:
        archive.writestr("scan.txt", "no array")
    yield "text in an archive", (folder / "text.zip").read_bytes(), ".npz"
    content = bytearray((folder / "archive.npz").read_bytes())
    content[6] |= 1  # the flag of an encrypted member
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    yield "encrypted", bytes(content), ".npz"


def test_evil_files_are_answered_with_a_sentence(tmp_path):
    for what, content, suffix in evil_files(tmp_path):
        path = tmp_path / f"evil{suffix}"
        path.write_bytes(content)
        with pytest.raises(LiquidLensError, match=r"evil\.np[yz]: ") as caught:
            read(path)
        assert "\n" not in str(caught.value), what
    with pytest.raises(LiquidLensError):
        read("x" * 5000 + ".npy")


def test_nifti_2_is_read(tmp_path, volume):
    nibabel.save(nibabel.Nifti2Image(volume.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), tmp_path / "scan.nii")
    assert np.array_equal(read(tmp_path / "scan.nii").pixels, volume)


def test_an_item_of_what_is_no_stack(tmp_path, volume):
    save_nifti(tmp_path / "scan.nii", volume)
    np.save(tmp_path / "image.npy", np.zeros((4, 4)))
    for name in ("scan.nii#7", "image.npy#0"):
        with pytest.raises(LiquidLensError, match=f"{name}: .* there is no item"):
            read(tmp_path / name)


def test_pickled_arrays_are_not_loaded(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "evil.npz", np.array([{"a": 1}], dtype=object))
    for name in ("evil.npy", "evil.npz"):
        with pytest.raises(LiquidLensError, match="pixels are numbers"):
            read(tmp_path / name)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(LiquidLensError, match="no such file"):
        read(tmp_path / "none.npy")
    with pytest.raises(LiquidLensError, match=r"known kinds are \.npy"):
        read(tmp_path / "scan.jpg2")


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(5), "2 or 3 axes"),
        (np.zeros((0, 4)), "empty"),
        (np.array([[1.0, np.nan]]), "1 of 2 pixels are not finite"),
        (np.array([[1.0, np.inf]]), "not finite"),
    ],
)
def test_arrays_that_are_no_scan(tmp_path, array, sentence):
    np.save(tmp_path / "scan.npy", array)
    with pytest.raises(LiquidLensError, match=rf"scan\.npy: .*{sentence}"):
        read(tmp_path / "scan.npy")


def test_values_beyond_float32_are_not_silently_infinite(tmp_path):
    np.save(tmp_path / "scan.npy", np.full((2, 2), 1e300))
    with pytest.raises(LiquidLensError, match="not finite"):
        read(tmp_path / "scan.npy")


def test_the_sample_files(data_root):
    folder = data_root / "samples" / "nifti"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    scan = read(folder / "totalseg_ct_sm.nii.gz")
    assert scan.pixels.ndim == 3
    assert scan.pixels.min() < -900, "CT in Hounsfield units"
    with pytest.raises(LiquidLensError, match="a 4D image of 2 volumes"):
        read(folder / "nibabel_example4d.nii.gz")
    assert isinstance(read(f"{folder}/nibabel_example4d.nii.gz#1"), Scan)


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


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nii", ".nii.gz", ".png", ".tif", ".bmp", ".jpg"])
def test_kinds_are_known_by_content_where_the_name_says_nothing(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, GREY)
    elif suffix == ".npz":
        np.savez(path, GREY)
    elif suffix.startswith(".nii"):
        save_nifti(path, GREY[..., None])
    else:
        Image.fromarray(GREY).save(path)
    expected = read(path)
    assert np.array_equal(read(path.rename(tmp_path / "upload")).pixels, expected.pixels)


def test_colour_is_noted_and_given_when_asked_for(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    assert read(tmp_path / "rgb.png").notes == ("Colour was turned to grey.",)
    assert np.array_equal(read(tmp_path / "rgb.png", colour=True).pixels, rgb)
    Image.fromarray(GREY).convert("RGBA").save(tmp_path / "grey.png")
    assert read(tmp_path / "grey.png").notes == (), "grey and opaque"
    Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / "deep.png")
    assert np.array_equal(read(tmp_path / "deep.png", colour=True).pixels, np.repeat(GREY[..., None], 3, axis=-1))


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


@pytest.mark.parametrize("content", [b"", b"not an image", b"II*\0"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".nii", ".nii.gz", ".npy", ".npz", ".zip", ".dcm"])
def test_sentences_hold_nothing_that_differs_from_run_to_run(tmp_path, suffix, content):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(content)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.write(path, path.name)
    for source in (path, tmp_path / "archive.zip", f"{tmp_path}/archive.zip#{path.name}"):
        with pytest.raises(LiquidLensError) as caught:
            read(source)
        assert "<" not in str(caught.value)
        assert "0x" not in str(caught.value)
