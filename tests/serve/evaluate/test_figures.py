"""Figures of tables made from a generator, compared with scikit-learn and with what can be counted by hand."""

import math

import numpy as np
import pytest
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
from tests.serve.evaluate.conftest import FINDINGS, FOUR, TWO, array, binary, sheet, write_table


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


@pytest.mark.parametrize(
    ("names", "threshold", "task", "kind"),
    [
        (("a", "b"), 0.5, "classes", "two classes"),
        (("a", "b"), 0.5, "multi-label", "multi-label"),
        (FOUR, None, "classes", "several classes"),
        (FINDINGS, 0.5, "multi-label", "multi-label"),
    ],
)
def test_the_task_is_the_one_in_the_table(tmp_path, names, threshold, task, kind):
    """Also if the probabilities of several labels happen to sum to 1, and if the first scan has an error."""
    probabilities = np.full((2, len(names)), 1 / len(names)) + np.linspace(-0.1, 0.1, len(names))
    table = write_table(tmp_path / "r.csv", names, probabilities, threshold, errors=(0,), task=task)
    truth = np.ones((2, len(names)), int) if task == "multi-label" else np.array([0, 1])
    assert evaluate(table, read_labels(array(tmp_path, truth)), 10).task == kind


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
