"""A learning-rate sweep: every combination once, a table and a picture."""

import csv

import pytest
from PIL import Image

from imaging import LiquidLensError
from train import fit, sweep
from train.run import RunFolder


def run(tmp_path, rates=(1e-3, 1e-2)):
    changes = {"max_epochs": 1, "subset": 100}
    options = {"recipe": "quick", "runs": tmp_path, "progress": False}
    return sweep.sweep(["CNNExp4N1"], "phantom-vessel3d", rates, [0, 1], changes, tmp_path / "sweep.csv", **options)


def test_every_combination_once(tmp_path, monkeypatch):
    with run(tmp_path).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["learning_rate"]) for row in rows] == [
        (seed, rate) for seed in ("0", "1") for rate in ("0.001", "0.01")
    ]
    losses = {folder: RunFolder(folder).metrics().best.val["loss"] for folder in tmp_path.glob("phantom-*")}
    assert len(set(losses.values())) == 4, "seed and rate reach the training"
    assert all(row["model"] == "CNNExp4N1" and 0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    with Image.open(tmp_path / "sweep.png") as picture:
        assert picture.width > 500
        assert len(picture.convert("RGB").getcolors(100_000) or ()) > 10, "not blank"

    monkeypatch.setattr(fit, "_run_trainer", lambda *_: pytest.fail("it trained again"))
    run(tmp_path)


def test_nothing_to_sweep(tmp_path):
    with pytest.raises(LiquidLensError, match="at least one"):
        run(tmp_path, rates=())
