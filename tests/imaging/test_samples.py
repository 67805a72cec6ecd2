"""Files of others: those that pydicom and nibabel bring along, and real samples.  Each is read or refused by name."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.pixels import apply_modality_lut

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read, read_safely

PYDICOM = Path(pydicom.__file__).parent / "data"
NIBABEL = Path(nibabel.__file__).parent
#: Where a file of these packages is refused although it ends as an image does: part of its sentence.
REFUSED = {
    "no_meta.dcm": "holds no image",  # a stray byte in front of the data set
    "badVR.dcm": "radiation dose",
    "MR_truncated.dcm": "may be damaged",
    "0.dcm": "a mosaic of Siemens",
    "1.dcm": "a mosaic of Siemens",
    "csa_slice_norm.dcm": "a mosaic of Siemens",
    "JPEG-lossy.dcm": "cannot be decoded",
    "JPGExtended.dcm": "cannot be decoded",
    "JPEG2000-embedded-sequence-delimiter.dcm": "cannot be decoded",
    "SC_rgb_rle_2frame.dcm": "an image of 2 frames",
    "SC_rgb_rle_16bit_2frame.dcm": "an image of 2 frames",
    "SC_rgb_rle_32bit_2frame.dcm": "an image of 2 frames",
    "examples_ybr_color.dcm": "an image of 30 frames",
    "example4d.nii.gz": "a 4D image of 2 volumes",
    "example_nifti2.nii.gz": "a 4D image of 2 volumes",
    "functional.nii": "a 4D image of 20 volumes",
    "resampled_anat_moved.nii": "not finite",
    "row_major.dconn.nii": "a CIFTI file",
    "nifti1.hdr": "without its pixels",
    "nifti2.hdr": "without its pixels",
}
WITHOUT_IMAGE = ("holds no image", "holds no pixels", "radiation dose", "DICOMDIR", "kind of file cannot be read")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def outcome(path: Path) -> Scan | str:
    try:
        return read(path)
    except LiquidLensError as error:
        sentence = str(error)
    assert sentence.startswith(f"{path}: "), sentence
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


@pytest.mark.parametrize("folder", [PYDICOM, NIBABEL], ids=["pydicom", "nibabel"])
def test_every_packaged_file_is_read_or_refused_by_name(folder):
    read_well, refused = 0, set()
    for path in files(folder):
        found = outcome(path)
        if isinstance(found, Scan):
            read_well += 1
        elif path.name in REFUSED:
            assert REFUSED[path.name] in found, path
            refused.add(path.name)
        else:
            assert any(sentence in found for sentence in WITHOUT_IMAGE), f"{path}: {found}"
    packaged = {path.name for path in files(folder)}
    assert refused == packaged & set(REFUSED), "each is refused as the table says"
    assert read_well > (70 if folder == PYDICOM else 4)


def test_every_packaged_dicom_image_has_the_values_of_pydicom_and_simpleitk():
    """Grey images of one frame; SimpleITK cannot open all of them."""
    compared = both = 0
    for path in files(PYDICOM):
        dataset = pydicom.dcmread(path, force=True) if isinstance(outcome(path), Scan) else {}
        if not str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME"):
            continue
        ours = read(path).pixels
        theirs = apply_modality_lut(dataset.pixel_array, dataset)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            ends = np.array([0, 2**dataset.BitsStored - 1])
            theirs = apply_modality_lut(ends, dataset).sum() - theirs
        elif dataset.BitsAllocated > 1:  # SimpleITK does not unpack bits
            both += agrees_with_simpleitk(path, ours)
        assert np.array_equal(ours, theirs.astype(np.float32)), path
        compared += 1
    assert compared > 50
    assert both > 40


def agrees_with_simpleitk(path: Path, ours: np.ndarray) -> bool:
    """False where SimpleITK cannot read the file."""
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    try:
        theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError:
        return False
    assert np.array_equal(ours, theirs.reshape(ours.shape).astype(np.float32)), path
    return True


def test_series_of_a_real_study():
    """pydicom's study of three patients: series by folder, and a choice where there are several."""
    study = PYDICOM / "test_files" / "dicomdirtests"
    scan = read(study / "98892001" / "CT5N")
    assert scan.pixels.shape == (5, 16, 16)
    paths = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(study / "98892001" / "CT5N"))
    theirs = SimpleITK.DICOMOrient(SimpleITK.ReadImage(paths), "LPS")
    assert np.array_equal(scan.pixels, SimpleITK.GetArrayFromImage(theirs))
    assert scan.spacing == pytest.approx(theirs.GetSpacing()[::-1]) == (2.5, 0.488281, 0.488281)
    with pytest.raises(LiquidLensError, match=r"2 series: .*; name one, as in 98892001#0"):
        read(study / "98892001")


#: What each real sample is: shape, or part of the sentence that refuses it.
SAMPLES = {
    "cxr_fake_monochrome1.dcm": (1024, 1024),
    "cxr_siim_1024.dcm": (1024, 1024),
    "pydicom_CT_small.dcm": (128, 128),
    "pydicom_ExplVR_BigEnd.dcm": (60, 80),
    "pydicom_JPEG2000.dcm": (1024, 256),
    "pydicom_MR_small_RLE.dcm": (64, 64),
    "pydicom_MR_truncated.dcm": "may be damaged",
    "pydicom_badVR.dcm": "radiation dose",
    "pydicom_no_meta.dcm": "holds no image",
    "lidc_voi_LIDC-IDRI-0001_R_1.nii.gz": (11, 64, 53),
    "nibabel_anatomical.nii": (25, 41, 33),
    "nibabel_example4d.nii.gz": "a 4D image of 2 volumes",
    "totalseg_chest_ct_cropped.nii.gz": (112, 102, 122),
    "totalseg_ct_sm.nii.gz": (30, 101, 122),
}


@pytest.fixture
def samples(data_root):
    folder = data_root / "samples"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return folder


def test_real_samples(samples):
    for path in files(samples):
        found = outcome(path)
        expected = SAMPLES[path.name]
        assert found.pixels.shape == expected if isinstance(found, Scan) else expected in found, path


def test_real_volumes_lie_as_simpleitk_turns_them(samples):
    for path in files(samples / "nifti"):
        if not isinstance(SAMPLES[path.name], tuple):
            continue
        ours = read(path)
        theirs = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
        assert np.allclose(ours.pixels, SimpleITK.GetArrayFromImage(theirs), atol=1e-3), path
        assert ours.spacing == pytest.approx(theirs.GetSpacing()[::-1], rel=1e-4)
        assert ours.oriented, path


def test_a_real_x_ray_that_claims_to_be_inverse(samples):
    """The same pixels, called MONOCHROME1 in one file."""
    plain, inverse = (read(samples / "dicom" / f"cxr_{name}.dcm") for name in ("siim_1024", "fake_monochrome1"))
    assert plain.spacing == inverse.spacing == (0.168, 0.168)
    assert np.array_equal(inverse.pixels, 255 - plain.pixels)


def test_a_real_volume_through_the_worker(samples):
    path = samples / "nifti" / "totalseg_ct_sm.nii.gz"
    assert np.array_equal(read_safely(path).pixels, read(path).pixels)
