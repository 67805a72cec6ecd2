"""From generated nodules as DICOM series, by their table, to a cross-validated model, its file and its card."""

import csv
import json

import numpy as np
import pytest

from liquidlens import export, metrics, train
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read
from liquidlens.imaging.phantoms import nodules
from liquidlens.serve.predict import Predictor
from liquidlens.train.comparison import CLEAN, answers_of
from liquidlens.train.datasets import Reading
from liquidlens.train.evaluation import evaluate_run
from liquidlens.train.run import RunFolder
from liquidlens.train.studies.crossvalidation import crossvalidate, out_of_fold

SCANS = 24


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return nodules.write_lung_nodules(tmp_path_factory.mktemp("own") / "set", SCANS, "dicom")


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    changes = {"max_epochs": 2, "batch_size": 8}
    reading = Reading(folds=2)
    arguments = ("CNNExp4N1", str(table), reading, "quick", 0, changes)
    runs = tmp_path_factory.mktemp("runs")
    folder = crossvalidate(*arguments, runs=runs, progress=False)
    before = (folder.path / "metrics.json").stat().st_mtime_ns
    assert crossvalidate(*arguments, runs=runs, progress=False) == folder
    assert (folder.path / "metrics.json").stat().st_mtime_ns == before
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_scan_is_answered_once_by_a_model_that_has_not_seen_its_patient(run, table):
    rows = rows_of(run.path / "out-of-fold.csv")
    assert [row["path"] for row in rows] == [row["path"] for row in rows_of(table)]
    for fold in (1, 2):
        split = rows_of(run.path / f"fold-{fold}" / "split.csv")
        assert set(split[0]) == {"path", "patient", "split"}
        seen = {row["patient"] for row in split if row["split"] != "test"}
        answered = [row for row in rows if row["fold"] == str(fold)]
        assert not seen & {row["patient"] for row in answered}
        assert {row["path"] for row in answered} == {row["path"] for row in split if row["split"] == "test"}
    assert all(float(row["p(benign)"]) + float(row["p(malignant)"]) == pytest.approx(1, abs=1e-5) for row in rows)


def test_each_point_of_a_scan_has_an_answer_of_its_own(table, tmp_path):
    header, *lines = table.read_text().splitlines()
    points = table.with_name("points.csv")
    rows = [f"{line},4,10,{column}" for line in lines for column in (8, 30)]
    points.write_text("\n".join([f"{header},slice,row,column", *rows]) + "\n")
    reading = Reading(folds=2, spacing=(2.0, 1.0, 1.0))
    few = {"max_epochs": 1, "subset": 6}
    folder = crossvalidate("CNNExp4N1", str(points), reading, "quick", 0, few, runs=tmp_path, progress=False)
    answered = rows_of(folder.path / "out-of-fold.csv")
    assert len(answered) == 2 * SCANS
    pairs = list(zip(answered[::2], answered[1::2], strict=True))
    assert all((one["path"], one["fold"]) == (other["path"], other["fold"]) for one, other in pairs)
    assert all(one["logit 0"] != other["logit 0"] for one, other in pairs)


def test_it_is_compared_by_the_answers_of_its_folds(run):
    found = answers_of(run.path)
    answers, labels = [], []
    for fold in (1, 2):
        temperature = RunFolder(run.path / f"fold-{fold}").metrics().best.temperature
        for row in rows_of(run.path / "out-of-fold.csv"):
            if row["fold"] == str(fold):
                answers.append([float(row[name]) / temperature for name in row if name.startswith("logit")])
                labels.append(found.recipe.labels.index(row["label"]))
    known = metrics.probabilities(np.array(answers))
    assert np.sort(found.by[CLEAN][:, 1]) == pytest.approx(np.sort(known[:, 1]), abs=1e-5)
    assert metrics.auc(found.labels, found.by[CLEAN]) == pytest.approx(metrics.auc(np.array(labels), known))
    assert len(found.patients) == SCANS


def test_the_final_model_has_seen_all_scans_for_the_median_of_the_epochs(run):
    found, recipe = run.metrics(), run.recipe()
    assert recipe.training.max_epochs == found.epochs == round(np.median(found.cross_validation.epochs))
    assert len(rows_of(run.path / "split.csv")) == SCANS
    assert {row["split"] for row in rows_of(run.path / "split.csv")} == {"train"}
    labels, logits, patients = out_of_fold(run, recipe)
    assert found.best.test == found.best.val
    assert found.best.test["auc"] == pytest.approx(metrics.auc(labels, metrics.probabilities(logits)))
    assert found.cross_validation.patients == len(set(patients)) == 19
    assert next(iter(found.cross_validation.figures)) == "AUC (malignant)"


def test_each_fold_learns_from_a_subset_and_is_tested_on_all_of_its_scans(run, table, tmp_path):
    said = []

    def learned_from(scans):
        few = {"max_epochs": 1, "subset": scans}
        arguments = ("CNNExp4N1", str(table), Reading(folds=2), "quick", 0, few)
        return crossvalidate(*arguments, runs=tmp_path, progress=False, say=said.append)

    found = learned_from(5)
    assert said[-1] == "The final model: 5 scans, 1 epoch."
    assert found.path.name == "nodules-CNNExp4N1-quick+max_epochs=1+subset=5-seed0-2folds"
    folds = [{row["path"]: row["fold"] for row in rows_of(of.path / "out-of-fold.csv")} for of in (found, run)]
    assert folds[0] == folds[1]
    with pytest.raises(LiquidLensError, match="A subset of 20 cannot be drawn from"):
        learned_from(20)


def test_the_run_answers_for_itself(run):
    found = evaluate_run(run.path)
    assert found.of == "2-fold cross-validation, 24 scans of 19 patients"
    assert {"AUC (malignant)", "sensitivity (malignant)", "specificity (malignant)"} < set(found.figures)
    assert len(found.rows()) == SCANS
    assert found.shortcut.mask is not None


def test_the_file_and_its_card_say_where_the_figures_come_from(run, table, tmp_path):
    bundle = export.export(run.path, tmp_path / "bundle", export.Options(precisions=()))
    provenance = bundle.manifest.provenance
    assert provenance.cross_validated
    assert "2-fold cross-validation, 24 scans of 19 patients: AUC (malignant)" in provenance.dataset_note
    assert "What should not tell the label" in provenance.dataset_note
    card = (bundle.path / "CARD.md").read_text()
    assert "| Out of fold |" in card
    assert "was tested on none" in card
    assert str(table.parent) not in card
    assert bundle.manifest.metrics["test"]["auc"] == run.metrics().best.test["auc"]
    found = Predictor(bundle.model).predict(table.parent / "image" / "scan-001")
    assert set(found.probabilities) == {"benign", "malignant"}


def test_a_table_alone_is_trained_split_and_evaluated(table, tmp_path):
    reading = Reading(positive="benign")
    changes = {"max_epochs": 1, "class_weights": "balanced"}
    run = train.train("LiqExp4N2", str(table), "quick", 0, changes, runs=tmp_path, progress=False, reading=reading)
    assert run.path.name == "nodules-LiqExp4N2-quick+class_weights=balanced+max_epochs=1-seed0"
    recipe = json.loads((run.path / "recipe.json").read_text())
    assert recipe["reading"]["positive"] == "benign"
    assert recipe["labels"] == ["malignant", "benign"]
    assert recipe["input"]["window"] == [-1000, 400]
    found = evaluate_run(run.path)
    assert found.figures["AUC (benign)"].value == pytest.approx(run.metrics().best.test["auc"])
    split = rows_of(run.path / "split.csv")
    assert [row["path"] for row in split if row["split"] == "test"] == list(found.paths)
    bundle = export.export(run.path, tmp_path / "bundle", export.Options(precisions=()))
    by_name = dict(zip(found.paths, found.probabilities, strict=True))
    predictor = Predictor(bundle.model)
    for path in found.paths:
        answer = predictor.predict(table.parent / path)
        assert answer.probabilities["benign"] == pytest.approx(by_name[path][1], abs=1e-4)


def test_dicom_and_nifti_hold_the_same_scans(table, tmp_path):
    other = nodules.write_lung_nodules(tmp_path / "set", 3)
    for name in ("scan-001", "scan-003"):
        series, volume = read(table.parent / "image" / name), read(other.parent / "image" / f"{name}.nii.gz")
        np.testing.assert_array_equal(series.pixels, volume.pixels)
        np.testing.assert_allclose(series.spacing, volume.spacing, rtol=1e-4)
        assert (series.units, series.modality) == ("HU", "CT")
        mask = read(other.parent / "mask" / f"{name}.nii.gz").pixels
        assert mask.shape == volume.pixels.shape
        assert volume.pixels[mask > 0].mean() > -300 > volume.pixels[mask == 0].mean()
    with pytest.raises(LiquidLensError, match="is not empty"):
        nodules.write_lung_nodules(tmp_path / "set", 3)


def test_what_cannot_be_cross_validated(table, tmp_path):
    with pytest.raises(LiquidLensError, match="--folds is for tables and folders"):
        crossvalidate("CNNExp4N1", "phantom-vessel3d", Reading(folds=2), runs=tmp_path)
    with pytest.raises(LiquidLensError, match="cannot be cross-validated"):
        crossvalidate("CNNExp4N1", str(table), Reading(folds=2), "kth-2021", runs=tmp_path)
    with pytest.raises(LiquidLensError, match="of 9 patients; to split it by patient takes 10"):
        crossvalidate("CNNExp4N1", str(table), Reading(folds=10), "quick", runs=tmp_path, progress=False)
    changes = {"class_weights": "balanced", "loss": "mse"}
    with pytest.raises(LiquidLensError, match="Class weights are for cross entropy"):
        train.train("CNNExp4N1", str(table), "quick", 0, changes, runs=tmp_path, progress=False)
