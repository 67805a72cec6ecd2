"""Every scan in a place: which they are, how they are named, and what their checksums are of."""

import gzip
import hashlib
import io
import itertools
import struct
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Budget, Scan, read
from liquidlens.imaging.budget import DEFAULT
from liquidlens.imaging.collection import Found, Place, each, named
from tests.imaging.dicoms import enhanced, image, phantom, report, save, save_series, series

STACK = np.random.default_rng(1).integers(0, 255, (4, 3, 5, 6)).astype(np.uint8)
PICTURES = STACK.reshape(12, 5, 6)


def scans_of(place: Place, budget: Budget = DEFAULT, *, axes: int, colour: bool = False) -> list[Found]:
    """All scans of a place, each of which `imaging.read` must read alike, with the same error if there is one."""
    found = [item.read() for item in each(place, budget, axes=axes, colour=colour)]
    for scan in found:
        source = named(place.path, scan.item)
        if isinstance(scan.scan, Scan):
            alone = read(source, budget, colour=colour)
            assert np.array_equal(scan.scan.pixels, alone.pixels), source
            assert {**vars(scan.scan), "pixels": 0} == {**vars(alone), "pixels": 0}
        else:
            with pytest.raises(LiquidLensError):
                read(source, budget, colour=colour)
    return found


def items(found: list[Found]) -> list[str]:
    return [scan.item for scan in found]


def pixels(found: list[Found]) -> list[np.ndarray]:
    return [scan.scan.pixels for scan in found if isinstance(scan.scan, Scan)]


def sentence(found: Found) -> str:
    assert isinstance(found.scan, LiquidLensError)
    return str(found.scan)


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_files_of_one_scan(tmp_path):
    np.save(tmp_path / "a.npy", PICTURES[0])
    np.savez(tmp_path / "b.npz", only=PICTURES[1])
    (tmp_path / "c.png").write_bytes(png(PICTURES[2]))
    save(image(PICTURES[3]), tmp_path / "d.dcm")
    nibabel.save(nibabel.Nifti1Image(STACK[0], np.diag([-2.0, -2, 3, 1])), tmp_path / "e.nii.gz")
    for name, item in (("a.npy", ""), ("b.npz", "only"), ("c.png", ""), ("d.dcm", ""), ("e.nii.gz", "")):
        place = Place(str(tmp_path / name))
        [one] = scans_of(place, axes=3 if "nii" in name else 2)
        bytes_of = PICTURES[1].tobytes() if item else (tmp_path / name).read_bytes()
        assert (one.number, one.of, one.item, one.sha256) == (0, 1, item, sha256(bytes_of))
        assert isinstance(one.scan, Scan)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["|u1", "<i2", ">f4", "<f8", "|b1"])
def test_a_stack(tmp_path, order, dtype):
    stack = (STACK % 2 if dtype == "|b1" else STACK).astype(dtype, order=order)
    np.save(tmp_path / "stack.npy", stack)
    found = scans_of(Place(str(tmp_path / "stack.npy")), axes=3)
    assert items(found) == ["0", "1", "2", "3"]
    assert [(scan.number, scan.of) for scan in found] == [(i, 4) for i in range(4)]
    assert np.array_equal(pixels(found), stack.astype(np.float32))
    assert [scan.sha256 for scan in found] == [sha256(item.tobytes()) for item in stack]


def test_axes_and_colour_say_what_a_stack_is(tmp_path):
    np.save(tmp_path / "three.npy", PICTURES)
    np.save(tmp_path / "rgb.npy", np.moveaxis(STACK, 1, 3))
    assert [len(scans_of(Place(str(tmp_path / "three.npy")), axes=axes)) for axes in (2, 3)] == [12, 1]
    found = scans_of(Place(str(tmp_path / "rgb.npy")), axes=2, colour=True)
    assert [found.shape for found in pixels(found)] == [(5, 6, 3)] * 4


def test_labels_beside_images_are_no_image(tmp_path):
    """MedMNIST's are (n, 1), or (n, 14); an array that belongs to no stack is an image."""
    labels = {"test_labels": np.ones((12, 1), np.uint8), "findings": np.ones((12, 14), np.uint8)}
    np.savez(tmp_path / "a.npz", test_images=PICTURES, **labels, single=PICTURES[0])
    found = scans_of(Place(str(tmp_path / "a.npz")), axes=2)
    assert items(found) == [*(f"test_images/{i}" for i in range(12)), "single"]
    np.savez(tmp_path / "volumes.npz", test_images=np.zeros((12, 4, 5, 6)), **labels)
    [none] = each(Place(str(tmp_path / "volumes.npz")), axes=2)
    assert "its arrays hold no images" in sentence(none.read())


@pytest.mark.parametrize("save_npz", [np.savez, np.savez_compressed])
def test_an_archive_of_arrays(tmp_path, save_npz):
    """Stacks and single scans are taken, labels and other things are not, and one array can be chosen."""
    fortran = np.asfortranarray(STACK[::-1])
    words = {"train_labels": np.arange(4), "names": np.array(["a", "b"]), "fold": np.int64(3)}
    arrays: dict[str, Any] = {"train": STACK, **words, "single": STACK[0], "deep/test": fortran}
    save_npz(tmp_path / "a.npz", **arrays)
    path = str(tmp_path / "a.npz")
    found = scans_of(Place(path), axes=3)
    assert items(found) == [*(f"train/{i}" for i in range(4)), "single", *(f"deep/test/{i}" for i in range(4))]
    assert np.array_equal(pixels(found), [*STACK, STACK[0], *fortran])
    assert [scan.sha256 for scan in found] == [sha256(item.tobytes()) for item in (*STACK, STACK[0], *fortran)]
    assert [(scan.number, scan.of) for scan in found] == [(i, 9) for i in range(9)]
    assert items(scans_of(Place(path, "train"), axes=3)) == [f"train/{i}" for i in range(4)]
    assert items(scans_of(Place(path, "deep/test"), axes=3)) == [f"deep/test/{i}" for i in range(4)]
    [one] = scans_of(Place(path, "single"), axes=3)
    assert (one.item, one.of) == ("single", 1)
    [labels] = each(Place(path, "names"), axes=3)
    assert "pixels are numbers, this array holds <U1" in sentence(labels.read())


def test_one_item_that_is_named(tmp_path):
    """It has the checksum that it has among the others: of its own bytes, and not of a file of 100,000 items."""
    np.save(tmp_path / "stack.npy", STACK)
    arrays: dict[str, Any] = {"train": STACK, "deep/test": STACK}
    np.savez(tmp_path / "arrays.npz", **arrays)
    for name, item in (("stack.npy", "2"), ("arrays.npz", "train/2"), ("arrays.npz", "deep/test/2")):
        [one] = scans_of(Place(str(tmp_path / name), item), axes=3)
        assert (one.number, one.of, one.item) == (0, 1, item)
        assert one.sha256 == sha256(STACK[2].tobytes())
    for name, item in (("stack.npy", "4"), ("stack.npy", "x"), ("arrays.npz", "train/4"), ("arrays.npz", "none")):
        [one] = scans_of(Place(str(tmp_path / name), item), axes=3)
        assert sentence(one).startswith(str(tmp_path / name))


def test_thousands_of_arrays_are_not_open_at_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for i in range(3000):
            archive.writestr(f"{i}.npy", npy(np.full((2, 2), i, np.uint16)))
    found = [item.read() for item in each(Place(str(tmp_path / "many.npz")), axes=2)]
    assert [scan[0, 0] for scan in pixels(found)] == list(range(3000))


def test_volumes_of_a_4d_image(tmp_path):
    data = np.moveaxis(STACK, 0, 3).copy()
    for name in ("series.nii", "series.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(data, np.diag([-2.0, -2, 3, 1])), tmp_path / name)
        found = scans_of(Place(str(tmp_path / name)), axes=3)
        assert items(found) == ["0", "1", "2", "3"]
        assert {scan.sha256 for scan in found} == {sha256((tmp_path / name).read_bytes())}
        assert len({scan.tobytes() for scan in pixels(found)}) == 4
    [one] = scans_of(Place(str(tmp_path / "series.nii"), "3"), axes=3)
    assert (one.number, one.of, one.item) == (0, 1, "3")


def test_pages(tmp_path):
    first, *others = map(Image.fromarray, PICTURES)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    found = scans_of(Place(str(tmp_path / "pages.tif")), axes=2)
    assert items(found) == [str(i) for i in range(12)]
    assert np.array_equal(pixels(found), PICTURES)
    [one] = scans_of(Place(str(tmp_path / "pages.tif")), Budget(slices=11), axes=2)
    assert "12 slices or frames are over the budget of 11" in sentence(one)


def test_pages_of_png_and_jpeg_are_the_same_alone_and_among_others(tmp_path):
    """Those of an animated PNG, which are told behind a colour profile; of a phone's JPEG the first picture."""
    first, *others = map(Image.fromarray, PICTURES[:3])
    folder = tmp_path / "folder"
    folder.mkdir()
    noise = np.random.default_rng(0).bytes(9000)
    first.save(folder / "a.png", save_all=True, append_images=others, icc_profile=noise)
    first.save(folder / "b.jpg", format="MPO", save_all=True, append_images=others, quality=100)
    first.save(folder / "c.png")
    with Image.open(folder / "b.jpg") as phone:
        assert phone.n_frames == 3
        picture = np.asarray(phone.convert("L"))
    path = packed(tmp_path / "all.zip", {path.name: path.read_bytes() for path in folder.iterdir()})
    names = ["a.png#0", "a.png#1", "a.png#2", "b.jpg", "c.png"]
    for place in (folder, path):
        found = scans_of(Place(str(place)), axes=2)
        assert sorted(items(found)) == names
        by_name = {scan.item: scan.scan for scan in found}
        assert all(np.array_equal(by_name[name].pixels, PICTURES[at]) for at, name in enumerate(names[:3]))
    assert items(scans_of(Place(str(folder / "a.png")), axes=2)) == ["0", "1", "2"]
    [alone] = scans_of(Place(str(folder / "b.jpg")), axes=2)
    assert np.array_equal(pixels([alone])[0], picture)


def test_links_to_nowhere_are_rows_as_well(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(PICTURES[0]))
    for name in ("b.npy", "c.png", "readme"):
        (tmp_path / name).symlink_to("nowhere")
    found = scans_of(Place(str(tmp_path)), axes=2)
    assert items(found) == ["a.npy", "b.npy", "c.png"]
    assert [isinstance(scan.scan, Scan) for scan in found] == [True, False, False]
    assert sentence(found[1]).startswith(f"{tmp_path}#b.npy: a link that leads to no file")


def test_frames(tmp_path):
    """They are one volume where volumes are wanted, and as many images where images are."""
    volume = phantom()
    path = str(save(enhanced(volume, [2, 0, 3, 1]), tmp_path / "ct.dcm"))
    [whole] = scans_of(Place(path), axes=3)
    assert np.array_equal(pixels([whole])[0], volume)
    found = scans_of(Place(path), axes=2)
    assert items(found) == ["0", "1", "2", "3"]
    assert np.array_equal(pixels(found), volume[[2, 0, 3, 1]])
    assert {scan.sha256 for scan in (whole, *found)} == {sha256(Path(path).read_bytes())}
    [one] = scans_of(Place(path), Budget(slices=3), axes=2)
    assert "over the budget of 3" in sentence(one)


def test_an_archive_of_all_kinds(tmp_path):
    save(image(PICTURES[3]), tmp_path / "xray")
    save(image(PICTURES[4:6]), tmp_path / "clip")
    files = {
        "notes.txt": b"not a scan",
        "left/scan.png": png(PICTURES[0]),
        "left/#2.png": png(PICTURES[1]),
        "left": png(PICTURES[2]),
        "000001": (tmp_path / "xray").read_bytes(),
        "clip": (tmp_path / "clip").read_bytes(),
        "broken.png": b"\x89PNG\r\n\x1a\nno",
        "broken.npy": npy(PICTURES)[:-1],
        "stack.npy": npy(PICTURES[:2]),
        "inner.zip": b"PK\x03\x04",
        ".hidden.png": png(PICTURES[2]),
    }
    content = io.BytesIO()
    np.savez(content, test=PICTURES[6:8], labels=np.arange(2))
    path = packed(tmp_path / "all.zip", files | {"arrays.npz": content.getvalue()})
    found = scans_of(Place(str(path)), axes=2)
    names = ["left/scan.png", "left/#2.png", "left", "./000001", "clip#0", "clip#1", "broken.png", "broken.npy"]
    names += ["stack.npy#0", "stack.npy#1", "arrays.npz#test/0", "arrays.npz#test/1"]
    assert items(found) == names
    assert [(scan.number, scan.of) for scan in found] == [(i, len(names)) for i in range(len(names))]
    shown = [0, 1, 2, 3, 4, 5, 0, 1, 6, 7]
    assert np.array_equal(pixels(found), PICTURES[shown])
    assert [scan.item for scan in found if isinstance(scan.scan, LiquidLensError)] == ["broken.png", "broken.npy"]
    assert sentence(found[6]).startswith(f"{path}#broken.png: ")
    assert found[0].sha256 == sha256(files["left/scan.png"])
    assert found[5].sha256 == sha256(files["clip"])
    assert found[9].sha256 == sha256(PICTURES[1].tobytes())
    for name in ("left/#2.png", "./000001", "clip#1", "stack.npy#1", "arrays.npz#test/1"):
        [one] = scans_of(Place(str(path), name), axes=2)
        assert one.item == name
    [one] = scans_of(Place(str(path), "none.png"), axes=2)
    assert "there is no item 'none.png'" in sentence(one)


def test_an_archive_of_stacks_of_volumes(tmp_path):
    path = packed(tmp_path / "stacks.zip", {"a.npy": npy(STACK), "b.npy": npy(STACK[0]), "c.npy": npy(STACK[::-1])})
    found = scans_of(Place(str(path)), axes=3)
    assert items(found) == [*(f"a.npy#{i}" for i in range(4)), "b.npy", *(f"c.npy#{i}" for i in range(4))]
    assert np.array_equal(pixels(found), [*STACK, STACK[0], *STACK[::-1]])


@pytest.mark.parametrize("names", [range(8), [7, 3, 0, 5, 2, 1, 4, 6]])
def test_a_folder_of_series(tmp_path, names):
    """Two series and a report; the subfolder is a place of its own, and its series has the highest number."""
    volume = phantom()
    folder = tmp_path / "ct"
    second = [*series(volume + 1, SeriesInstanceUID="1.2.3", SeriesNumber=3)]
    save_series([*series(volume, SeriesNumber=2), *second], folder, list(names))
    save_series(series(volume + 2, SeriesInstanceUID="1.2.4", SeriesNumber=1), folder / "deeper")
    save(report(), folder / "IM100")
    (folder / "picture.png").write_bytes(png(PICTURES[0]))
    found = scans_of(Place(str(folder), series=True), axes=3)
    assert items(found) == ["0", "1", "IM100"]
    assert np.array_equal(pixels(found), [volume, volume + 1])
    assert sentence(found[2]) == f"{folder}#IM100: this DICOM file holds no image."
    assert found[0].scan.notes == ("Left out, as they are no slices: IM100, picture.png.",)
    for at in (0, 1):
        files = sorted(folder / f"IM{name:03d}" for name in names[4 * at : 4 * at + 4])
        assert found[at].sha256 == sha256(*(file.read_bytes() for file in files))
    assert items(scans_of(Place(str(folder)), axes=3)) == ["0", "1", "2", "IM100", "picture.png"]
    [deeper] = scans_of(Place(str(folder / "deeper"), series=True), axes=3)
    assert deeper.item == ""


def test_series_of_which_a_slice_may_be_damaged_have_its_error(tmp_path):
    """Which of the two series in the folder it is of is unknown; the one in the subfolder is not touched by it."""
    folder = tmp_path / "ct"
    save_series([*series(phantom()), *series(phantom(), SeriesInstanceUID="1.2.3", SeriesNumber=3)], folder)
    save_series(series(phantom(), SeriesInstanceUID="1.2.4", SeriesNumber=5), folder / "deeper")
    (folder / "IM100").write_bytes((folder / "IM001").read_bytes()[:200])
    found = scans_of(Place(str(folder)), axes=3)
    assert items(found) == ["0", "1", "2", "IM100"]
    assert all("IM100: not a readable DICOM file" in sentence(found[at]) for at in (0, 1, 3))
    assert isinstance(found[2].scan, Scan)


def test_the_only_series_beside_subfolders(tmp_path):
    """The folder's name alone means them as well, so that the series has its number."""
    save_series(series(phantom()), tmp_path / "ct")
    save_series(series(phantom() + 1, SeriesInstanceUID="1.2.3"), tmp_path / "ct" / "deeper")
    [one] = scans_of(Place(str(tmp_path / "ct"), series=True), axes=3)
    assert one.item == "0"
    assert np.array_equal(pixels([one])[0], phantom())


def test_a_part_of_a_place(tmp_path):
    np.save(tmp_path / "stack.npy", PICTURES)
    np.savez_compressed(tmp_path / "arrays.npz", a=PICTURES[:5], b=PICTURES[5:])
    for name in ("stack.npy", "arrays.npz"):
        for first, step, end in itertools.product((0, 1, 5, 12, 20), (1, 3, 20), (None, 0, 5, 11, 12, 40)):
            place = Place(str(tmp_path / name), first=first, step=step, end=end)
            found = [item.read() for item in each(place, axes=2)]
            if first >= 12:  # there were more when somebody began with the place
                assert [(scan.number, scan.of, sentence(scan)[-30:]) for scan in found] == [
                    (first, 0, f"12 scans, no number {first} any more."[-30:])
                ]
                continue
            wanted = list(range(12))[first:end:step]
            assert [(scan.number, scan.of) for scan in found] == [(number, 12) for number in wanted]
            assert all(np.array_equal(a, b) for a, b in zip(pixels(found), PICTURES[wanted], strict=True))
    for first in range(3):
        [missing] = each(Place(str(tmp_path / "none.npy"), first=first, step=2), axes=2)
        assert (missing.number, missing.of) == (first, first + 1), "out of reach, and so every reader's to tell"


def test_budgets(tmp_path):
    np.save(tmp_path / "stack.npy", STACK)
    np.savez(tmp_path / "mixed.npz", large=np.zeros((2, 9, 9, 9)), small=np.zeros((2, 3, 3, 3)))
    [one] = scans_of(Place(str(tmp_path / "stack.npy")), Budget(file_bytes=100), axes=3)
    assert "over the budget of 100" in sentence(one)
    found = scans_of(Place(str(tmp_path / "mixed.npz")), Budget(pixels=100), axes=3)
    assert [isinstance(scan.scan, Scan) for scan in found] == [False, False, True, True]
    assert "729 pixels are over the budget of 100" in sentence(found[1])


def test_what_is_no_number_is_an_error_and_the_next_one_is_fine(tmp_path):
    stack = STACK.astype(np.float32)
    stack[1, 0, 0, 0] = np.nan
    np.save(tmp_path / "stack.npy", stack)
    np.savez_compressed(tmp_path / "arrays.npz", a=stack)
    for name in ("stack.npy", "arrays.npz"):
        found = scans_of(Place(str(tmp_path / name)), axes=3)
        assert "1 of 90 pixels are not finite" in sentence(found[1])
        assert found[1].sha256 == sha256(stack[1].tobytes())
        assert np.array_equal(pixels(found), stack[[0, 2, 3]])


def claims_volumes(number: int) -> bytes:
    """A NIfTI-2 header, alone, of so many volumes of one voxel."""
    header = nibabel.Nifti2Header()
    header.set_data_shape((1, 1, 1, 1))
    content = bytearray(header.binaryblock)
    struct.pack_into("<q", content, 16 + 4 * 8, number)
    return bytes(content) + bytes(8)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.npy", npy(np.zeros((0, 3, 3, 3)))),
        ("hollow.npy", npy(np.zeros((10**9, 0, 3, 3)))),
        ("short.npy", npy(STACK)[:-1]),
        ("words.npy", npy(np.array(["a"]))),
        ("none.nii", claims_volumes(10**12)),
        ("none.nii.gz", gzip.compress(claims_volumes(10**12), mtime=0)),
        ("empty.dcm", b""),
        ("text.txt", b"text"),
    ],
)
def test_a_place_without_scans_is_one_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    [one] = [item.read() for item in each(Place(str(tmp_path / name)), axes=3)]
    assert (one.number, one.of) in ((0, 0), (0, 1))
    assert sentence(one).startswith(f"{tmp_path / name}: ")


def test_archives_and_folders_without_scans_are_one_error(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "text.txt").write_text("text")
    places = [
        Place(str(tmp_path / "nowhere")),
        Place(str(tmp_path / "folder")),
        Place(str(tmp_path / "folder"), series=True),
        Place(str(packed(tmp_path / "empty.zip", {}))),
        Place(str(packed(tmp_path / "text.zip", {"text.txt": b"text"}))),
        Place(str(packed(tmp_path / "none.zip", {"none.npy": npy(np.zeros((0, 3, 3, 3)))}))),
        Place(str(packed(tmp_path / "empty.npz", {}))),
    ]
    np.savez(tmp_path / "labels.npz", labels=np.arange(3))
    for place in (*places, Place(str(tmp_path / "labels.npz"))):
        [one] = [item.read() for item in each(place, axes=3)]
        assert sentence(one).startswith(f"{named(place.path, one.item)}: "), place
        assert one.sha256 is None


def test_stacks_of_nothing_and_of_too_much_are_one_error_each_also_in_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("empty.npy", npy(np.zeros((0, 3, 3, 3))))
        archive.writestr("many.npy", npy(np.zeros((11, 3, 3, 3))))
        archive.writestr("one.npy", npy(np.ones((1, 3, 3, 3))))
    found = [item.read() for item in each(Place(str(tmp_path / "a.zip")), Budget(scans=10), axes=3)]
    assert [scan.item for scan in found] == ["empty.npy", "many.npy", "one.npy#0"]
    assert "it holds no scan." in sentence(found[0])
    assert "11 scans are over the budget of 10; raise 'scans' if you trust the file." in sentence(found[1])
    assert pixels(found[2:])[0].shape == (3, 3, 3)
