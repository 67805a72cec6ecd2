"""What is found in one's own scans: values, patients, folds, shortcuts, and the page about them."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.files import as_csv
from liquidlens.imaging.phantoms import nodules
from liquidlens.imaging.storage import storage
from liquidlens.train import datasets
from liquidlens.train.datasets import Reading
from liquidlens.train.datasets import shortcut as shortcut_module
from liquidlens.train.datasets.reading import PLAIN
from liquidlens.train.datasets.shortcut import shortcut_of
from liquidlens.train.datasets.table.page import data_page
from liquidlens.train.datasets.table.report import dataset_or_why, report
from tests.imaging import dicoms

LIDC, COVID = Path("own/lidc/nodules.csv"), Path("own/covid_ct/covid_ct.csv")


def in_classes(folder: Path, pixels: dict[str, np.ndarray]) -> str:
    """Five arrays or images for each of two classes."""
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for i in range(5):
            for name, values in pixels.items():
                path = folder / label / f"patient{i}{int(label == 'b')}_{name}"
                if name.endswith(".npy"):
                    np.save(path, values)
                else:
                    Image.fromarray(values).save(path)
    return str(folder)


NOISE = np.random.default_rng(0)
VOLUME = NOISE.integers(-1000, 500, (4, 5, 6))
COLOURS = NOISE.integers(0, 255, (5, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "values", "channels", "window"),
    [
        ({"ct.npy": VOLUME}, "hu", 1, (-1000, 400)),
        ({"soft.npy": VOLUME.clip(-300)}, "hu", 1, (-160, 240)),
        ({"mr.npy": VOLUME / 7}, "relative", 1, None),
        ({"deep.npy": VOLUME.clip(0, 4000)}, "relative", 1, None),
        ({"mask.npy": 255 * (VOLUME > 0)}, "mask", 1, None),
        ({"grey.npy": VOLUME.clip(0, 255)}, "grey", 1, None),
        ({"photo.png": COLOURS}, "grey", 3, None),
        ({"x.png": COLOURS[..., 0]}, "grey", 1, None),
    ],
)
def test_values_are_found_in_the_files(tmp_path, pixels, values, channels, window):
    dataset = datasets.load(in_classes(tmp_path / "set", pixels))
    assert (dataset.values, dataset.channels, dataset.window) == (values, channels, window)
    assert dataset.scans["train"][0].shape == next(iter(pixels.values())).shape
    said = [note for note in dataset.notes if note.startswith("Read as")]
    assert bool(said) == (values != "grey" or channels == 3)


def test_values_are_what_a_person_says(tmp_path):
    folder = in_classes(tmp_path / "set", {"ct.npy": VOLUME})
    assert datasets.load(folder, reading=Reading(window=(-100, 100))).window == (-100, 100)
    assert datasets.load(folder, reading=Reading(values="relative")).values == "relative"
    with pytest.raises(LiquidLensError, match=r"holds values from -99\d .*--values hu"):
        datasets.load(folder, reading=Reading(values="grey"))


def test_x_rays_of_more_than_8_bits_are_seen_through_their_window(tmp_path):
    pixels = NOISE.integers(0, 4095, (8, 9)).astype(np.uint16)
    for label in ("a", "b"):
        for i in range(5):
            xray = dicoms.image(pixels, PatientID=f"{label}{i}", WindowCenter=2048, WindowWidth=1024)
            dicoms.save(xray, tmp_path / "set" / label / f"{i}.dcm")
    dataset = datasets.load(str(tmp_path / "set"))
    assert dataset.values == "grey"
    assert (dataset.scans["train"][0].min(), dataset.scans["train"][0].max()) == (0, 255)


def test_patients_of_dicom_are_kept_together_and_never_named(tmp_path):
    for label in ("a", "b"):
        for i in range(10):
            one = dicoms.series(dicoms.phantom(), PatientID=f"LEAK-{label}{i // 2}")[i % 4]
            dicoms.save(one, tmp_path / "set" / label / f"{i}.dcm")
    dataset = datasets.load(str(tmp_path / "set"))
    of_split = [{origin.patient for origin in origins} for origins in dataset.origins.values()]
    assert [len(patients) for patients in of_split] == [6, 2, 2]
    assert not of_split[0] & of_split[1] | of_split[0] & of_split[2] | of_split[1] & of_split[2]
    assert "LEAK" not in repr(dataset.origins) + repr(dataset.notes)
    first, second = (storage(tmp_path / "set" / "a" / f"{i}.dcm").patient for i in (0, 1))
    assert first == second != storage(tmp_path / "set" / "b" / "0.dcm").patient


def pointed(table: Path, header: str, cells: dict[int, str]) -> str:
    """The same table with further columns, whose cells are given for some rows, from 0."""
    first, *lines = table.read_text().splitlines()
    empty = "," * header.count(",")
    rows = [f"{line},{cells.get(i, empty)}" for i, line in enumerate(lines)]
    path = table.with_name("pointed.csv")
    path.write_text("\n".join([f"{first},{header}", *rows]) + "\n")
    return str(path)


@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_points_in_voxels_and_in_the_patient_are_the_same_place(tmp_path, form):
    table = nodules.write_lung_nodules(tmp_path / "set", 16, form)
    spacing = nodules.lung_nodule(0).spacing
    at = (4.0, 10.0, 20.0)
    # Both kinds of files put the first voxel at 0, 0, 0 of the patient, and count to the left, the back and the head.
    place = ",".join(repr(step * length) for step, length in zip(at[::-1], spacing[::-1], strict=True))
    voxels = datasets.collect(pointed(table, "slice,row,column", {0: "4,10,20"})).facts
    assert voxels[0].centre == voxels[0].point == at
    assert voxels[1].point is None
    middle = (np.array(voxels[1].shape) - 1) / 2
    assert voxels[1].centre == voxels[1].mask.centroid == pytest.approx(middle, abs=8)
    millimetres = datasets.collect(pointed(table, "x,y,z", {0: place})).facts
    assert millimetres[0].point == pytest.approx(at, abs=1e-4)
    datasets.collect(pointed(table, "slice,row,column,x,y,z", {0: f"4,10,20,{place}"}))
    for cells, sentence in (
        (f"4,12,20,{place}", r"row 2: slice, row, column say 4 x 12 x 20, and x, y, z 4 x 10 x 20: leave one out"),
        (",,,-50,0,0", r"row 2: the point .*, -50, 0, 0 mm in the patient, lies outside of the scan of "),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            datasets.load(pointed(table, "slice,row,column,x,y,z", {0: cells}))


def test_patients_are_those_of_the_series_that_is_named(tmp_path):
    """Not of the first file of its folder; a list of a disc's files beside them is no scan."""
    for number, patient in enumerate(("one", "two")):
        for at, each in enumerate(dicoms.series(dicoms.phantom(), PatientID=patient, SeriesNumber=number)):
            each.SeriesInstanceUID = f"1.2.{number + 1}"
            dicoms.save(each, tmp_path / "both" / f"{patient}{at}")
            dicoms.save(each, tmp_path / "disc" / patient / str(at))
    listing = dicoms.report()
    dicoms.save(listing, tmp_path / "disc" / "one" / "DICOMDIR")
    first, second = (storage(f"{tmp_path}/both#{number}") for number in range(2))
    assert first.patient != second.patient
    assert first.patient == storage(tmp_path / "disc" / "one").patient
    assert second.patient == storage(tmp_path / "disc" / "two").patient
    assert second.bytes == sum(file.stat().st_size for file in (tmp_path / "disc" / "two").iterdir())
    with pytest.raises(LiquidLensError, match="there is no item '2'"):
        storage(f"{tmp_path}/both#2")


def test_a_point_belongs_to_the_dataset(tmp_path):
    table = nodules.write_lung_nodules(tmp_path / "set", 16)
    plain = datasets.load(str(table))
    first, second = (datasets.load(pointed(table, "slice,row,column", {0: cells})) for cells in ("4,10,20", "4,10,21"))
    assert len({plain.md5, first.md5, second.md5}) == 3
    points = [origin.facts.point for split in datasets.SPLITS for origin in first.origins[split]]
    assert [point for point in points if point] == [(4, 10, 20)]


def test_folds_part_patients_and_the_final_reading_has_all(tmp_path):
    table = nodules.write_lung_nodules(tmp_path / "set", 24)
    collection = datasets.collect(str(table))
    tested: list[str] = []
    for fold in range(3):
        dataset = datasets.dataset_of(collection, Reading(folds=3, fold=fold))
        patients = [{origin.patient for origin in dataset.origins[split]} for split in datasets.SPLITS]
        assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
        assert all(set(labels) == {0, 1} for labels in dataset.labels.values())
        tested += [origin.path for origin in dataset.origins["test"]]
    whole = datasets.dataset_of(collection, Reading(folds=3))
    assert sorted(tested) == sorted(origin.path for origin in whole.origins["train"])
    assert len(whole.labels["train"]) == len(whole.labels["test"]) == 24


def test_folds_say_that_they_do_not_use_the_splits_that_are_given(tmp_path):
    table = nodules.write_lung_nodules(tmp_path / "set", 48)
    rows = list(csv.DictReader(table.open()))
    tested = {row["patient"] for row in rows[:12]}
    for row in rows:
        row["split"] = "test" if row["patient"] in tested else "train"
    given = table.with_name("given.csv")
    given.write_text(as_csv(rows))
    collection = datasets.collect(str(given))
    notes = " ".join(datasets.dataset_of(collection, Reading(folds=2)).notes)
    count = sum(row["split"] == "test" for row in rows)
    assert f"--folds parts all scans anew, and its final model is trained on the {count} test scans, too" in notes
    assert "--folds" not in " ".join(datasets.dataset_of(collection, Reading()).notes)


def test_held_out_scans_are_those_of_other_patients(tmp_path):
    held = datasets.load(str(nodules.write_lung_nodules(tmp_path / "set", 40))).held_out()
    train, test = ({origin.patient for origin in held.origins[split]} for split in ("train", "test"))
    assert train
    assert test
    assert not train & test
    assert [len(held.origins[split]) for split in ("train", "test")] == [
        len(held.labels[split]) for split in ("train", "test")
    ]


def sections_of(table: Path):
    collection = datasets.collect(str(table), with_failures=True)
    dataset, why_not = dataset_or_why(collection, PLAIN, "table:set")
    return {section.title: section for section in report(collection, PLAIN, dataset, why_not)}


def test_a_shortcut_on_request_is_found(tmp_path):
    honest = datasets.load(str(nodules.write_lung_nodules(tmp_path / "honest", 32)))
    found = shortcut_of(honest)
    assert found.auc.low < 0.6
    assert found.mask.value > 0.6
    table = nodules.write_lung_nodules(tmp_path / "set", 32, shortcut=True)
    section = sections_of(table)["Shortcuts"]
    assert section.alarm
    assert "THE LABEL SHOWS" in section.sentences[1]
    assert "spacing" in section.sentences[1]
    rows = dict(section.rows)
    assert float(rows["spacing"].split()[0]) > 0.95
    assert float(rows["mean value"].split()[0]) < 0.8


def test_a_scan_with_several_points_counts_as_often_for_the_shortcut(tmp_path, monkeypatch):
    table = nodules.write_lung_nodules(tmp_path / "set", 32)
    header, *lines = table.read_text().splitlines()
    swapped = {"benign": "malignant", "malignant": "benign"}
    other = [re.sub("benign|malignant", lambda found: swapped[found[0]], line) for line in lines]
    rows = [f"{line},4,10,{20 + at}" for at, own in enumerate((lines, other)) for line in own]
    table.write_text("\n".join([f"{header},slice,row,column", *rows]) + "\n")
    dataset = datasets.load(str(table), reading=Reading(spacing=(2.0, 1.0, 1.0)))
    asked = []
    monkeypatch.setattr(shortcut_module, "shortcut", lambda facts, labels, patients: asked.append(labels))
    shortcut_of(dataset)
    assert np.bincount(asked[0]).tolist() == [32, 32]


def test_names_of_files_need_not_be_text(tmp_path):
    folder = in_classes(tmp_path / "set", {"x.png": COLOURS[..., 0]})
    (Path(folder) / "a" / "patient00_x.png").rename(Path(folder) / "a" / os.fsdecode(b"patient00_\xff.png"))
    dataset = datasets.load(folder)
    assert "a/patient00_\\udcff.png" in {origin.path for split in datasets.SPLITS for origin in dataset.origins[split]}


def test_a_set_that_mixes_images_and_volumes_is_reported(tmp_path):
    table = in_classes(tmp_path / "set", {"ct.npy": VOLUME, "slice.npy": VOLUME[0]})
    sections = sections_of(Path(table))
    sizes = {row[0]: row[1] for row in sections["Sizes and values"].rows}
    assert sizes["slices"] == "4 / 4 / 4"
    assert sizes["rows"] == "5 / 5 / 5"


def test_the_report_finds_duplicates_and_unreadable_files(tmp_path):
    table = nodules.write_lung_nodules(tmp_path / "set", 24)
    image = tmp_path / "set" / "image"
    (image / "scan-002.nii.gz").write_bytes((image / "scan-001.nii.gz").read_bytes())
    (image / "scan-003.nii.gz").write_bytes(b"<script>")
    mask = tmp_path / "set" / "mask"
    (mask / "scan-002.nii.gz").write_bytes((mask / "scan-001.nii.gz").read_bytes())
    sections = sections_of(table)
    assert "OF DIFFERENT LABELS" in sections["Duplicates"].sentences[0]
    assert "image/scan-001.nii.gz, image/scan-002.nii.gz" in sections["Duplicates"].sentences[0]
    assert "row 4" in sections["Unreadable"].sentences[0]
    assert sections["Classes"].header == ("class", "all", "train", "val", "test")
    page = data_page("<set>", list(sections.values()), None)
    assert "<script" not in page
    assert "&lt;set&gt;: the data" in page
    assert "Duplicates" in page


def test_a_table_that_cannot_be_split_is_reported(tmp_path):
    section = sections_of(nodules.write_lung_nodules(tmp_path / "set", 8))["Classes"]
    assert section.alarm
    assert "to split it by patient takes 5" in section.sentences[1]


def test_real_ct_images_show_where_they_come_from(data_root):
    section = sections_of(data_root / COVID)["Shortcuts"]
    rows = {name: float(figure.split()[0]) for name, figure in section.rows}
    assert section.alarm
    assert rows["file type"] > 0.65
    assert rows["all of these together"] > 0.85


def test_real_nodules_are_told_by_their_crops(data_root):
    dataset = datasets.load(str(data_root / LIDC), reading=Reading(labels=("benign", "malignant")))
    assert (dataset.values, dataset.window) == ("hu", (-1000, 400))
    assert sum(map(len, dataset.labels.values())) == 630
    found = shortcut_of(dataset)
    assert found.auc.value == pytest.approx(0.86, abs=0.03)
    assert found.mask.value == pytest.approx(0.90, abs=0.02)
