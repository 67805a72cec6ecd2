"""Gradients and weights over the epochs, against torch's own."""

import csv
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from liquidlens import train
from liquidlens.train.studies import results
from liquidlens.train.studies.results import ResultsTable


def test_statistics_of_every_layer_and_epoch(tmp_path, monkeypatch):
    changes = {"max_epochs": 2, "statistics": True, "subset": 100}
    folder = train.train("CNNExp4N1", "phantom-vessel3d", changes=changes, runs=tmp_path, progress=False)
    with (folder.path / "statistics.csv").open() as file:
        rows = list(csv.DictReader(file))
    weights = load_file(folder.path / "weights-last.safetensors")
    assert {(row["epoch"], row["parameter"]) for row in rows} == {(e, name) for e in "01" for name in weights}
    assert len(rows) == 2 * len(weights)
    for row in rows[len(weights) :]:
        assert float(row["weight"]) == pytest.approx(float(weights[row["parameter"]].abs().mean()), rel=1e-4)
        assert float(row["gradient_peak"]) >= float(row["gradient"]) > 0

    def column(name: str) -> list[float]:
        return [float(row[name]) for row in rows if row["parameter"] == "head.steps.0.weight"]

    names = "gradient_peak:head.steps.0.weight", "weight:head.steps.0.weight"
    table = ResultsTable(Path(), names)
    cells = table.cells("x", ("",) * 5, "best_test_auc", 1, folder)
    assert [cells[name] for name in names] == [max(column("gradient_peak")), pytest.approx(np.mean(column("weight")))]
    monkeypatch.setattr(results, "SETTLED", 1)
    assert table.cells("x", ("",) * 5, "best_test_auc", 1, folder)[names[1]] == column("weight")[-1]

    events = EventAccumulator(str(folder.path / "tensorboard"), {"histograms": 0}).Reload()  # 0: all
    assert set(events.Tags()["histograms"]) == {f"{kind}/{name}" for kind in ("weight", "gradient") for name in weights}
    assert [event.step for event in events.Histograms("weight/head.steps.0.weight")] == [0, 1]

    (folder.path / "statistics.csv").unlink()
    assert table.cells("x", ("",) * 5, "best_test_auc", 1, folder)[names[0]] == "", "a run without statistics"
