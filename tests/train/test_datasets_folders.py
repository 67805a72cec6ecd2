"""A folder of images as a dataset: its splits, its patients, and every way it can be no dataset."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.train import datasets
from liquidlens.train.datasets import Reading, places
from liquidlens.train.datasets.table.collection import NO_PATIENTS, patient_named
from tests.imaging import dicoms


@pytest.fixture(autouse=True)
def _no_other_places(monkeypatch, tmp_path):
    monkeypatch.delenv("LIQUIDLENS_DATA", raising=False)
    monkeypatch.setattr(places, "DEFAULT_ROOT", str(tmp_path / "default"))


def images(folder, *names, size=(9, 8)):
    """Small images, each of another grey, of the kind their names say."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        pixels = np.full(size, (i * 7 + len(folder.name)) % 256, np.uint8)
        if name.endswith(".npy"):
            np.save(folder / name, pixels)
        else:
            Image.fromarray(pixels).save(folder / name)


def xrays(folder, patients=6, images_each=2):
    for label in ("normal", "pneumonia"):
        images(folder / label, *(f"person{len(label)}{p}_{i}.png" for p in range(patients) for i in range(images_each)))
    return folder


def paths(dataset):
    return {split: [Path(origin.path) for origin in found] for split, found in dataset.origins.items()}


def test_a_folder_is_split_by_patient(tmp_path):
    dataset = datasets.load(str(xrays(tmp_path / "xrays", patients=10, images_each=3)))
    assert dataset.name == "folder:xrays"
    assert dataset.label_names == ("normal", "pneumonia")
    assert {split: len(scans) for split, scans in dataset.scans.items()} == {"train": 36, "val": 12, "test": 12}
    patients = {split: {patient_named(str(path)) for path in found} for split, found in paths(dataset).items()}
    assert not patients["train"] & patients["val"]
    assert not patients["train"] & patients["test"]
    assert not patients["val"] & patients["test"]
    for split, found in paths(dataset).items():
        assert [path.parent.name for path in found] == [dataset.label_names[label] for label in dataset.labels[split]]
        assert dataset.labels[split].mean() == 0.5
    assert dataset.scans["train"][0].shape == (9, 8)
    assert not dataset.synthetic


def test_the_same_files_give_the_same_dataset_wherever_they_are(tmp_path, monkeypatch):
    first = datasets.load(str(xrays(tmp_path / "a" / "xrays")))
    xrays(tmp_path / "b" / "xrays")
    second = datasets.load("folder:xrays", tmp_path / "b")
    assert first.name == second.name
    assert first.md5 == second.md5
    assert [p.name for p in paths(first)["test"]] == [p.name for p in paths(second)["test"]]
    assert datasets.load(f"folder:{tmp_path}/a/xrays").md5 == first.md5
    monkeypatch.chdir(tmp_path / "a" / "xrays")
    assert datasets.load(".").name == "folder:xrays"
    Image.new("L", (8, 9), 99).save(tmp_path / "a" / "xrays" / "normal" / "person60_0.png")
    assert datasets.load(".").md5 != first.md5


def test_given_splits_are_kept(tmp_path):
    for split in ("Train", "valid", "TEST"):
        for label in ("a", "b"):
            images(tmp_path / "set" / split / label, f"{split}1.png", f"{split}2.jpg")
    dataset = datasets.load(str(tmp_path / "set"))
    assert {split: {path.stem[:-1] for path in found} for split, found in paths(dataset).items()} == {
        "train": {"Train"},
        "val": {"valid"},
        "test": {"TEST"},
    }


def test_a_missing_validation_split_is_taken_from_training_patients(tmp_path):
    xrays(tmp_path / "set" / "train", patients=10)
    xrays(tmp_path / "set" / "test", patients=1)
    dataset = datasets.load(str(tmp_path / "set"))
    assert [len(dataset.labels[split]) for split in datasets.SPLITS] == [32, 8, 4]
    train, val = ({patient_named(str(path)) for path in paths(dataset)[split]} for split in ("train", "val"))
    assert not train & val
    assert all(path.parents[1].name == "test" for path in paths(dataset)["test"])


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person123_bacteria_4.jpeg", "person123"),
        ("person123_virus_7.jpeg", "person123"),
        ("IM-0115-0001.jpeg", "im-0115"),
        ("NORMAL2-IM-1427-0001.jpeg", "normal2-im-1427"),
        ("LIDC-IDRI-0001_R_1.nii.gz", "lidc-idri-0001"),
        ("patient_12_slice_3.png", "patient_12"),
        ("ct_patient-7.png", "patient-7"),
        ("sub-01_T1w.nii.gz", "sub-01"),
        ("scan7.png", None),
        ("outpatient1.png", None),
    ],
)
def test_patients_from_file_names(name, patient):
    assert patient_named(f"folder/{name}") == patient


def test_patients_from_names_of_files_of_several_items_and_of_items(tmp_path):
    for name in ("patient12.npz", "scans.zip"):
        (tmp_path / name).touch()
    assert patient_named(f"{tmp_path}/patient12.npz#scans/7") == "patient12"
    assert patient_named(f"{tmp_path}/scans.zip#patient_12/1.png") == "patient_12"
    assert patient_named(f"{tmp_path}/scans.zip#7") is None


def test_kinds_may_be_mixed_and_others_are_reported(tmp_path):
    folder = tmp_path / "set"
    images(folder / "a", "1.PNG", "2.jpg", "3.npy", "4.bmp", "5.tif")
    images(folder / "b", *(f"{i}.JPEG" for i in range(5)))
    (folder / "a" / "notes.txt").write_text("no image")
    (folder / "a" / ".DS_Store").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / "README.md").write_text("beside the classes")
    dataset = datasets.load(str(folder))
    assert sum(map(len, dataset.labels.values())) == 10
    assert dataset.notes[0] == f"{folder}/a/notes.txt: this kind of file cannot be read."
    assert dataset.notes[1:] == (NO_PATIENTS,)


def test_images_that_differ_in_size(tmp_path):
    xrays(tmp_path / "set")
    images(tmp_path / "set" / "normal", "wide.png", size=(5, 30))
    assert {scan.shape for scans in datasets.load(str(tmp_path / "set")).scans.values() for scan in scans} == {
        (9, 8),
        (5, 30),
    }


def test_volumes(tmp_path):
    for label in ("a", "b"):
        images(tmp_path / "set" / label, *(f"{i}.npy" for i in range(5)), size=(3, 4, 5))
    assert datasets.load(str(tmp_path / "set")).scans["train"][0].shape == (3, 4, 5)
    images(tmp_path / "set" / "b", "6.npy")
    with pytest.raises(LiquidLensError, match=r"6\.npy is an image and .*0\.npy a volume"):
        datasets.load(str(tmp_path / "set"))


def test_a_corrupt_image_is_named_or_skipped(tmp_path):
    xrays(tmp_path / "set")
    (tmp_path / "set" / "normal" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(LiquidLensError, match=r"broken\.png: not a readable .*--skip-bad"):
        datasets.load(str(tmp_path / "set"))
    dataset = datasets.load(str(tmp_path / "set"), skip_bad=True)
    assert sum(map(len, dataset.labels.values())) == 24
    assert len(dataset.notes) == 1
    assert "broken.png" in dataset.notes[0]


def test_a_class_of_corrupt_images(tmp_path):
    xrays(tmp_path / "set")
    for path in (tmp_path / "set" / "normal").iterdir():
        path.write_bytes(b"")
    with pytest.raises(LiquidLensError, match=r"No scan of the class normal in .* read: .*\.png: not a readable"):
        datasets.load(str(tmp_path / "set"), skip_bad=True)


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((4, 4), -1000.0), "values from -1000 to -1000"),
        (np.full((4, 4), 70000.0), "to 70000"),
        (np.full((4, 4), 0.5), "fractions from 0 to 1"),
    ],
)
def test_values_that_are_no_grey_values(tmp_path, pixels, sentence):
    xrays(tmp_path / "set")
    np.save(tmp_path / "set" / "normal" / "scan.npy", pixels)
    with pytest.raises(LiquidLensError, match=rf"scan\.npy holds .*{sentence}"):
        datasets.load(str(tmp_path / "set"))


def no_classes(folder):
    images(folder, "1.png")
    return "has no folders"


def one_class(folder):
    images(folder / "normal", "1.png")
    return r"one class folder \(normal\)"


def empty_class(folder):
    xrays(folder)
    (folder / "other").mkdir()
    return "class folder .*other has no images"


def unknown_files_only(folder):
    xrays(folder)
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").touch()
    return "class folder .*other has only files of unknown kinds"


def too_few_patients(folder):
    xrays(folder, patients=4, images_each=5)
    return "class normal in .* has images of 4 patients; to split it by patient takes 5"


def no_test_split(folder):
    xrays(folder / "train")
    return "none named test"


def stranger(folder):
    xrays(folder / "train")
    xrays(folder / "test")
    xrays(folder / "holdout")
    return "beside them holdout"


def validation_twice(folder):
    for split in ("train", "test", "val", "valid"):
        xrays(folder / split)
    return "two folders for the split val"


def class_missing_in_test(folder):
    xrays(folder / "train")
    images(folder / "test" / "normal", "1.png")
    images(folder / "test" / "other", "1.png")
    return "test has no folder for the class pneumonia"


@pytest.mark.parametrize(
    "make",
    [
        no_classes,
        one_class,
        empty_class,
        unknown_files_only,
        too_few_patients,
        no_test_split,
        stranger,
        validation_twice,
        class_missing_in_test,
    ],
)
def test_folders_that_are_no_dataset(tmp_path, make):
    sentence = make(tmp_path / "set")
    with pytest.raises(LiquidLensError, match=sentence):
        datasets.load(str(tmp_path / "set"))


def test_a_folder_that_is_not_there(tmp_path):
    for name in ("folder:nowhere", "folder:/nowhere/at/all", "folder:", "nowhere/at/all"):
        with pytest.raises(datasets.DataUnavailableError, match="no image folder"):
            datasets.load(name, tmp_path)


def test_patients_in_two_splits_are_noted(tmp_path):
    folder = tmp_path / "xrays"
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            images(folder / split / label, *(f"person{label}{split}{i}_1.png" for i in range(3)), "person7_1.png")
    unknown, note = datasets.load(str(folder)).notes
    assert unknown.startswith("18 of 24 scans tell no patient")
    assert "The test split shares 1 patient with another one (person7)" in note
    for label in ("a", "b"):
        (folder / "test" / label / "person7_1.png").unlink()
    assert len(datasets.load(str(folder)).notes) == 1


def test_sixteen_bit_values_that_the_network_would_see_as_black_are_noted(tmp_path):
    folder = xrays(tmp_path / "xrays")
    for path in folder.glob("*/*.png"):
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(path)
    (note,) = datasets.load(str(folder)).notes
    assert "end at 4095" in note
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(next(folder.glob("*/*.png")))
    assert "23 files have 16-bit values and 1 have 8-bit ones" in datasets.load(str(folder)).notes[0]


def test_dicom_series_and_files_without_an_ending(tmp_path):
    folder, volume = tmp_path / "ct", dicoms.phantom()
    for label in ("a", "b"):
        for i in range(5):
            slices = dicoms.series(volume + i, PatientID=f"LEAK-{label}{i}")
            dicoms.save_series(slices, folder / label / f"scan {i}" / ("series" if i % 2 else ""))
    dataset = datasets.load(str(folder))
    assert (dataset.values, dataset.window, dataset.volumes) == ("hu", (-1000, 400), True)
    assert [len(labels) for labels in dataset.labels.values()] == [6, 2, 2]
    assert dataset.scans["train"][0].min() < -900
    assert dataset.notes == (
        "Read as hu with the window -1000,400: the files give Hounsfield units. --values says otherwise.",
    )
    patients = [origin.patient for origins in dataset.origins.values() for origin in origins]
    assert sorted(patients) == sorted(f"patient {i}" for i in range(1, 11))
    for label in ("a", "b"):
        for i in range(5):
            one = dicoms.series(volume, PatientID=f"LEAK-{label}{i}")[0]
            dicoms.save(one, tmp_path / "slices" / label / f"IM{i}")
    assert not datasets.load(str(tmp_path / "slices"), reading=Reading(labels=("b", "a"))).volumes
