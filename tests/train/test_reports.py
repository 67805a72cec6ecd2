"""Pages of the studies: made from the results alone, and the committed ones are what the committed results make."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.train.names import Network, Rule
from liquidlens.train.studies.plans import (
    COVID_CT,
    KTH_EPOCHS,
    PLANS,
    RATES,
    TRUONG_EPOCHS,
    TRUONG_RATE,
    TUM_VALIDATION,
)
from liquidlens.train.studies.published import Printed, original
from liquidlens.train.studies.reports import write
from liquidlens.train.studies.reports.hse2024 import AUC
from liquidlens.train.studies.reports.markdown import difference, ours, replaced, searched, table
from liquidlens.train.studies.reports.rows import Summary, best_by_validation, summaries
from liquidlens.train.studies.results import ResultsTable

DOCS = Path(__file__).parents[2] / "docs"
STUDIED = sorted(path.stem for path in (DOCS / "results").glob("*.csv"))


def line(paper="hse-2024", **cells) -> dict[str, str]:
    """A line of a results table; figures that are not given are 0.5."""
    columns = ResultsTable(Path(), PLANS[paper].figures).columns
    row = dict.fromkeys(columns, "0.5") | {"paper": paper, "dataset_md5": "x", "seed": "0", "parameters": "1000"}
    return row | {key: str(value) for key, value in cells.items()}


def written(tmp_path, paper, rows) -> tuple[str, list[Path]]:
    """The page that a table with these rows makes."""
    results = ResultsTable(tmp_path / "results" / f"{paper}.csv", PLANS[paper].figures)
    for row in rows:
        results.append(row)
    shutil.copytree(DOCS / "results" / "search", tmp_path / "results" / "search")
    shutil.copy(DOCS / "reproduction" / f"{paper}.md", tmp_path)
    files = write(paper, tmp_path / "results", tmp_path, tmp_path / "pictures")
    return files[0].read_text(), files[1:]


def cells_of(page: str, name: str) -> list[list[str]]:
    """The rows of a table in a page."""
    part = re.search(f"<!-- {re.escape(name)} -->\n(.*)\n<!-- /{re.escape(name)} -->", page, re.DOTALL)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in part[1].splitlines()[2:]]


@pytest.mark.parametrize("paper", STUDIED)
def test_the_committed_pages_are_what_the_results_make(tmp_path, paper):
    page = DOCS / "reproduction" / f"{paper}.md"
    (tmp_path / "reproduction").mkdir()
    shutil.copy(page, tmp_path / "reproduction")
    made, *plots = write(paper, DOCS / "results", tmp_path / "reproduction", tmp_path / "pictures")
    assert made.read_text() == page.read_text(), "run `make tables`"
    for plot in plots:
        assert Image.open(plot).size == Image.open(DOCS / "pictures" / plot.name).size
        assert np.asarray(Image.open(plot).convert("L")).std() > 5, "something is drawn"


@pytest.mark.parametrize("paper", STUDIED)
def test_names_in_the_results_are_printed_as_they_were_read(paper):
    for row in ResultsTable(DOCS / "results" / f"{paper}.csv", PLANS[paper].figures).rows():
        assert str(Network.parse(row["model"])) == row["model"]
        assert str(Rule.parse(row["recipe"])) == row["recipe"]


def test_names_are_taken_apart():
    assert Network.parse("CRNet-FC+reducer@112x96") == Network("CRNet-FC", ("reducer",), (112, 96))
    changes = (("epsilon", "1e+20"), ("stop", "no-gain"))
    assert Rule.parse("hse-2024+epsilon=1e+20+stop=no-gain") == Rule("hse-2024", changes)


def test_a_table_of_hse_2024(tmp_path):
    common = {"dataset": "vesselmnist3d", "recipe": "hse-2024", "epochs": 10, "seconds": 1000}
    rows = [
        line(model="LiqExp1N2", last_test_auc=0.8, last_test_accuracy_batch_mean=0.9, **common),
        *(line(model="CNNExp2N4", seed=i, last_test_auc=v, **common) for i, v in enumerate((0.79, 0.80, 0.81))),
        *(line(model="CNNExp2N3", seed=i, last_test_auc=v, **common) for i, v in enumerate((0.79, 0.80, 0.81))),
        line(model="LSTMExp5N2+source_layout", last_test_auc=0.7, **common),
        line(model="LSTMExp5N2", last_test_auc=0.1, **common),
        line(model="CNNExp1N3", last_test_auc=0.1, **common),
        line(model="CNNExp2N4", **common | {"recipe": "hse-2024+max_epochs=3"}),
    ]
    page, plots = written(tmp_path, "hse-2024", rows)
    assert [row[:8] for row in cells_of(page, "vesselmnist3d")] == [
        ["**CNNExp2N4**", "1,000", "3", "0.800 ± 0.010", "0.796", "+0.004 inside", "0.500 ± 0.000", "0.878"],
        ["**CNNExp2N3**", "1,000", "3", "0.800 ± 0.010", "0.927", "-0.127 **outside**", "0.500 ± 0.000", "0.901"],
        ["**LSTMExp5N2**", "1,000", "1", "0.100", "0.792", "-0.692", "0.500", "0.891"],
        ["LSTMExp5N2+source_layout", "1,000", "1", "0.700", "0.792", "-0.092", "0.500", "0.891"],
        ["CNNExp1N3", "1,000", "1", "0.100", "0.872", "-0.772", "0.500", "0.911"],
        ["LiqExp1N2", "1,000", "1", "0.800", "0.901", "-0.101", "0.900", "0.909"],
    ]
    assert cells_of(page, "adrenalmnist3d") == []
    # 0.004, 0.127, 0.092 and 0.101: the published figure of LSTMExp5N2 is of the source's layout
    assert cells_of(page, "summary") == [
        ["adrenalmnist3d", "0", "0", "-", "-", "0 of 0"],
        ["vesselmnist3d", "4", "8", "0.081", "0.127", "1 of 2"],
    ]
    assert [plot.name for plot in plots] == ["hse-2024-auc.png", "hse-2024-published.png"]


def test_other_nodules_are_set_beside_no_published_figure(tmp_path):
    run = {"model": "LiqExp4N2", "recipe": "hse-2024", "last_test_auc": 0.9, "epochs": 10, "seconds": 1000}
    lines = [line(dataset=name, **run) for name in ("nodulemnist3d", "lidc-nodule3d")]
    page, _ = written(tmp_path, "hse-2024", lines)
    assert cells_of(page, "nodulemnist3d")[0][3:6] == ["0.900", "0.908", "-0.008"]
    assert cells_of(page, "lidc-nodule3d") == [["**LiqExp4N2**", "1,000", "1", "0.900", "0.500", "10", "1,000"]]
    assert "No run yet." in page.partition("<!-- adrenalmnist3d -->")[2].partition("<!-- /")[0]


def at_rates(model, best, accuracy, recipe="tum-2018"):
    """Lines of a network of tum-2018: on validation it is best at one rate, on test images at the highest."""
    return [
        line(
            "tum-2018",
            dataset="mnist",
            model=model,
            recipe=recipe + ("" if rate == 0.5 else f"+learning_rate={rate}") + f"+validation_subset={TUM_VALIDATION}",
            best_val_accuracy=0.9 - abs(rate - best) / 100,
            best_test_accuracy=accuracy + rate / 100,
        )
        for rate in RATES
    ]


def test_the_learning_rates_of_tum_2018_are_chosen_on_validation(tmp_path):
    rows = at_rates("1MLP-LSTM", 2.0, 0.88) + at_rates("1MLP-FC-for-LSTM", 0.1, 0.87)
    rows.append(rows[0] | {"model": "2MLP-LSTM", "best_val_accuracy": "0.99"})  # the other two rates are to come
    page, plots = written(tmp_path, "tum-2018", rows)
    two, one, _ = cells_of(page, "table 4.3")
    assert two == ["2MLP", *["-"] * 10]
    lstm = ["2", "1", "90.00", "89.65 ± 0.31"]
    assert one == ["1MLP", *lstm, *["0.1", "1", "87.10", "87.13 ± 0.34"], "+2.90", "+2.52"]
    assert [plot.name for plot in plots] == [
        "tum-2018-published.png",
        "tum-2018-rates.png",
        "tum-2018-hidden-sizes.png",
        "tum-2018-differences.png",
    ]


def test_training_and_hidden_sizes_of_tum_2018(tmp_path):
    rows = [
        row
        for recipe, gain in (("tum-2018", 0.0), ("tum-2018-5k", 0.05))
        for model, best, accuracy in (("1MLP-LSTM", 2.0, 0.88 + gain), ("1MLP-FC-for-LSTM", 0.1, 0.87 + 2 * gain))
        for row in at_rates(model, best, accuracy, recipe)
    ]
    for model, accuracy in (("1MLP-LSTM-h256", 0.8), ("2MLP-LSTM-h4", 0.6), ("2MLP-LSTM", 0.7)):
        rows += at_rates(model, 0.5, accuracy)
    page, _ = written(tmp_path, "tum-2018", rows)
    assert cells_of(page, "table 4.4") == [
        ["500", "1MLP", "2", "1", "90.00", "0.1", "1", "87.10", "+2.90", "+2.52"],
        ["5,000", "1MLP", "2", "1", "95.00", "0.1", "1", "97.10", "-2.10", "+2.93"],
    ]
    assert cells_of(page, "hidden sizes") == [
        ["4", "-", "60.50", "-"],
        ["32", "90.00", "70.50", "-"],
        ["256", "80.50", "-", "-"],
    ]
    assert cells_of(page, "others") == []


def test_the_ranking_of_kth_2021(tmp_path):
    """Runs on a copy of CIFAR-10 count where there are none on the official one."""

    def recall(model, recipe, value, epochs=KTH_EPOCHS, dataset="cifar10"):
        rule = f"{recipe}+precision=bf16+max_epochs={epochs}"
        figures = {"mean_train_recall": value, "mean_val_recall": value - 0.1, "last_test_auc": 1 - value}
        return line("kth-2021", dataset=dataset, model=model, recipe=rule, epochs=epochs, **figures)

    rows = [
        recall("EQ2425", "kth-2021", 0.3),
        recall("EQ2425-4E", "kth-2021", 0.5),
        recall("EQ2425", "kth-2021-5b", 0.35, dataset="cifar10-jpeg"),
        recall("EQ2425-4E", "kth-2021", 0.1, epochs=KTH_EPOCHS + 1),
        recall("EQ2425-4E", "kth-2021", 0.2, dataset="cifar10-jpeg"),
        recall("EQ2425", "kth-2021-corrected", 0.6),
        recall("EQ2425-best", "kth-2021-best", 0.7),
        recall("EQ2425-best", "kth-2021-best+batch_size=64+evaluation_batch_size=64", 0.1),
        recall("EQ2425+act_after_conv3", "kth-2021", 0.4),
    ]
    page, _ = written(tmp_path, "kth-2021", rows)
    by_recall, _, by_auc = cells_of(page, "ranking")
    assert by_recall == ["recall on test images", "4E > 5B > DEFAULT", "4E > DEFAULT > 5B", "0.50"]
    assert by_auc[1:] == ["DEFAULT > 5B > 4E", "4E > DEFAULT > 5B", "-0.50"]
    names = [row[0] for row in cells_of(page, "results")]
    variants = ["EQ2425-best, batches of 64", "EQ2425+act_after_conv3"]
    assert names == ["DEFAULT", "4E", "5B", "best", "corrected", *variants]
    assert cells_of(page, "results")[3][2] == "0.700", "of the configuration as published"
    assert cells_of(page, "results")[1][2:6] == ["0.500", "0.857", "0.400", "0.663"]


def test_errors_of_cmu(tmp_path):
    dataset, network, rule = PLANS["cmu"].trials[0].line("cmu")
    rows = [line("cmu", dataset=dataset, model=network, recipe=rule, last_test_accuracy=0.62)]
    page, _ = written(tmp_path, "cmu", rows)
    assert cells_of(page, "results")[0][:5] == ["ResNet, depth 1", "1,000", "1", "38.0", "about 54"]


def test_runs_of_cmu_have_curves():
    """What the picture draws of every run in the table; ends where the table says."""
    rows = ResultsTable(DOCS / "results" / "cmu.csv", PLANS["cmu"].figures).rows()
    planned = PLANS["cmu"].lines("cmu")
    runs = [
        run
        for run in summaries(rows, DOCS / "results" / "curves")
        if (original(run.dataset), run.network, run.rule) in planned
    ]
    assert runs
    for run in runs:
        ends = [curve[-1] for curve in run.curve("train_accuracy")]
        assert ends == pytest.approx(run.values("final_train_accuracy"), rel=1e-5)


def test_heads_of_truong_2022(tmp_path):
    def head(model, accuracy, rate=""):
        rule = f"truong-2022{rate}+max_epochs={TRUONG_EPOCHS}"
        return line("truong-2022", dataset="chestxray224", model=model, recipe=rule, best_test_accuracy=accuracy)

    rows = [head("CRNet-NCP-z@112x112", 0.84), head("CRNet-FC@112x112", 0.85), head("CRNet-FC", 0.5)]
    rows += [head(f"CRNet-{name}@112x112", 0.9, f"+learning_rate={TRUONG_RATE}") for name in ("NCP-z", "FC")]
    (double,) = (t for t in PLANS["truong-2022"].trials if t.data == COVID_CT and t.model == "CRNet-NCP-y-double")
    data, model, rule = double.line("truong-2022")
    rows.append(line("truong-2022", dataset=data, model=str(model), recipe=str(rule)))
    page, _ = written(tmp_path, "truong-2022", rows)
    assert [row[0] for row in cells_of(page, "ct")] == ["NCP over rows, twice the neurons"]
    fc, z, _, faster = cells_of(page, "x-rays")
    assert (fc[0], fc[2], fc[4], fc[8]) == ("fully connected", "0.0001", "0.850", "-")
    assert (z[0], z[4], z[8]) == ("NCP over channels", "0.840", "-1.0")
    assert (faster[0], faster[2], faster[8]) == ("NCP over channels", "0.001", "+0.0")


def of_seeds(*values) -> Summary:
    (one,) = summaries(line(last_test_auc=value, seed=seed) for seed, value in enumerate(values))
    return one


def test_means_and_what_they_say_about_a_published_value():
    assert ours(of_seeds(0.8), AUC) == "0.800"
    assert ours(of_seeds(0.8, 0.9), AUC) == "0.850 ± 0.071"
    assert difference(of_seeds(0.8, 0.9), AUC, Printed(0.5)) == "+0.350", "two seeds are too few for a word"
    assert difference(of_seeds(0.7, 0.8, 0.9), AUC, Printed(0.99)) == "-0.190 inside"
    assert difference(of_seeds(0.7, 0.8, 0.9), AUC, Printed(0.32)) == "+0.480 inside", "4.97 deviations at three seeds"
    assert difference(of_seeds(0.7, 0.8, 0.9), AUC, Printed(0.3)) == "+0.500 **outside**"
    mean_of_three = Printed(0.42, runs=3)  # whose interval reaches 3.51 deviations
    assert difference(of_seeds(0.7, 0.8, 0.9), AUC, mean_of_three) == "+0.380 **outside**"
    assert difference(of_seeds(0.7, 0.8, 0.9), AUC, None) == "-"


def test_other_versions_of_a_dataset_are_other_rows():
    assert len(summaries([line(dataset_md5="a"), line(dataset_md5="b")])) == 2
    many = [
        line(model=name, recipe=rule, best_val_auc=v) for name, rule, v in (("a", "r", 1), ("a", "s", 2), ("b", "r", 3))
    ]
    assert [one.rule.recipe for one in best_by_validation(summaries(many), "best_val_auc")] == ["s", "r"]


def test_a_part_of_a_page_is_replaced_and_nothing_else():
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- xy -->\n<!-- /xy -->\n"
    new = replaced(page, "x", r"new \1")
    assert new == page.replace("old", r"new \1")
    assert replaced(new, "x", "old") == page
    with pytest.raises(LiquidLensError, match=r"no part <!-- z --> \.\.\. <!-- /z -->"):
        replaced(page, "z", "")
    assert table(["a", "b"], [(1, 2)]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("paper", "prepare", "sentence"),
    [
        ("hse-2023", lambda folder: None, "no study named 'hse-2023'"),
        ("hse-2024", lambda folder: None, "has no line yet: `liquidlens study hse-2024` adds them"),
        ("hse-2024", lambda folder: (folder / "hse-2024.csv").write_text("a,b\n"), "other columns"),
        ("hse-2024", lambda folder: shutil.copy(DOCS / "results" / "hse-2024.csv", folder), "There is no page"),
    ],
)
def test_what_cannot_be_written(tmp_path, paper, prepare, sentence):
    prepare(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LiquidLensError, match=sentence):
        write(paper, tmp_path, tmp_path, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_results_are_committed():
    with (DOCS / "results" / "hse-2024.csv").open() as file:
        assert len(list(csv.reader(file))) > 1


def test_our_own_networks_stand_beside_the_printed_ones(tmp_path):
    rows = [
        line("liquidlens", dataset=dataset, model="LiquidLens-S", recipe="liquidlens", seed=seed, best_test_auc=auc)
        for dataset, seed, auc in (("vesselmnist3d", 0, 0.9), ("vesselmnist3d", 1, 0.92), ("adrenalmnist3d", 0, 0.85))
    ]
    timed = {"model": "LiquidLens-S+uneven+timespans", "recipe": "liquidlens", "best_test_auc": 0.8}
    rows.append(line("liquidlens", dataset="vesselmnist3d", **timed))
    rows += [
        line("liquidlens", dataset="pneumoniamnist", model=model, recipe="liquidlens-x+shift=2.0")
        for model in ("LiquidLens-X+mean@28x28", "LiquidLens-X@28x28", "LiquidLens-X")  # the last is not in the study
    ]
    page, _ = written(tmp_path, "liquidlens", rows)
    assert [row[:2] for row in cells_of(page, "x-rays")] == [
        ["pneumoniamnist", "liquid layers (LTC)"],
        ["pneumoniamnist", "nothing: each row alone"],
    ]
    assert [row[:1] + row[4:5] for row in cells_of(page, "uneven")] == [
        ["all slices", "0.910 ± 0.014"],
        ["a third left out, with time spans", "0.800"],
    ]
    cells = cells_of(page, "comparison")
    assert cells[0] == ["**LiquidLens-S**", "1,000", "1/2", "0.850", "0.500", "0.910 ± 0.014", "0.500 ± 0.000"]
    assert cells[1] == ["CNNExp2N4", "13,739", "-", "0.855", "0.812", "0.796", "0.878"]
    assert cells[-1] == ["AutoKeras", "-", "-", "0.804", "0.705", "0.773", "0.894"]
    assert len(cells) == 1 + 9 + 8


def test_the_trials_of_a_search_are_ranked(tmp_path):
    table = tmp_path / "search.csv"
    table.write_text("model,recipe,trial,shift,a 0,auc,seconds\nM,r,0,1,0.8,0.8,60\nM,r,1,2,0.9,0.9,61\n")
    assert searched(table).splitlines()[2:] == ["| 1 | 2 | 0.9 | 0.9 | 61 |", "| 0 | 1 | 0.8 | 0.8 | 60 |"]
    with pytest.raises(LiquidLensError, match="`liquidlens search` makes it"):
        searched(tmp_path / "none.csv")
