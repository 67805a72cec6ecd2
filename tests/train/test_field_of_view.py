"""Training on fields of view in millimetres: where each scan is looked at, and what is refused."""

import csv

import numpy as np
import pytest

from liquidlens.commands.options import reading_of
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read
from liquidlens.train import datasets
from liquidlens.train.datasets import Reading
from liquidlens.train.run import RunRecipe

ONE = Reading(spacing=(1.0, 1.0, 1.0))


def test_points_masks_and_middles(nodule_table, tmp_path):
    """A point counts more than a mask, a mask more than the middle."""
    rows = list(csv.DictReader(nodule_table.open()))
    for i, row in enumerate(rows):
        row["path"] = str(nodule_table.parent / row["path"])
        row["mask"] = str(nodule_table.parent / row["mask"]) if i != 2 else ""
    rows[0] |= {"slice": 3, "row": 12, "column": 20.5}
    table = tmp_path / "pointed.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    dataset = datasets.load(str(table), reading=ONE)
    assert dataset.volumes
    assert dataset.spacing == (1, 1, 1)
    scans = {
        origin.path: scan
        for split in datasets.SPLITS
        for origin, scan in zip(dataset.origins[split], dataset.scans[split], strict=True)
    }
    pointed, masked, middle = (scans[rows[i]["path"]] for i in range(3))
    assert pointed.centre.tolist() == [3, 12, 20.5]
    inside = np.nonzero(read(rows[1]["mask"]).pixels)
    assert masked.centre == pytest.approx([axis.mean() for axis in inside])
    assert np.isnan(middle.centre).all()
    scan = read(rows[1]["path"])
    assert masked.spacing == pytest.approx(scan.spacing)
    assert np.array_equal(masked.pixels, scan.pixels)
    assert not any("--spacing" in note for note in dataset.notes)
    assert any("--spacing 1 looks around them" in note for note in datasets.load(str(table)).notes)


def test_a_scan_of_several_points_is_listed_for_each(nodule_table, tmp_path):
    rows = [
        row | {"path": str(nodule_table.parent / row["path"]), "mask": ""}
        for row in csv.DictReader(nodule_table.open())
    ]
    points = [{"slice": 3, "row": 12, "column": 20}, {"slice": 5, "row": 14, "column": 9}]
    table = tmp_path / "points.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *points[0]])
        writer.writeheader()
        writer.writerows(row | point for row in rows for point in points)
    dataset = datasets.load(str(table), reading=ONE)
    assert sum(len(dataset.scans[split]) for split in datasets.SPLITS) == 2 * len(rows)
    for split in datasets.SPLITS:
        first, second = dataset.scans[split][0], dataset.scans[split][1]
        assert np.array_equal(first.pixels, second.pixels)
        assert [first.centre.tolist(), second.centre.tolist()] == [[3, 12, 20], [5, 14, 9]]
    with pytest.raises(
        LiquidLensError, match=r"points\.csv, row 3: .* was listed before, in points\.csv, row 2; .* --spacing 1"
    ):
        datasets.load(str(table))


def test_the_recipe_keeps_the_spacing(nodule_run):
    recipe = nodule_run.recipe()
    assert recipe.input.spacing == recipe.reading.spacing == (1.2, 1.2, 1.2)
    assert recipe.input.extent == pytest.approx((33.6, 33.6, 33.6))
    assert RunRecipe.model_validate_json(recipe.model_dump_json()) == recipe
    whole = recipe.model_copy(update={"reading": Reading()})
    assert recipe.differences(whole) == whole.differences(recipe) == ["reading"]
    assert '"spacing"' in (nodule_run.path / "recipe.json").read_text()


def test_a_spacing_that_is_not_known_is_asked_for(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(5):
            np.save(tmp_path / "set" / label / f"patient{i}{int(label == 'b')}.npy", np.ones((4, 5, 6)) * i)
    with pytest.raises(LiquidLensError, match=r"0\.npy does not say how far its voxels are apart.* save it as NIfTI"):
        datasets.load(str(tmp_path / "set"), reading=ONE)


def test_images_and_registered_sets_have_no_field_of_view(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(5):
            np.save(tmp_path / "set" / label / f"patient{i}{int(label == 'b')}.npy", np.ones((5, 6)) * i)
    with pytest.raises(LiquidLensError, match="is an image, and --spacing is for volumes"):
        datasets.load(str(tmp_path / "set"), reading=ONE)
    with pytest.raises(LiquidLensError, match="--spacing is for tables and folders of your own scans"):
        datasets.load("phantom-vessel3d", reading=ONE)


def test_how_a_spacing_is_written():
    assert reading_of(None, "", spacing="1").spacing == (1, 1, 1)
    assert reading_of(None, "", spacing="1,0.7,0.7").spacing == (1, 0.7, 0.7)
    for text, sentence in (
        ("1,2", "one number of millimetres or three"),
        ("wide", "--spacing takes numbers"),
        ("0", "one length in millimetres, or three, above 0"),
        ("1,1,nan", "one length in millimetres, or three, above 0"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            reading_of(None, "", spacing=text)


def test_a_table_is_found_where_the_datasets_are(nodule_run, nodule_table):
    """So that a kept run names no path of the machine that it was made on."""
    root, name = nodule_table.parents[1], "table:set/nodules.csv"
    assert datasets.own(name)
    found = datasets.load(name, root, reading=ONE)
    assert (found.name, found.md5) == ("table:nodules", datasets.load(str(nodule_table), reading=ONE).md5)
    recipe = nodule_run.recipe()
    assert recipe.model_copy(update={"dataset": name}).name == recipe.name
    for missing in ("table:set/none.csv", f"table:{root}/none.csv", "table:set", "table:"):
        with pytest.raises(datasets.DataUnavailableError, match="There is no table"):
            datasets.load(missing, root)
