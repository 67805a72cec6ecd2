"""Two runs on the same test scans, as they are and corrupted."""

import csv

import numpy as np
import pytest
import torch

from liquidlens import metrics, train
from liquidlens.errors import LiquidLensError
from liquidlens.train import comparison
from liquidlens.train.corruptions import SEVERITIES, corrupted, names
from liquidlens.train.evaluation import evaluate_run, unseen
from liquidlens.train.loop.fit import logits_of

FEW = {"max_epochs": 2, "subset": 32, "validation_subset": 8, "test_subset": 16}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        train.train(model, "phantom-vessel3d", "quick", changes=FEW, runs=folder, progress=False)
        for model in ("CNNExp4N1", "CNNExp2N4")
    ]


@pytest.fixture(scope="module")
def found(runs):
    return next(comparison.compare(runs[0].path, [runs[1].path], samples=20))


def test_as_they_are_the_figures_are_those_of_evaluate(runs, found):
    line = found.lines[0]
    assert line.condition == comparison.CLEAN
    for run, values in zip(runs, (line.first, line.second), strict=True):
        known = evaluate_run(run.path)
        assert values == tuple(figure(known.labels, known.probabilities) for figure in comparison.FIGURES.values())


def test_both_see_the_same_corrupted_scans(runs, found):
    by = {line.condition: line for line in found.lines}
    inputs, labels, _, _ = unseen(runs[1], recipe := runs[1].recipe())
    logits = logits_of(runs[1].load_model(), recipe, corrupted(inputs, "thick slices", 5, mask=True))
    probabilities = metrics.probabilities(logits / runs[1].metrics().best.temperature)
    assert by["thick slices", "5"].second[0] == metrics.auc(labels, probabilities)
    assert by["thick slices", "5"].second != by[comparison.CLEAN].second


def test_masks_are_corrupted_alike_when_a_normalisation_was_undone(runs):
    masks, *_ = unseen(runs[0], runs[0].recipe())
    mean, std = masks.mean(), masks.std()
    undone = std * ((masks - mean) / std) + mean
    assert not torch.equal(undone, masks)
    for name in names(volumes=True, mask=True):
        for severity in SEVERITIES:
            made = corrupted(undone, name, severity, mask=True)
            assert torch.equal(made, corrupted(masks, name, severity, mask=True))
            assert not torch.equal(made, masks)


def test_means_are_over_severities_and_over_all(found):
    by = {line.condition: line for line in found.lines}
    kinds = names(volumes=True, mask=True)
    assert "ends early" in kinds
    for kind in kinds:
        of_kind = [by[kind, str(severity)].first for severity in SEVERITIES]
        assert by[kind, comparison.MEAN].first == pytest.approx(tuple(np.mean(of_kind, 0)))
    every = [by[kind, comparison.MEAN].second for kind in kinds]
    assert by[comparison.ALL, comparison.MEAN].second == pytest.approx(tuple(np.mean(every, 0)))
    assert len(found.lines) == 1 + len(kinds) * (len(SEVERITIES) + 1) + 1
    for line in found.lines:
        assert all(low <= high for low, high in zip(line.low, line.high, strict=True))


def test_a_run_does_not_differ_from_itself(runs):
    (same,) = comparison.compare(runs[0].path, [runs[0].path], samples=5)
    for line in same.lines:
        assert line.first == line.second
        assert {*line.low, *line.high} == {0}


def test_a_table_holds_each_pair_once(runs, found, tmp_path):
    table = tmp_path / "new" / "pairs.csv"
    found.add_to(table)
    once = table.read_text()
    found.add_to(table)
    assert table.read_text() == once
    next(comparison.compare(runs[1].path, [runs[0].path], samples=5)).add_to(table)
    rows = comparison.read(table)
    assert len(rows) == 2 * len(found.lines)
    assert [(row["model"], row["twin_model"]) for row in (rows[0], rows[-1])] == [
        ("CNNExp4N1", "CNNExp2N4"),
        ("CNNExp2N4", "CNNExp4N1"),
    ]
    assert float(rows[0]["auc"]) == pytest.approx(found.lines[0].first[0], abs=1e-5)
    with table.open(newline="") as file:
        assert not any("/" in cell for row in csv.reader(file) for cell in row), "no path of this machine"
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(LiquidLensError, match="something else than comparisons"):
        found.add_to(other)


def test_what_was_tested_on_other_scans_is_not_paired(runs, tmp_path):
    fewer = train.train(
        "CNNExp4N1",
        "phantom-vessel3d",
        "quick",
        changes=FEW | {"max_epochs": 1, "test_subset": 15},
        runs=tmp_path,
        progress=False,
    )
    pairs = comparison.compare(runs[0].path, [runs[1].path, fewer.path], samples=5)
    assert next(pairs).second == runs[1].recipe(), "what can be paired is not lost"
    with pytest.raises(LiquidLensError, match="not tested on the same scans"):
        next(pairs)
