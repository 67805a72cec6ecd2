"""Verdicts on the papers' claims, on results small enough to judge by eye."""

import re
from pathlib import Path

import pytest

from liquidlens import models
from liquidlens.train.studies.plans import KTH, PLANS, STATISTICS, TUM_VALIDATION, plan
from liquidlens.train.studies.published import Printed
from liquidlens.train.studies.reports.hse2024 import ORDER
from liquidlens.train.studies.reports.kth2021 import AUC, TEST, TRAIN
from liquidlens.train.studies.reports.missing import missing
from liquidlens.train.studies.reports.pages import REPORTS
from liquidlens.train.studies.reports.rows import Summary, summaries
from liquidlens.train.studies.reports.tum2018 import PAIRS_DEPTH
from liquidlens.train.studies.reports.tum2018_claims import _deeper
from liquidlens.train.studies.reports.verdicts import Verdict, about, greater, inside, not_greater, share, verdicts
from tests.train.test_reports import cells_of, line, written

ROOT = Path(__file__).parents[2]
CLAIMED = [paper for paper, report in REPORTS.items() if report.claims]


def test_a_difference_is_judged_by_the_spread_of_seeds():
    assert greater([0.9, 0.91, 0.92], [0.5, 0.51, 0.52], alone=0.1).verdict is Verdict.REPRODUCED
    assert greater([0.5, 0.51, 0.52], [0.9, 0.91, 0.92], alone=0.1).verdict is Verdict.CONTRADICTED
    found = greater([0.5, 0.7], [0.4, 0.6], alone=0.01)
    assert (found.ours, found.verdict) == ("+0.100 (-0.508 to +0.708)", Verdict.UNDECIDED)
    assert greater([], [0.9], alone=0.1).verdict is Verdict.NOT_RUN


def test_single_seeds_are_judged_by_a_stated_difference():
    assert greater([0.9], [0.7], alone=0.1).verdict is Verdict.REPRODUCED
    assert greater([0.7], [0.9, 0.9], alone=0.1).verdict is Verdict.CONTRADICTED
    found = greater([0.75], [0.7], alone=0.1)
    assert found.verdict is Verdict.UNDECIDED
    assert "0.1" in found.why


def test_no_greater_figure():
    close = [0.5, 0.6, 0.7]
    assert not_greater(close, close, alone=0.1).verdict is Verdict.REPRODUCED
    assert not_greater(close[:2], close[:2], alone=0.1).verdict is Verdict.UNDECIDED
    assert not_greater([0.9], [0.5], alone=0.1).verdict is Verdict.CONTRADICTED
    assert not_greater([0.5], [0.9], alone=0.1).verdict is Verdict.REPRODUCED


def test_shares_wait_for_all_cases():
    assert share([True, True, False], 0.5, "pairs", whole=3).verdict is Verdict.REPRODUCED
    assert share([True, False, False], 0.5, "pairs", whole=3).verdict is Verdict.CONTRADICTED
    assert share([True, True], 0.5, "pairs", whole=3).verdict is Verdict.UNDECIDED
    assert share([], 0.5, "pairs", whole=3).verdict is Verdict.NOT_RUN


def test_figures_stated_in_round_numbers():
    assert about([52, 53], 54, within=3).verdict is Verdict.REPRODUCED
    assert about([39.3], 54, within=3).verdict is Verdict.CONTRADICTED


def test_printed_figures_are_judged_by_prediction_intervals():
    run = Summary(tuple(line(model="LiqExp1N2", seed=i, last_test_auc=v) for i, v in enumerate((0.79, 0.80, 0.81))))
    column = "last_test_auc"
    assert inside([(run, Printed(0.80))] * 3, column, whole=5).verdict is Verdict.REPRODUCED
    assert inside([(run, Printed(0.80))] * 3, column, whole=6).verdict is Verdict.UNDECIDED
    assert inside([(run, Printed(0.99))] * 3, column, whole=5).verdict is Verdict.CONTRADICTED
    assert inside([(run, Printed(0.99))] * 3, column, whole=6).verdict is Verdict.UNDECIDED
    assert inside([(Summary(run.rows[:1]), Printed(0.99))], column, whole=1).verdict is Verdict.UNDECIDED
    assert inside([], column, whole=1).verdict is Verdict.NOT_RUN


@pytest.mark.parametrize("paper", CLAIMED)
def test_without_runs_nothing_is_said_that_runs_decide(paper):
    text = verdicts(REPORTS[paper].claims, [])
    rows = [row.split(" | ") for row in text.splitlines()[4:]]
    decided = [row[0] for row in rows if "**not run**" not in row[3]]
    assert len(rows) == len(REPORTS[paper].claims)
    assert all("parameters" in claim for claim in decided), decided  # which need no run


def rule(paper, **of):
    """What the first trial of a plan that has these attributes is called in a table."""
    trial = next(t for t in plan(paper).trials if all(getattr(t, name) == value for name, value in of.items()))
    dataset, network, named = trial.line(paper)
    return {"dataset": dataset, "model": str(network), "recipe": str(named), "epochs": 100, "seconds": 7200}


def test_claims_of_kth_2021(tmp_path):
    recalls = {"DEFAULT": 0.50, "4A1": 0.55, "4A2": 0.51, "5B": 0.10, "4E": 0.70, "best": 0.6}
    rows = [
        line(
            "kth-2021",
            **dict.fromkeys((TRAIN, TEST, AUC), recall),
            **rule("kth-2021", model=KTH[name][0], recipe=KTH[name][1]),
        )
        for name, recall in recalls.items()
    ]
    page, _ = written(tmp_path, "kth-2021", rows)
    found = {row[1] + row[0]: row[2:4] for row in cells_of(page, "verdicts")}
    assert found["table 1more filters raise recall (4A1)"] == ["+0.050", "**reproduced**"]
    assert found["table 1one more fully connected layer lowers it (4A2)"] == ["-0.010", "**undecided**"]
    assert found["table 1leaky ReLU raises it (4C)"] == ["-", "**not run**"]
    assert found["table 2a rate of 0.1 lowers it (5B)"] == ["+0.400", "**reproduced**"]
    assert found["section 4all that raises it together is the best configuration"] == ["-0.100", "**contradicted**"]


def test_depth_is_judged_by_the_seeds_that_both_networks_of_a_pair_have():
    (_, *shallow), *_, (_, *deep) = PAIRS_DEPTH
    seeds = {shallow[0]: "01", shallow[1]: "01", deep[0]: "012", deep[1]: "12"}
    gain = {shallow[0]: 0.01, deep[0]: 0.05}
    rows = [
        line(
            "tum-2018",
            seed=seed,
            best_val_accuracy=0.8,
            best_test_accuracy=0.8 + gain.get(model, 0) + int(seed) / 1000,
            **rule("tum-2018", model=model, changes=changes),
        )
        for model, own in seeds.items()
        for changes in {trial.changes for trial in plan("tum-2018").trials if trial.model == model}
        for seed in own
    ]
    found = _deeper(summaries(rows))
    assert (found.ours[:5], found.verdict) == ("+4.00", Verdict.REPRODUCED)
    assert "2 seeds each" in found.why
    assert _deeper(summaries(row for row in rows if row["model"] != deep[1])).verdict is Verdict.NOT_RUN


def test_claims_of_hse_2024(tmp_path):
    common = {"dataset": "adrenalmnist3d", "recipe": "hse-2024", "epochs": 9}
    kinds = {"CNN": 0.85, "Liq": 0.70}
    rows = [
        line(model=model, last_test_auc=kinds[model[:3]] + number / 1000, seconds=number, **common)
        for number, model in enumerate(name for name in ORDER if name[:3] in kinds)
    ]
    page, _ = written(tmp_path / "few", "hse-2024", rows[:8])
    found = {row[0]: row[3] for row in cells_of(page, "verdicts")}["CNNs have the better AUC on AdrenalMNIST3D"]
    assert found == "**undecided**"
    page, _ = written(tmp_path / "all", "hse-2024", rows)
    by_claim = {row[0]: row[2:4] for row in cells_of(page, "verdicts")}
    assert by_claim["CNNs have the better AUC on AdrenalMNIST3D"][1] == "**reproduced**"
    assert by_claim["liquid networks are comparable or better on VesselMNIST3D"][1] == "**not run**"
    assert by_claim["with significantly fewer parameters than the LSTM rows"] == [
        "42,915 against 76,214",
        "**reproduced**",
    ]
    assert by_claim["with significantly fewer parameters than the RNN rows"] == [
        "42,915 against 20,397",
        "**contradicted**",
    ]


def test_claims_of_cmu(tmp_path):
    errors = {"ResNet-1": (0.50, 0.55), "RecNet-RNN": (0.10, 0.53)}
    rows = [
        line("cmu", final_train_accuracy=1 - seen, last_test_accuracy=1 - unseen, **rule("cmu", model=model))
        for model, (seen, unseen) in errors.items()
    ]
    page, _ = written(tmp_path, "cmu", rows)
    found = {row[0]: row[2:4] for row in cells_of(page, "verdicts")}
    assert found["a residual network of depth 1 errs on about 54 % of the test images"] == ["55.0", "**reproduced**"]
    assert found["with a simple RNN, seven times, on about 45 %"] == ["53.0", "**contradicted**"]
    assert found["a simple RNN, seven times, lowers the error"] == ["+2.0", "**reproduced**"]
    assert found["a simple RNN, seven times, overfits"] == ["+38.0", "**reproduced**"]
    assert found["a block with shared weights, seven times, overfits"] == ["-", "**not run**"]


def test_claims_of_tum_2018_about_gradients(tmp_path):
    """In turn: the first layer's peak and settled gradient, the last one's, and its weights."""
    figures = {
        ("2MLP-FC-for-LSTM", 0.1): (1e-3, 1e-6, 1e-5, 0.1),
        ("2MLP-FC-for-LSTM", 0.5): (2e-3, 2e-7, 2e-6, 0.1),
        ("2MLP-LSTM", 0.1): (5e-4, 1.5e-6, 2e-5, 0.10),
        ("2MLP-LSTM", 0.5): (2.1e-3, 3e-7, 1e-5, 0.15),
        ("2MLP-LSTM", 20): (1, 1e-9, 1e-2, 2),
        ("2MLP-LSTM", 100): (1, 0, 1e-2, 12),
    }
    plain = line("tum-2018", dataset="mnist", model="2MLP-LSTM", recipe="tum-2018+validation_subset=2000")
    rows = [plain | dict.fromkeys(STATISTICS, "")]
    for (model, rate), own in figures.items():
        changes = ("learning_rate", rate), ("validation_subset", TUM_VALIDATION), ("statistics", True)
        about = rule("tum-2018", model=model, changes=changes)
        rows.append(line("tum-2018", **about, **dict(zip(STATISTICS, own, strict=True))))
    page, _ = written(tmp_path, "tum-2018", rows)
    found = {row[1]: (row[2], row[3].strip("*")) for row in cells_of(page, "verdicts")}
    assert found["table 4.7a"] == ("1 of 2", "contradicted")
    assert found["table 4.7b"] == ("2 of 2", "reproduced")
    assert found["figure 4.12"] == ("3 of 4", "contradicted")
    assert found["section 4.5.3"] == ("2 of 2", "reproduced")
    assert found["figures 4.14, 4.15"] == ("x 1.50; x 6.00", "reproduced")
    first, *_, last = cells_of(page, "table 4.7")
    assert first == [
        "2MLP-FC-for-LSTM",
        "0.1",
        "1",
        "1.00e-03",
        "1.22e-03",
        "1.00e-06",
        "1.80e-06",
        "1.00e-05",
        "1.00e-01",
    ]
    assert last[3:] == ["1.00e+00", "-", "0.00e+00", "-", "1.00e-02", "1.20e+01"]


def test_claims_of_tum_2018(tmp_path):
    """Accuracies, by network; a dict: by learning rate."""
    wide = {0.1: 0.88, 0.5: 0.88, 2.0: 0.89, 20.0: 0.1}
    accuracies = {
        "1MLP-LSTM": 0.90,
        "1MLP-LSTM-h8": 0.91,
        "1MLP-LSTM-h256": 0.80,
        "2MLP-LSTM": wide,
        "2MLP-GRU": wide | {2.0: 0.7},
        "2MLP-RNN": wide | {20.0: 0.87},
        "2MLP-LSTM-h8": wide,
        "2MLP-LSTM-h128": wide | {20.0: 0.6},
        "2MLP-FC-for-LSTM": wide | {0.5: 0.3, 2.0: 0.1},
        "2MLP-FC-for-LSTM+batch_norm": wide | {2.0: 0.1},
        "2MLP-LSTM-first": 0.85,
        "2MLP-LSTM-x2": 0.87,
        "2MLP-LSTM-54x24": 0.89,
        "biLSTM-rows": 0.5,
        "LSTM-biLSTM": 0.87,
    }
    rows = [
        line(
            "tum-2018",
            dataset="mnist",
            model=model,
            recipe=f"tum-2018+learning_rate={rate}+validation_subset=2000".replace("+learning_rate=0.5", ""),
            best_test_accuracy=accuracy,
            best_val_accuracy=accuracy,
        )
        for model, by_rate in accuracies.items()
        for rate, accuracy in (
            by_rate if isinstance(by_rate, dict) else dict.fromkeys((0.1, 0.5, 2.0), by_rate)
        ).items()
    ]
    for own, accuracy in ((1.0, 0.88), (0.5, 0.90)):
        changes = (
            ("learning_rate", 2.0),
            ("module_learning_rates", {"output": own}),
            ("validation_subset", TUM_VALIDATION),
        )
        about = rule("tum-2018", model="2MLP-LSTM", changes=changes)
        rows.append(line("tum-2018", **about, best_test_accuracy=accuracy, best_val_accuracy=0.99))
    page, _ = written(tmp_path, "tum-2018", rows)
    found = {row[1] + ": " + row[0]: (row[2], row[3].strip("*")) for row in cells_of(page, "verdicts")}
    where = "section 4.6.4: "
    assert found[where + "more recurrent layers do not help"] == ("-2.00", "reproduced")
    assert found[where + "an LSTM in front of the Linear is worse than behind it"] == ("+4.00", "reproduced")
    assert found["section 4.6.2: networks of LSTMs alone do poorly"] == ("50.0 %, 87.0 %", "contradicted")
    assert found["table 4.2: the shape of the map makes little difference"] == ("89.00 to 89.00", "undecided")
    assert found["table 4.1: the size of the map makes little difference"] == ("-", "not run")
    assert found["figure 4.9: in 1MLP, small hidden sizes are more accurate"] == ("+10.50", "reproduced")
    assert found["figure 4.8: in 2MLP, small hidden sizes are more accurate"] == ("+0.00", "undecided")
    assert found["figure 4.8: in 2MLP, beyond a rate of 10 large ones are"] == ("+50.00", "reproduced")
    assert found["figure 4.9: in 1MLP, beyond a rate of 10 large ones are"] == ("-", "not run")
    cells = "figure 4.10: in 2MLP, LSTM, GRU and RNN are about as robust"
    assert found[cells] == ("LSTM 3, GRU 2, RNN 4", "contradicted")
    norm = "section 4.5: batch normalisation widens the range of rates, but less than an LSTM"
    assert found[norm] == ("1, with it 2, an LSTM 3", "reproduced")
    assert found["table 4.8a: one rate for all layers is best, the last one's varied"] == ("1 of 2", "contradicted")
    assert found["table 4.8b: one rate for all layers is best, the LSTM's varied"] == ("-", "not run")
    assert cells_of(page, "table 4.8") == [
        ["all layers", "2", "2", "1", "89.00", "88.38 ± 0.28"],
        ["the last layer", "2", "1", "1", "88.00", "88.03 ± 0.26"],
        ["the last layer", "2", "0.5", "1", "90.00", "87.82 ± 0.17"],
    ]
    others = {row[0]: row[2:] for row in cells_of(page, "others")}
    assert others["2MLP-LSTM-54x24"][1:] == ["1", "89.00", "88.75 ± 0.02"]
    assert others["biLSTM-rows"][-1] == "-"
    assert "2MLP-LSTM" not in others
    waiting = {tuple(row[:2]): row[2] for row in cells_of(page, "missing")}
    assert waiting["2MLP-LSTM-72x18", "mnist"] == "tum-2018+validation_subset=2000, at rates 0.1, 0.5, 2"


def test_what_has_not_run_is_listed_with_its_hours():
    there = rule("kth-2021", model="EQ2425", recipe="kth-2021", flags=())
    shorter = there | {"recipe": "kth-2021+max_epochs=3", "epochs": 3, "seconds": 360}
    runs = summaries([line("kth-2021", **there)])
    text = missing("kth-2021", runs, [*runs, *summaries([line("kth-2021", **shorter)])])
    trials = len(PLANS["kth-2021"].trials)
    assert text.startswith(
        f"Of {trials} planned lines 1 have run with fewer than 3 seeds, and {trials - 1} not at all: "
    )
    assert "| EQ2425 | cifar10 | kth-2021-5c+precision=bf16+max_epochs=100 | 2.00 |" in text
    only_short = missing("kth-2021", [], summaries([line("kth-2021", **shorter)]))
    assert "| EQ2425 | cifar10 | kth-2021+precision=bf16+max_epochs=100 | 3.33 |" in only_short


def test_the_readme_counts_networks_and_twins_apart():
    names = [name for name in models.names() if models.entry(name).paper != "liquidlens"]
    twins = [name for name in names if name.startswith("CfC")]
    text = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    assert f"[{len(names) - len(twins)} networks of five papers]" in text
    assert f"adds {len(twins)} twins" in text
