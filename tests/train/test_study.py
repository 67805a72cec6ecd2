"""Studies: their order, their table, and that one which was killed ends like one which was not."""

import csv
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import phantoms
from liquidlens.models.papers import hse2024
from liquidlens.train.names import Network, Rule
from liquidlens.train.recipes import settings_for
from liquidlens.train.run import RunFolder
from liquidlens.train.studies import plans, study
from liquidlens.train.studies.published import HSE_COLUMNS, TABLES, Printed, published
from liquidlens.train.studies.reports.rows import summaries
from liquidlens.train.studies.results import ResultsTable, curves_of, keep_curves

MODEL, EPOCHS, SEEDS = "CNNExp2N4", 20, (0, 1)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """An image folder of 60 phantoms, which are made in a moment."""
    root = tmp_path_factory.mktemp("data") / "vessels"
    made = phantoms.vessel3d(splits={"train": 60})
    for label in (0, 1):
        (root / str(label)).mkdir(parents=True)
    for i, (scan, label) in enumerate(zip(made["train_images"], made["train_labels"][:, 0], strict=True)):
        np.save(root / str(label) / f"{i}.npy", scan)
    return root


def run(volumes, folder, jobs=1, names=(MODEL,), seeds=SEEDS, epochs=EPOCHS, runs=None, **options):
    lines: list[str] = []
    outcome = study.study(
        "hse-2024",
        [str(volumes)],
        names,
        seeds,
        jobs,
        changes={"max_epochs": epochs},
        out=folder,
        runs=runs or folder / "runs",
        say=lines.append,
        **options,
    )
    return outcome, lines


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(volumes, tmp_path_factory) -> Path:
    """The folder of a study that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    outcome, lines = run(volumes, folder)
    assert (outcome.left, outcome.failures) == (0, ())
    assert lines[0] == f"2 runs, 0 of them are in {outcome.table}."
    assert lines[1].startswith(f"{MODEL} on folder:vessels, hse-2024+max_epochs={EPOCHS}, seed 0: test AUC 0.")
    assert lines[1].endswith(" s; 1 left")
    assert f"none is published; {EPOCHS} epochs" in lines[2]
    return folder


def test_a_precision_that_is_slow_here_is_said_before_anything_is_trained(volumes, tmp_path, monkeypatch):
    monkeypatch.setattr(study.precision, "notes", lambda chosen: (f"{chosen} is slow.",))
    lines: list[str] = []
    how = {"changes": {"precision": "bf16"}, "budget_hours": 0, "out": tmp_path, "runs": tmp_path / "runs"}
    study.study("hse-2024", [str(volumes)], [MODEL], (0,), say=lines.append, **how)
    assert lines[1:] == ["Note: bf16 is slow."]


def test_the_order_is_that_of_the_papers_tables():
    names = list(dict.fromkeys(trial.model for trial in plans.plan("hse-2024").trials))
    assert sorted(names) == sorted(row.name for row in hse2024.TABLE_1), "every row once"
    compact, others, liquid = names[:9], names[9:19], names[19:]
    assert "LSTMExp5N2" in compact
    assert not any(name.startswith("Liq") for name in others)
    assert all(name.startswith("Liq") for name in liquid)
    assert [trial.data for trial in plans.plan("hse-2024").trials[:2]] == ["adrenalmnist3d", "vesselmnist3d"]


def test_studies_of_all_papers_are_of_models_that_there_are():
    """And every figure that is printed belongs to a run of the study."""
    for paper, plan in plans.PLANS.items():
        assert len({trial.line(paper) for trial in plan.trials}) == len(plan.trials)
        for trial in plan.trials:
            assert models.entry(trial.model).paper == (plan.shares or paper)
            settings_for(trial.model, trial.recipe, dict(trial.changes))
        runs = {(trial.model, trial.recipe or paper) for trial in plan.trials}
        printed = {(model, recipe) for rows in TABLES[paper].values() for model, _, recipe in rows}
        assert printed <= runs


def test_models_of_a_study_can_be_chosen():
    both = plans.selected("hse-2024", ["x", "y"], ["LSTMExp5N2+source_layout", "CNNExp2N4"])
    assert [(t.model, t.flags, t.data) for t in both] == [
        ("CNNExp2N4", (), "x"),
        ("CNNExp2N4", (), "y"),
        ("LSTMExp5N2", ("source_layout",), "x"),
        ("LSTMExp5N2", ("source_layout",), "y"),
    ]
    rates = plans.selected("tum-2018", models=["2MLP-LSTM-x2"])
    assert [dict(t.changes)["learning_rate"] for t in rates] == list(plans.RATES)


def test_published_figures():
    assert {model for model, _, _ in TABLES["hse-2024"]["figures 4 to 18"]} == {row.name for row in hse2024.TABLE_1}
    assert len(TABLES["hse-2024"]["figures 4 to 18"]) == 90
    accuracy, auc = HSE_COLUMNS
    assert published("hse-2024", "CNNExp2N3", "vesselmnist3d", "hse-2024")[auc] == Printed(0.927)
    network, rule = Network.parse("LSTMExp5N3+source_layout"), Rule.parse("hse-2024+max_epochs=3")
    with_flag = published("hse-2024", network.model, "adrenalmnist3d", rule.recipe)
    assert with_flag[accuracy] == Printed(0.765)
    assert published("hse-2024", "CNNExp2N3", "phantom-vessel3d", "hse-2024") == {}
    assert published("hse-2024", "CNNExp2N3", "vesselmnist3d", "quick") == {}
    cnn = "tum-2018", "CNN-LSTM", "mnist", "tum-2018"
    assert published(*cnn) == {"best_test_accuracy": Printed(0.948, 0.0033, runs=3)}
    assert published(*cnn, table="table 4.9") == {"best_test_accuracy": Printed(0.9475, 0.0038, runs=3)}
    for dataset in ("cifar10", "cifar10-jpeg"):
        assert published("kth-2021", "EQ2425", dataset, "kth-2021-5b")["mean_val_recall"] == Printed(0.1011)


def test_a_line_says_what_the_run_folder_says(whole):
    row = rows_of(whole / "hse-2024.csv")[1]
    (folder,) = (RunFolder(path) for path in (whole / "runs").glob("*-seed1"))
    metrics = folder.metrics()
    assert (row["dataset"], row["model"], row["recipe"]) == ("folder:vessels", MODEL, f"hse-2024+max_epochs={EPOCHS}")
    assert (row["paper"], row["seed"], row["parameters"], row["threads"]) == ("hse-2024", "1", "13739", "1")
    assert row["dataset_md5"] == folder.recipe().dataset_md5
    assert (row["epochs"], row["best_epoch"]) == (str(metrics.epochs), str(metrics.best_epoch))
    assert row["reported_weights"] == "last"
    assert float(row["last_test_auc"]) == pytest.approx(metrics.last.test["auc"], rel=1e-5)
    assert float(row["best_val_accuracy_batch_mean"]) == pytest.approx(
        metrics.best.val["accuracy_batch_mean"], rel=1e-5
    )
    assert row["torch"] == folder.recipe().versions["torch"]


def test_figures_that_only_some_studies_measure(whole):
    """kth-2021 reports means over all epochs, truong-2022 further metrics."""
    folder = RunFolder(next((whole / "runs").glob("*-seed0")))
    more = ("mean_val_recall", "final_val_recall", "best_test_dice")
    row = ResultsTable(Path(), more).cells("x", ("",) * 5, "mean_val_recall", 1, folder)
    history = rows_of(folder.path / "history.csv")
    assert row["final_val_recall"] == float(history[-1]["val_recall"])
    assert row["mean_val_recall"] == pytest.approx(np.mean([float(epoch["val_recall"]) for epoch in history]), rel=1e-5)
    assert row["best_test_dice"] == folder.metrics().best.test["dice"]
    assert row["reported_weights"] == "mean"
    assert tuple(row) == ResultsTable(Path(), more).columns


def test_curves_are_kept_beside_the_table(whole, tmp_path):
    folder = RunFolder(next((whole / "runs").glob("*-seed0")))
    rows = rows_of(whole / "hse-2024.csv")
    (row,) = (row for row in rows if row["seed"] == "0")
    keep_curves(folder, ["val_accuracy"], curves_of(row, tmp_path / "curves"))
    history = rows_of(folder.path / "history.csv")
    (path,) = (tmp_path / "curves").iterdir()
    assert path.name == f"folder-vessels-{MODEL}-hse-2024+max_epochs={EPOCHS}-seed0.csv"
    assert rows_of(path) == [{name: epoch[name] for name in ("epoch", "val_accuracy")} for epoch in history]
    (summary,) = summaries(rows, path.parent)
    assert summary.curve("val_accuracy") == [[float(epoch["val_accuracy"]) for epoch in history]], "seed 1 has none"


def test_a_study_keeps_the_curves_that_its_plan_names(volumes, tmp_path):
    """As its worker ends a run; cmu's own networks take minutes an epoch."""
    changes = {"max_epochs": 1, "measure_training": True}
    key = "folder:vessels", "x", MODEL, "hse-2024", "0"
    one = study.Run(plans.Trial(MODEL, str(volumes), "hse-2024"), changes, 0, tmp_path / "runs" / "one", key)
    table = ResultsTable(tmp_path / "cmu.csv", plans.PLANS["cmu"].figures)
    row = study._finish(one, "cmu", table, None)
    assert isinstance(row, dict), row
    (curves,) = summaries(table.rows(), tmp_path / "curves")[0].curve("train_accuracy")
    assert curves == [pytest.approx(row["final_train_accuracy"])]


def test_a_killed_study_ends_like_an_uninterrupted_one(volumes, whole, tmp_path):
    arguments = ["--datasets", volumes, "--models", MODEL, "--seeds", "0-1", "--epochs", EPOCHS, "--jobs", 1]
    places = ["--out", tmp_path, "--runs", tmp_path / "runs"]
    command = [sys.executable, "-m", "liquidlens", "study", "hse-2024", *arguments, *places]
    table = tmp_path / "hse-2024.csv"
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL) as process:
        checkpoint = awaited(lambda: table.is_file() and next((tmp_path / "runs").glob("*seed1/unfinished.ckpt"), None))
        process.kill()
    awaited(lambda: not claimed(checkpoint.parent))
    assert checkpoint.is_file(), "the worker has ended with its study"
    before = rows_of(checkpoint.parent / "history.csv")
    assert 0 < len(before) < EPOCHS
    assert [row["seed"] for row in rows_of(table)] == ["0"]

    outcome, lines = run(volumes, tmp_path)
    assert lines[0].startswith("2 runs, 1 of them are in ")
    assert rows_of(checkpoint.parent / "history.csv")[: len(before)] == before, "it went on, seconds and all"
    ours, theirs = rows_of(outcome.table), rows_of(whole / "hse-2024.csv")
    for row in (*ours, *theirs):
        assert float(row.pop("seconds")) > 0
    assert ours == theirs


def awaited(condition, seconds=120):
    """What the condition says once it says something."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return answer


def claimed(folder) -> bool:
    try:
        with study._claimed(folder):
            return False
    except LiquidLensError:
        return True


def test_lines_that_are_there_are_not_run_again(volumes, whole, tmp_path):
    """Not on another machine either, which has no run folders."""
    shutil.copy(whole / "hse-2024.csv", tmp_path)
    outcome, lines = run(volumes, tmp_path)
    assert (outcome.left, len(lines)) == (0, 1)
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_without_its_line_gets_one(volumes, whole, tmp_path):
    lines = (whole / "hse-2024.csv").read_text().splitlines(keepends=True)
    (tmp_path / "hse-2024.csv").write_text("".join(lines[:2]))
    assert run(volumes, tmp_path, runs=whole / "runs")[0].failures == ()
    assert (tmp_path / "hse-2024.csv").read_text() == "".join(lines)


def test_a_run_that_fails_does_not_end_the_study(volumes, tmp_path):
    names = ("CNNExp2N4", "CNNExp2N3", "CNNExp1N4", "RNNExp5N5+source_layout")
    broken, busy = (tmp_path / "runs" / f"vessels-{model}-hse-2024+max_epochs=1-seed0" for model in names[:2])
    broken.mkdir(parents=True)
    (broken / "recipe.json").write_text("{}")
    with study._claimed(busy):
        outcome, lines = run(volumes, tmp_path, jobs=2, names=names, seeds=[0], epochs=1)
    failures = sorted(outcome.failures)
    assert failures[0].startswith(
        "CNNExp2N3 on folder:vessels, hse-2024+max_epochs=1, seed 0: Another study is training in "
    )
    assert failures[1].startswith("CNNExp2N4 on folder:vessels, hse-2024+max_epochs=1, seed 0: ")
    assert "recipe.json is damaged" in failures[1]
    assert not list(busy.iterdir())
    assert any(
        line.startswith("CNNExp2N4 on folder:vessels, hse-2024+max_epochs=1, seed 0: failed; ") for line in lines
    )
    assert {row["model"] for row in rows_of(outcome.table)} == set(names[2:])


def test_a_process_that_ends_is_a_run_that_fails():
    worker = study._Worker(os._exit)
    worker.connection.send(3)
    assert worker.answer().startswith("Its process ended with exit code 3, ")


def test_nothing_is_begun_when_the_time_is_up(volumes, tmp_path):
    outcome, _ = run(volumes, tmp_path, budget_hours=0)
    assert (outcome.left, outcome.failures) == (2, ())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"paper": "hse-2023"}, "no study named 'hse-2023'. Did you mean hse-2024"),
        ({"models": ["EQ2425"]}, "no model of this study named 'EQ2425'"),
        ({"models": ["CNNExp2N4+source_layout"]}, "no flag 'source_layout'"),
        ({"datasets": ["vesselmnist"]}, "no dataset named"),
        ({"jobs": 0}, "at least one process"),
        ({"changes": {"max_epochs": 0}}, "max_epochs=0 does not fit"),
    ],
)
def test_everything_is_checked_before_anything_is_trained(volumes, tmp_path, arguments, sentence):
    whole = {"paper": "hse-2024", "datasets": [str(volumes)], **arguments}
    with pytest.raises(LiquidLensError, match=sentence):
        study.study(**whole, out=tmp_path, runs=tmp_path / "runs")
    assert not list(tmp_path.iterdir())


def test_seeds():
    assert plans.parse_seeds("0-2,7,1") == [0, 1, 2, 7]
    for text in ("", "4-0", "a", "-1", "0-", "0,,1"):
        with pytest.raises(LiquidLensError, match="--seeds takes numbers and ranges"):
            plans.parse_seeds(text)


def line_of(seed) -> dict[str, str]:
    return {**dict.fromkeys(ResultsTable(Path()).columns, "x"), "seed": str(seed)}


def test_many_write_to_a_table_at_once(tmp_path):
    table = tmp_path / "results" / "table.csv"
    with ThreadPoolExecutor(8) as pool:  # every call opens the file for itself, as processes do
        list(pool.map(lambda i: ResultsTable(table).append(line_of(i % 50)), range(200)))
    rows = rows_of(table)
    assert sorted(int(row["seed"]) for row in rows) == list(range(50)), "every line once, and one header"
    assert ResultsTable(table).finished() == {("x", "x", "x", "x", str(seed)) for seed in range(50)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[:-1], "line 3 is not whole"),
        (lambda text: text[:-9], "line 3 is not whole"),
        (lambda text: text + "<<<<<<< HEAD\n", "line 4 is not whole"),
        (lambda text: text.replace("\n", "\n\n", 1), "line 2 is not whole"),
        (lambda text: text.replace("seed", "start", 1), "has other columns"),
    ],
)
def test_a_damaged_table_is_left_alone(tmp_path, change, sentence):
    table = tmp_path / "table.csv"
    for seed in (0, 1):
        ResultsTable(table).append(line_of(seed))
    damaged = change(table.read_text())
    table.write_text(damaged)
    for use in (lambda: ResultsTable(table).finished(), lambda: ResultsTable(table).append(line_of(2))):
        with pytest.raises(LiquidLensError, match=sentence):
            use()
    assert table.read_text() == damaged
