"""Evaluations of tables made from a generator, compared with scikit-learn and with what can be counted by hand."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    recall_score,
    roc_auc_score,
)

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.serve.batch import tables
from liquidlens.serve.evaluate.run import evaluate, read_labels, summary, write

TWO = ("vessel", "aneurysm")
FOUR = ("mucus", "stroma", "debris", "$\\alpha$ a rather long name that is wrapped")
FINDINGS = ("effusion", "mass, solid", "nodule")


def write_table(
    path: Path, names, probabilities, threshold=None, abstained=(), paths=None, items=None, errors=()
) -> Path:
    """A results table of what a model says that has these probabilities."""
    columns = tables.columns(names)
    rows = []
    for i, p in enumerate(probabilities):
        if threshold is None:
            label = names[int(np.argmax(p))]
        elif names == TWO:
            label = names[int(p[1] > threshold)]
        else:
            label = ", ".join(name for name, each in zip(names, p, strict=True) if each > threshold) or "none"
        answer = {
            "label": label,
            **{f"p_{name}": float(each) for name, each in zip(names, p, strict=True)},
            "threshold": threshold,
            "abstained": i in abstained,
            "ood_score": float(i),
            "ood": i % 4 == 0,
        }
        rows.append(
            {
                **dict.fromkeys(columns),
                "input": 0,
                "number": i,
                "path": paths[i] if paths else f"scans/{i:03}.png",
                "item": items[i] if items else "",
                **(dict.fromkeys(answer) if i in errors else answer),
                "device": "cpu",
                "milliseconds": 1.5,
                "model": "LiqExp1N2",
                "model_sha256": "ab" * 32,
                "error": "scan.png: the file is empty." if i in errors else None,
            }
        )
    tables.write(path, columns, rows)
    return path


def binary(*positive):
    return np.array([[1 - p, p] for p in positive])


def array(folder: Path, labels) -> str:
    np.save(folder / "labels.npy", labels)
    return str(folder / "labels.npy")


def sheet(folder: Path, text: str) -> str:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return str(folder / "labels.csv")


@pytest.fixture
def two(tmp_path):
    """120 scans of two classes with ties, five unsure, and two errors."""
    rng = np.random.default_rng(0)
    labels = (rng.random(120) < 0.3).astype(np.uint8)
    probabilities = binary(*(0.6 * rng.random(120) + 0.35 * labels).round(2))
    table = write_table(tmp_path / "results.jsonl", TWO, probabilities, 0.42, abstained=(0, 1, 2, 3, 4), errors=(7, 90))
    return table, labels, probabilities


def test_figures_of_two_classes_are_those_of_scikit_learn(two, tmp_path):
    table, labels, probabilities = two
    found = evaluate(table, read_labels(array(tmp_path, labels[:, None])), samples=100)
    good = np.setdiff1d(np.arange(120), (7, 90))
    truth, p = labels[good], probabilities[good, 1]
    said = p > 0.42
    expected = {
        "accuracy": accuracy_score(truth, said),
        "accuracy_most_probable": accuracy_score(truth, p > 0.5),
        "auc": roc_auc_score(truth, p),
        "auprc": average_precision_score(truth, p),
        "sensitivity": recall_score(truth, said),
        "specificity": recall_score(truth, said, pos_label=0),
        "ece": metrics.expected_calibration_error(truth, probabilities[good]),
        "brier": brier_score_loss(truth, p),
        "accuracy_when_sure": accuracy_score(truth[5:], said[5:]),
    }
    assert {name: figure.value for name, figure in found.figures.items()} == pytest.approx(expected)
    assert all(figure.low <= figure.value <= figure.high for figure in found.figures.values())
    interval = metrics.bootstrap(metrics.auc, truth, probabilities[good], samples=100)
    assert found.figures["auc"][1:] == pytest.approx(interval)
    assert np.array_equal(found.confusion, confusion_matrix(truth, said))
    assert (found.task, found.scans, found.errors, found.without_label) == ("two classes", 118, 2, 0)
    assert found.abstained == pytest.approx(5 / 118)
    assert found.ood == pytest.approx(30 / 118)
    assert found.risk[-1] == pytest.approx(1 - expected["accuracy"]), "the curve is of what the model says"
    assert found.aurc == metrics.aurc(truth.astype(int), probabilities[good], 0.42)
    assert (found.model, found.threshold, found.notes) == ("LiqExp1N2", 0.42, ())


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_all_kinds_of_tables_are_evaluated_alike(two, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    table, labels, _ = two
    source = read_labels(array(tmp_path, labels))
    other = table.with_suffix(ending)
    tables.write(other, tables.columns(TWO), tables.rows(table))
    expected = evaluate(table, source, samples=10).to_json()
    assert evaluate(other, source, samples=10).to_json() == {**expected, "table": other.name}


def test_figures_of_several_classes_are_those_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(1)
    labels, p = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    p[np.arange(200), labels] += 0.4
    p /= p.sum(1, keepdims=True)
    table = write_table(tmp_path / "results.jsonl", FOUR, p)
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=50)
    expected = {
        "accuracy": accuracy_score(labels, p.argmax(1)),
        "accuracy_most_probable": accuracy_score(labels, p.argmax(1)),
        "auc": roc_auc_score(labels, p, multi_class="ovr", average="macro"),
        "auprc": average_precision_score(np.eye(4)[labels], p, average="macro"),
        "macro_recall": recall_score(labels, p.argmax(1), average="macro"),
        "ece": metrics.expected_calibration_error(labels, p),
        "brier": ((p - np.eye(4)[labels]) ** 2).sum(1).mean(),
        "accuracy_when_sure": accuracy_score(labels, p.argmax(1)),
    }
    assert {name: figure.value for name, figure in found.figures.items()} == pytest.approx(expected)
    assert np.array_equal(found.confusion, confusion_matrix(labels, p.argmax(1)))
    assert (found.task, found.threshold, found.abstained) == ("several classes", None, 0)


def test_figures_of_multi_label_data_are_those_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(2)
    labels = (rng.random((150, 3)) < 0.3).astype(int)
    p = 0.6 * rng.random((150, 3)) + 0.3 * labels
    table = write_table(tmp_path / "results.jsonl", FINDINGS, p, threshold=0.5)
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=50)
    assert found.task == "multi-label"
    assert found.figures["auc"].value == pytest.approx(roc_auc_score(labels, p))
    assert found.figures["auprc"].value == pytest.approx(average_precision_score(labels, p))
    assert found.figures["accuracy"].value == pytest.approx(accuracy_score(labels.ravel(), p.ravel() > 0.5))
    assert found.figures["accuracy_at_half"] == found.figures["accuracy"]
    assert "accuracy_most_probable" not in found.figures
    assert found.figures["macro_recall"].value == pytest.approx(recall_score(labels, p > 0.5, average="macro"))
    for k, (hit, missed, alarm, spared) in enumerate(found.confusion):
        assert [[spared, alarm], [missed, hit]] == confusion_matrix(labels[:, k], p[:, k] > 0.5).tolist()

    text = 'path,age,nodule,effusion,"mass, solid"\n'
    text += "".join(f"{i:03}.png,50,{c},{a},{b}\n" for i, (a, b, c) in enumerate(labels)) + "151.png,50,,,\n"
    same = evaluate(table, read_labels(sheet(tmp_path, text)), samples=50)
    assert same.figures == found.figures
    assert same.labels_without_scan == 0, "a row without labels is none"


def test_two_labels_may_be_two_classes_or_two_findings(tmp_path):
    table = write_table(tmp_path / "results.jsonl", ("a", "b"), np.array([[0.9, 0.8], [0.1, 0.3]]), threshold=0.5)
    assert evaluate(table, read_labels(array(tmp_path, np.array([[1, 1], [0, 1]]))), 10).task == "multi-label"
    with pytest.raises(LiquidLensError, match=r"gives one label for each scan, and the model .* needs 0 or 1 for each"):
        evaluate(table, read_labels(array(tmp_path, np.array([1, 0]))))


def test_one_class_alone_has_no_area(tmp_path):
    table = write_table(tmp_path / "results.jsonl", TWO, binary(0.1, 0.6, 0.2), 0.5, abstained=(0, 1, 2))
    found = evaluate(table, read_labels(array(tmp_path, [0, 0, 0])), samples=20)
    assert found.figures["accuracy"].value == found.figures["specificity"].value == pytest.approx(2 / 3)
    undefined = ("auc", "auprc", "sensitivity", "accuracy_when_sure")
    assert all(math.isnan(number) for name in undefined for number in found.figures[name])
    plain = found.to_json()
    assert plain["figures"]["auc"] == {"value": None, "low": None, "high": None}
    assert found.notes == (
        "No scan is labelled aneurysm.",
        "Not defined: AUC, AUPRC, sensitivity, accuracy when sure.",
        "Fewer than 20 scans are too few for an interval.",
    )
    assert all(math.isnan(figure.low) for figure in found.figures.values())
    assert dict(summary(found))["not sure"] == "3 of 3"
    assert ("AUC", "not defined") in summary(found)
    assert len(write(found, table)) == 4


def test_classes_without_scans_do_not_count(tmp_path):
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1]])
    found = evaluate(write_table(tmp_path / "results.jsonl", FOUR, p), read_labels(array(tmp_path, [0, 1, 1])), 20)
    assert found.figures["auc"].value == found.figures["macro_recall"].value == 1
    assert found.notes == (
        f"No scan is labelled debris or {FOUR[3]}.",
        "AUC and AUPRC are means over the other labels.",
        "Fewer than 20 scans are too few for an interval.",
    )


def test_figures_of_few_scans_of_a_class_have_no_interval(tmp_path):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(*np.linspace(0, 1, 30)), 0.5, abstained=range(15))
    found = evaluate(table, read_labels(array(tmp_path, [0] * 26 + [1] * 4)), samples=50)
    without = {name for name, figure in found.figures.items() if math.isnan(figure.low)}
    assert without == {"auc", "auprc", "sensitivity", "accuracy_when_sure"}
    assert found.notes == (
        "Too few for an interval, below 20 scans or 5 of a label: AUC, AUPRC, sensitivity, accuracy when sure.",
    )
    found = evaluate(table, read_labels(array(tmp_path, [0] * 25 + [1] * 5)), samples=50)
    assert [name for name, figure in found.figures.items() if math.isnan(figure.low)] == ["accuracy_when_sure"]


@pytest.mark.parametrize("written", [("vessel", "aneurysm"), ("0", "1"), ("0.0", "1.0")])
def test_labels_by_name_or_number(tmp_path, written):
    table = write_table(tmp_path / "results.jsonl", TWO, binary(0.2, 0.9, 0.3, 0.1), 0.5)
    rows = "".join(f"scans/{i:03}.png, {written[label]} \n" for i, label in enumerate((0, 1, 1)))
    found = evaluate(table, read_labels(sheet(tmp_path, f"\ufeffpath,label\n\n{rows}scans/003.png,\n")), samples=10)
    assert found.confusion == ((1, 0), (1, 1))
    assert (found.scans, found.without_label, found.labels_without_scan) == (3, 1, 0)


def test_names_that_are_numbers_stay_names(tmp_path):
    table = write_table(tmp_path / "results.jsonl", ("1", "2", "3"), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))
    by_name = evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,1\n001.png,2\n")), samples=10)
    by_number = evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,0\n001.png,1\n")), samples=10)
    assert by_name.confusion == by_number.confusion == ((1, 0, 0), (0, 1, 0), (0, 0, 0))
    with pytest.raises(LiquidLensError, match="some labels by name and others by number"):
        evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,0\n001.png,3\n")))


def test_a_path_is_found_as_written_as_the_same_file_or_by_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    paths = {
        "data/a.png": "data/a.png",
        f"{tmp_path}/data/b.png": "data/b.png",
        "data/c.png": f"{tmp_path}/data/../data/c.png",
        "data/d.png": "d.png",  # from the folder of the sheet
        "link/e.png": "data/e.png",
        "scans/f.png": "C:\\scans\\f.png",
        "x/twice.png": None,
        "y/twice.png": None,
    }
    table = write_table(tmp_path / "results.jsonl", TWO, binary(*[0.9] * 8), 0.5, paths=list(paths))
    rows = [f"{path},1" for path in paths.values() if path] + ["z/twice.png,0", "w/other.png,0"]
    labels = read_labels(sheet(tmp_path / "data", "\n".join(["path,label", *rows])))
    found = evaluate(table, labels, samples=10)
    assert found.confusion == ((0, 0), (0, 6))
    assert (found.without_label, found.labels_without_scan) == (2, 2)
    assert summary(found)[0] == ("scans", "6 (and 2 without label, 2 labels without scan)")


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("1.png", True),
        ("test/1.png", True),
        ("test\\1.png", True),
        ("./test//1.png", True),
        ("/mnt/data/test/1.png", True),
        ("train/1.png", False),
        ("/test/1.png", False),
        ("est/1.png", False),
        ("test/1.PNG", False),
        ("data/train/1.png", False),
    ],
)
def test_one_path_is_the_end_of_the_other_in_whole_folders(tmp_path, path, same):
    paths = ["data/test/1.png", "data/test/2.png"]
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1), 0.5, paths=paths)
    found = evaluate(table, read_labels(sheet(tmp_path, f"path,label\n{path},1\n2.png,0\n")), samples=10)
    assert (found.scans, found.labels_without_scan) == ((2, 0) if same else (1, 1))


def test_what_could_be_the_end_of_several_is_of_none(tmp_path):
    paths = ["a/test/1.png", "b/test/1.png", "test/2.png", "b/3.png"]
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1, 0.2, 0.3), 0.5, paths=paths)
    text = "path,label\ntest/1.png,1\n2.png,0\n/x/test/2.png,1\n3.png,0\n"
    found = evaluate(table, read_labels(sheet(tmp_path, text)), samples=10)
    assert (found.confusion, found.without_label) == (((1, 0), (0, 0)), 3)
    assert summary(found)[0] == ("scans", "1 (and 3 without label, 3 labels without scan)")
    found = evaluate(table, read_labels(sheet(tmp_path, "path,label\na/test/1.png,1\ntest/1.png,0\n")), samples=10)
    assert (found.scans, found.confusion) == (1, ((0, 0), (0, 1)))
    assert summary(found)[0] == ("scans", "1 (and 3 without label, 1 label without scan)")


@pytest.mark.parametrize(
    "text",
    [
        "path,item,label\nstack.npz,images/0,1\nstack.npz,images/1,0\nsingle.nii,,1\n",
        "path,label\nstack.npz#images/0,1\nstack.npz#images/1,0\nsingle.nii,1\n",
    ],
)
def test_items_are_equal(tmp_path, text):
    paths, items = ["stack.npz", "stack.npz", "single.nii"], ["images/0", "images/1", ""]
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1, 0.8), 0.5, paths=paths, items=items)
    assert evaluate(table, read_labels(sheet(tmp_path, text)), samples=10).confusion == ((1, 0), (0, 2))
    found = evaluate(table, read_labels(sheet(tmp_path, "path,label\nstack.npz,1\nsingle.nii,1\n")), samples=10)
    assert (found.scans, found.without_label, found.labels_without_scan) == (1, 2, 1)
    part = write_table(tmp_path / "part.jsonl", TWO, binary(0.9), 0.5, paths=paths[:1], items=items[:1])
    with pytest.raises(LiquidLensError, match=r"No scan of part.jsonl \('stack.npz#images/0'\) has a label in"):
        evaluate(part, read_labels(sheet(tmp_path, "path,label\nstack.npz,1\nsingle.nii,1\n")))


def test_a_number_sign_may_be_part_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a#1.png").touch()
    (tmp_path / "x#y").mkdir()
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1), 0.5, paths=["a#1.png", "b.png"])
    text = "path,label\na#1.png,1\nb.png,0\n"
    assert evaluate(table, read_labels(sheet(tmp_path / "x#y", text)), samples=10).scans == 2


def test_file_and_item_are_split_as_they_are_read(tmp_path):
    (tmp_path / "a#1.npz").touch()  # beside the sheet
    text = "path,label\na#1.npz#x#0,1\nno#where.npz#0,0\n"
    assert read_labels(sheet(tmp_path, text)).scans == (("a#1.npz", "x#0"), ("no#where.npz", "0"))


def test_tables_with_gaps_take_no_labels_by_order(tmp_path):
    table = write_table(tmp_path / "r.csv", TWO, binary(0.9, 0.1, 0.8, 0.3), 0.5)
    labels, rows = read_labels(array(tmp_path, [1, 0, 1, 0])), list(tables.rows(table))
    for places, good in (
        ([(0, 0), (0, 1), (1, 0), (2, 0)], True),
        ([(0, 0), (0, 2), (1, 0), (2, 0)], False),
        ([(0, 0), (1, 0), (1, 1), (3, 0)], False),
        ([(0, 0), (1, 0), (2, 1), (2, 2)], False),
        ([(0, 0), (0, 1), (2, 0), (1, 0)], False),
        ([(1, 0), (1, 1), (2, 0), (3, 0)], False),
        ([(0, 0), (0, 1), (0, 1), (1, 0)], False),
    ):
        moved = [{**row, "input": i, "number": n} for row, (i, n) in zip(rows, places, strict=True)]
        tables.write(table, tables.columns(TWO), moved)
        if good:
            assert evaluate(table, labels, samples=10).scans == 4
        else:
            with pytest.raises(
                LiquidLensError, match=r"goes by the order of the scans, and r\.csv lacks some .* `merge`"
            ):
                evaluate(table, labels)


def test_a_scan_may_be_there_twice_with_the_same_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1), 0.5)
    rows = ["scans/000.png,1", "scans/000.png,1", f"{tmp_path}/scans/000.png,1", "scans/001.png,0"]
    found = evaluate(table, read_labels(sheet(tmp_path, "\n".join(["path,label", *rows]))), samples=10)
    assert (found.scans, found.labels_without_scan) == (2, 0)


def test_errors_with_labels_are_no_labels_without_scan(tmp_path):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.9, 0.1, 0.2), 0.5, errors=(0,))
    found = evaluate(table, read_labels(sheet(tmp_path, "path,label\n000.png,1\n001.png,0\n")), samples=10)
    assert (found.scans, found.errors, found.without_label, found.labels_without_scan) == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the header must name a column 'path', and has nothing."),
        ("file;label\na.png;1\n", "the header must name a column 'path', and has 'file;label'."),
        ("path,item\na.png,1\n", "the header names no column 'label', nor one for each label of the model."),
        ("path,label,label\na.png,1,1\n", "the header has two columns 'label'."),
        ("path,label\n", "there are no labels below the header."),
        ("path,label\na.png,1\nb.png\n", "row 3 differs in length from the header: 1 and 2 cells."),
        ("path,label\na.png,1\na.png,0\n", "a.png is there twice with different labels."),
        ("path,label\na.png,1\n./a.png,0\n", "a.png is there twice with different labels, the second time as ./a.png."),
        ("path,item,label\na.npz,1,1\na.npz,1,0\n", "a.npz#1 is there twice with different labels."),
    ],
)
def test_a_broken_sheet_is_found_before_any_scan_is_read(tmp_path, text, sentence):
    source = sheet(tmp_path, text)
    with pytest.raises(LiquidLensError) as raised:
        read_labels(source)
    assert str(raised.value) == f"{source}: {sentence}"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.zeros((2, 2, 2)), "labels are (scans,) or (scans, labels), and this array is of shape 2x2x2."),
        (np.array(1), "labels are (scans,) or (scans, labels), and this array is of shape ()."),
        (np.zeros(0), "labels are (scans,) or (scans, labels), and this array is of shape 0."),
        (np.array([0.5]), "labels in an array are whole numbers, counted from 0."),
        (np.array([0, np.inf]), "labels in an array are whole numbers, counted from 0."),
        (np.array([0, -1]), "labels in an array are whole numbers, counted from 0."),
        (np.array(["vessel"]), "labels in an array are whole numbers, counted from 0."),
        (np.array([[0, 2]]), "of several labels for each scan, each is 0 or 1."),
    ],
)
def test_a_broken_array_is_found_before_any_scan_is_read(tmp_path, labels, sentence):
    source = array(tmp_path, labels)
    with pytest.raises(LiquidLensError) as raised:
        read_labels(source)
    assert str(raised.value) == f"{source}: {sentence}"


def test_arrays_of_an_archive_have_names(tmp_path):
    np.savez(tmp_path / "all.npz", test_images=np.zeros(2), test_labels=[[1], [0]])
    assert read_labels(f"{tmp_path}/all.npz#test_labels").values.tolist() == [1, 0]
    for source in ("all.npz", "all.npz#labels"):
        with pytest.raises(LiquidLensError, match=r"holds test_images, test_labels; .* as in all.npz#test_labels\.$"):
            read_labels(f"{tmp_path}/{source}")
    np.savez(tmp_path / "one.npz", [0, 1])
    assert read_labels(f"{tmp_path}/one.npz").values.tolist() == [0, 1]


def test_files_that_hold_no_labels(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(LiquidLensError, match=r"objects.npy: not a readable NumPy file.*allow_pickle=False"):
        read_labels(str(tmp_path / "objects.npy"))
    (tmp_path / "latin.csv").write_bytes(b"path,label\n\xe4.png,1\n")
    with pytest.raises(LiquidLensError, match=r"latin.csv: not a readable CSV file"):
        read_labels(str(tmp_path / "latin.csv"))
    (tmp_path / "labels.txt").touch()
    for source in ("labels.txt", "latin.csv#label", "objects.npy#0"):
        with pytest.raises(LiquidLensError, match=r"labels are a \.csv or \.npy file, or an array in an \.npz file"):
            read_labels(str(tmp_path / source))
    with pytest.raises(LiquidLensError, match=r"nothing\.csv: there is no such file of labels\."):
        read_labels("nothing.csv")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0, 1]), "and r.jsonl differ in length, 2 and 3: labels in an array go by the order"),
        (np.array([0, 1, 2]), "holds the label 2: the model's 2 labels are counted from 0 to 1."),
        (np.eye(3, dtype=int), "has 3 labels for each scan, the model 2: vessel, aneurysm."),
        (np.eye(2, dtype=int)[[0, 1, 1]], "gives 0 or 1 for each label and scan, and the model .* one label for each"),
        ("path,label\n000.png,anurysm\n", "There is no label named 'anurysm'. Did you mean aneurysm?"),
        ("path,label\n000.png,2\n", "There is no label named '2'. There are vessel, aneurysm."),
        ("path,labels\n000.png,1\n", "has no column 'label', nor one of 0 and 1 for each .* 'vessel' is missing"),
        ("path,vessel,aneurysm\n0.png,,1\n", "0.png has '', '1' where each label needs 0 or 1."),
        (
            "path,label\n7.png,0\n8.png,0\n",
            r"No scan of r.jsonl \('scans/000.png', ...\) has a label in .* \('7.png', ...\): items",
        ),
        ("path,label\n000.png,\n", "has nothing to evaluate: scans 3, with an error 1, without a label in .* 3."),
    ],
)
def test_labels_that_do_not_fit_the_table(tmp_path, labels, sentence):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.1, 0.2, 0.7), 0.5, errors=(2,))
    source = sheet(tmp_path, labels) if isinstance(labels, str) else array(tmp_path, labels)
    kept = r".* The table is kept; --resume --labels evaluates it\.$"
    with pytest.raises(LiquidLensError, match=sentence.replace("?", r"\?") + kept):
        evaluate(table, read_labels(source))


def test_tables_that_cannot_be_evaluated(tmp_path):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.1, 0.2), 0.5)
    labels, good = read_labels(array(tmp_path, [0, 1])), table.read_text()
    for find, replacement, sentence in (
        ('"p_vessel": 0.9', '"p_vessel": null', "row 1 has neither an error nor probabilities from 0 to 1"),
        ('"label": "vessel"', '"label": "lung"', "row 1 says 'lung', and has no probability of it"),
    ):
        table.write_text(good.replace(find, replacement))
        with pytest.raises(LiquidLensError, match=sentence):
            evaluate(table, labels)
    table.write_text(good.replace("ab" * 32, "cd" * 32, 1))
    with pytest.raises(LiquidLensError, match="holds the answers of 2 models"):
        evaluate(table, labels)
    with pytest.raises(LiquidLensError, match=r"has no answers to evaluate, but an error in every row\."):
        evaluate(write_table(table, TWO, binary(0.1, 0.2), 0.5, errors=(0, 1)), labels)


def test_what_is_written_lies_beside_the_table(two, tmp_path):
    table, labels, _ = two
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=20)
    written = write(found, table)
    names = ["results.evaluation.json", "results.confusion.png", "results.coverage-risk.png", "results.reliability.png"]
    assert [path.name for path in written] == names
    assert {path.name for path in tmp_path.iterdir()} == {*names, "results.jsonl", "labels.npy"}
    plain = json.loads(written[0].read_text(encoding="utf-8"))
    assert plain == found.to_json()
    assert plain["figures"]["auc"] == found.figures["auc"]._asdict()
    for picture in written[1:]:
        with Image.open(picture) as image:
            assert min(image.size) > 300
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert np.asarray(image).std() > 10


@pytest.mark.parametrize(
    ("names", "threshold"), [(FOUR, None), (FINDINGS, 0.5), ([f"class {i}" for i in range(30)], None)]
)
def test_pictures_of_all_kinds_of_models(tmp_path, names, threshold):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(len(names)), 40)
    labels = rng.integers(0, 2, (40, len(names))) if threshold else rng.integers(0, len(names), 40)
    table = write_table(tmp_path / "r.jsonl", names, p, threshold, abstained=range(0 if threshold else 9))
    assert len(write(evaluate(table, read_labels(array(tmp_path, labels)), samples=5), table)) == 4


def test_nothing_is_left_half_written(two, tmp_path):
    """Of these four files, the name of one is longer than a file's name may be."""
    folder = tmp_path / "out"
    folder.mkdir()
    longest = os.pathconf(folder, "PC_NAME_MAX")
    table, labels, _ = two
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=5)
    with pytest.raises(LiquidLensError, match=r"cannot be written .File name too long"):
        write(found, folder / f"{'r' * (longest - len('.coverage-risk.png.partial') + 1)}.csv")
    assert list(folder.iterdir()) == []


def test_summary_is_what_a_person_reads(two, tmp_path):
    table, labels, _ = two
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=100)
    lines = dict(summary(found))
    auc = found.figures["auc"]
    assert lines["AUC"] == f"{auc.value:.3f} ({auc.low:.2f} to {auc.high:.2f})"
    assert lines["scans"] == "118 (and 2 with an error)"
    assert (lines["threshold"], lines["not sure"]) == ("0.420", "5 of 118 (4.2%)")
    assert "note" not in lines


def test_the_curve_is_stored_with_few_points(tmp_path):
    rng = np.random.default_rng(0)
    table = write_table(tmp_path / "r.jsonl", TWO, binary(*rng.random(3000)), 0.5)
    found = evaluate(table, read_labels(array(tmp_path, rng.integers(0, 2, 3000))), samples=2)
    assert len(found.coverage) == len(found.risk) == 1000
    assert found.coverage[-1] == 1


def test_labels_of_medmnist(medmnist_root):
    labels = read_labels(f"{medmnist_root}/vesselmnist3d.npz#test_labels")
    assert labels.numbers(TWO).shape == (382,)
    assert labels.numbers(TWO).sum() == 43
