"""A search: held-out scans alone, the recipe first, and the same end whether or not it was interrupted."""

import csv
import json

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.files import growing
from liquidlens.train.datasets import HELD_OUT, load
from liquidlens.train.loop import fit
from liquidlens.train.studies import search

DATA = "phantom-vessel3d"
OVER = {"learning_rate": "0.0001..0.01", "batch_size": "32,64"}
CHANGES = {"max_epochs": 1, "subset": 64}


def wanted(model="CNNExp4N1", datasets=(DATA,), over=OVER, recipe=None, seeds=(0,), changes=CHANGES) -> search.Search:
    assignments = [f"{field}={values}" for field, values in over.items()]
    return search.Search(model, datasets, search.parse_over(assignments), recipe, seeds, changes)


def run(tmp_path, trials: int, name="search.csv", **other) -> list[dict[str, str]]:
    out = tmp_path / name
    search.run(wanted(**other), trials, out, runs=tmp_path / "runs", say=lambda _: None)
    with out.open() as file:
        return list(csv.DictReader(file))


def test_held_out_scans_are_training_scans():
    whole, parted = load(DATA), load(DATA + HELD_OUT)
    assert parted.scans["val"] is whole.scans["val"]
    held, trained = ({scan.tobytes() for scan in parted.scans[split]} for split in ("test", "train"))
    assert held.isdisjoint(trained)
    assert held | trained == {scan.tobytes() for scan in whole.scans["train"]}
    assert len(parted.scans["test"]) == round(0.3 * len(whole.scans["train"])) == len(parted.labels["test"])
    labels = {scan.tobytes(): label for scan, label in zip(whole.scans["train"], whole.labels["train"], strict=True)}
    for split in ("train", "test"):
        assert all(
            labels[scan.tobytes()] == label
            for scan, label in zip(parted.scans[split], parted.labels[split], strict=True)
        )
    assert np.array_equal(load(DATA + HELD_OUT).labels["test"], parted.labels["test"]), "always the same ones"


def test_an_interrupted_search_ends_as_another(tmp_path, monkeypatch):
    lines: list[str] = []
    whole = tmp_path / "whole.csv"
    best = search.run(wanted(), 3, whole, runs=tmp_path / "runs", say=lines.append)
    with whole.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert (rows[0]["learning_rate"], rows[0]["batch_size"]) == ("0.0005", "64"), "the recipe as it is"
    assert len({row["learning_rate"] for row in rows}) == 3
    assert all(0.0001 <= float(row["learning_rate"]) <= 0.01 and row["batch_size"] in ("32", "64") for row in rows)
    assert rows[0]["over"] == "learning_rate=0.0001..0.01; batch_size=32,64"
    assert all(0 <= float(row["auc"]) <= 1 and row["auc"] == row[f"{DATA} 0"] for row in rows)
    assert best in lines
    assert best.endswith(f"{max(float(row['auc']) for row in rows):.3f}")

    monkeypatch.setattr(fit, "_run_trainer", lambda *_: pytest.fail("it trained again"))
    run(tmp_path, 2, "parts.csv")
    assert run(tmp_path, 3, "parts.csv") == rows
    assert run(tmp_path, 2, "parts.csv") == rows, "there are enough"


@pytest.fixture
def judged(monkeypatch):
    """Judges trials by their learning rate, and by those of `worst`, without training."""
    worst: list[float] = []

    def judge(searched, values, *_):
        rate = values["learning_rate"]
        auc = float("nan") if rate in worst else 1 - abs(np.log10(rate / 0.002)) / 2
        return {f"{DATA} 0": auc, "auc": auc, "seconds": 1}

    monkeypatch.setattr(search, "_judged", judge)
    return worst


def test_later_trials_follow_from_earlier_ones(tmp_path, judged):
    whole = run(tmp_path, 20, "whole.csv")
    for trials in (1, 3, 9, 20):
        parts = run(tmp_path, trials, "parts.csv")
    assert parts == whole, "interrupted or not"
    errors = [abs(np.log10(float(row["learning_rate"]) / 0.002)) for row in whole]
    assert np.mean(errors[10:]) < 0.4, "even draws would be 0.55 off"
    best = int(np.argmin(errors))
    judged.append(float(whole[best]["learning_rate"]))
    other = run(tmp_path, 20, "other.csv")
    assert other[best]["auc"] == "NaN", "a training that diverged is the worst, and the search goes on"
    assert other[:best] == whole[:best]
    assert [row["learning_rate"] for row in other[best:]] != [row["learning_rate"] for row in whole[best:]]
    assert f"trial {best}:" not in search.run(wanted(), 20, tmp_path / "other.csv", say=print)


def test_values_that_are_no_numbers(tmp_path, monkeypatch):
    drawn = []

    def judge(searched, values, *_):
        drawn.append(values)
        return {f"{DATA} 0": 0.5, "auc": 0.5, "seconds": 1}

    monkeypatch.setattr(search, "_judged", judge)
    over = {"shuffle": "true,false", "clip_gradient": "null,0.12345", "augmentation": "none,mirror", "shift": "0,2"}
    rows = run(tmp_path, 8, over=over)
    assert drawn[0] == {"shuffle": True, "clip_gradient": None, "augmentation": "none", "shift": 2.0}
    found = {json.dumps(value) for values in drawn for value in values.values()}
    assert found == {"true", "false", "null", "0.12345", '"none"', '"mirror"', "0", "2"}
    assert run(tmp_path, 8, over=over) == rows


def test_a_damaged_table_is_kept(tmp_path, judged):
    run(tmp_path, 3)
    table = tmp_path / "search.csv"
    lines = table.read_text().splitlines(keepends=True)
    for damaged in (
        [*lines[:3], lines[3][:40]],
        [lines[0], *lines[2:]],
        [*lines[:2], lines[2].replace(",1,", ",1,x,"), lines[3]],
        [*lines[:3], lines[3].replace("\n", ",\n")],
        [*lines[:3], "\x00\xff\n"],
        [*lines[:3], lines[3].rpartition(",")[0].rpartition(",")[0] + ",1.5,1\n"],
    ):
        table.write_text("".join(damaged), encoding="latin-1")
        with pytest.raises(LiquidLensError, match=r"search\.csv, line \d is damaged"):
            run(tmp_path, 4)
        assert table.read_text(encoding="latin-1") == "".join(damaged)


def test_a_run_knows_that_its_scans_were_held_out(tmp_path):
    folder = fit.train("CNNExp4N1", DATA + HELD_OUT, changes=CHANGES, runs=tmp_path, progress=False)
    recipe = folder.recipe()
    assert recipe.dataset == DATA + HELD_OUT
    assert len(load(recipe.dataset).scans["test"]) < len(load(DATA).scans["train"])


def test_the_mean_over_datasets_and_seeds_counts(tmp_path):
    (row,) = run(tmp_path, 1, datasets=(DATA,), seeds=(0, 1))
    assert float(row["auc"]) == pytest.approx((float(row[f"{DATA} 0"]) + float(row[f"{DATA} 1"])) / 2, abs=1e-5)
    assert list(row) == ["model", "recipe", "over", "trial", *OVER, f"{DATA} 0", f"{DATA} 1", "auc", "seconds"]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"over": {}}, "a setting to search over"),
        ({"over": {"learning_rat": "0.1..1"}}, "no field of a recipe named 'learning_rat'"),
        ({"over": {"learning_rate": "0.01..0.1"}}, "include its 0.0005"),
        ({"over": {"batch_size": "32,128"}}, "include its 64"),
        ({"over": {"batch_size": "64,-1"}}, "batch_size=-1 does not fit"),
        ({"over": {"batch_size": "64,many"}}, "batch_size='many' does not fit"),
        ({"over": {"batch_size": ""}}, "--over batch_size=: name different values"),
        ({"over": {"batch_size": "64"}}, "at least two"),
        ({"over": {"batch_size": "64,32,64"}}, "different values"),
        ({"over": {"batch_size": "abc,32"}}, "batch_size='abc' does not fit"),
        ({"over": {"learning_rate": "0..1"}}, "from a number above 0"),
        ({"over": {"learning_rate": "0.0001..inf"}}, "to a larger one"),
        ({"over": {"learning_rate": "nan..1"}}, "from a number above 0"),
        ({"over": {"learning_rate": "0.0005..0.0005"}}, "to a larger one"),
        ({"over": {"batch_size": "16..64"}}, "list its values"),
        ({"over": {"loss": "0.1..1"}}, "loss=0.1 does not fit"),
        ({"over": {"test_subset": "null,10"}}, "it changes how trials are judged"),
        ({"datasets": (DATA + HELD_OUT,)}, f"by itself: {DATA}"),
        ({"over": {"augmentation": "none,truong-2022,mirror"}}, "is for images"),
        ({"datasets": (DATA, DATA)}, "each dataset once"),
        ({"datasets": ("phantom-pose",), "model": "PoseNet-final", "recipe": "tum-2018-pose"}, "poses have none"),
        ({"changes": {"validate_on_test": True}}, "chooses epochs on the scans that judge it"),
        ({"changes": {"subset": 10**6}}, "subset"),
        ({"datasets": ("nowhere",)}, "There is no dataset named 'nowhere"),
        ({"datasets": ("phantom-cxr",)}, "reads volumes"),
        ({"trials": 0}, "and a trial"),
        ({"over": {"loss": "cross-entropy,bce-dice", "class_weights": "none,balanced"}}, "Class weights are for"),
        ({"name": "search.txt"}, "ends in .csv"),
    ],
)
def test_everything_is_checked_before_anything_is_trained(tmp_path, monkeypatch, other, sentence):
    monkeypatch.setattr(search, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(LiquidLensError, match=sentence):
        run(tmp_path, **{"trials": 1, **other})
    assert not list(tmp_path.iterdir())


def test_two_searches_do_not_share_a_table(tmp_path, judged):
    rows = run(tmp_path, 2)
    with growing(tmp_path / "search.csv"), pytest.raises(LiquidLensError, match="another process is at work on it"):
        run(tmp_path, 3)
    assert run(tmp_path, 2) == rows


def test_another_searchs_table_is_kept(tmp_path):
    table = tmp_path / "search.csv"
    table.write_text("model,trial,shift,auc\nCNNExp4N1,0,1,0.5\n")
    with pytest.raises(LiquidLensError, match=r"search\.csv holds another search"):
        run(tmp_path, 1)
    assert "0.5" in table.read_text()
    table.write_text("patient,age\n")
    with pytest.raises(LiquidLensError, match=r"search\.csv is no search's table"):
        run(tmp_path, 1)
    run(tmp_path, 1, "mine.csv")
    with pytest.raises(LiquidLensError, match=r"mine\.csv holds another search"):
        run(tmp_path, 2, "mine.csv", changes={"max_epochs": 2, "subset": 64})
    with pytest.raises(LiquidLensError, match=r"mine\.csv holds another search"):
        run(tmp_path, 2, "mine.csv", over={**OVER, "learning_rate": "0.0001..0.1"})
