"""Gradients and weights over the epochs, against torch's own."""

import csv

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from liquidlens import train


def test_statistics_of_every_layer_and_epoch(tmp_path):
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

    events = EventAccumulator(str(folder.path / "tensorboard"), {"histograms": 0}).Reload()  # 0: all
    assert set(events.Tags()["histograms"]) == {f"{kind}/{name}" for kind in ("weight", "gradient") for name in weights}
    assert [event.step for event in events.Histograms("weight/head.steps.0.weight")] == [0, 1]
