"""Reading scans: arrays, archives, and what holds for every kind of file; what is refused, with which sentence."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read
from tests.imaging.niftis import save_nifti


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


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


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nii", ".nii.gz", ".png", ".tif", ".bmp", ".jpg"])
def test_kinds_are_known_by_content_where_the_name_says_nothing(tmp_path, suffix):
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    path = tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, grey)
    elif suffix == ".npz":
        np.savez(path, grey)
    elif suffix.startswith(".nii"):
        save_nifti(path, grey[..., None])
    else:
        Image.fromarray(grey).save(path)
    expected = read(path)
    assert np.array_equal(read(path.rename(tmp_path / "upload")).pixels, expected.pixels)


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
