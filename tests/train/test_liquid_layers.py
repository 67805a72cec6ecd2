"""The page on liquid layers: every effect and the conclusion follow from the rows."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from liquidlens.files import as_csv
from liquidlens.train.comparison import ALL, CLEAN, FIGURES, MEAN
from liquidlens.train.studies.plans import PLANS
from liquidlens.train.studies.reports import write
from liquidlens.train.studies.reports.liquid_layers import effects
from liquidlens.train.studies.results import ResultsTable
from tests.train.test_reports import DOCS, cells_of, line

#: The rule by which a tenth of the training scans of Vessel is trained.
TENTH = next(
    str(trial.line("liquid-layers")[2])
    for trial in PLANS["liquid-layers"].trials
    if trial.data == "vesselmnist3d" and trial.changes
)
CONDITIONS = (CLEAN, ("blur", "1"), ("blur", MEAN), (ALL, MEAN))


def compared(seed, twin="LiquidLens-S+mean", recipe="liquidlens", off=0.0, reach=0.01, data="vesselmnist3d"):
    """The rows of a pair whose liquid network is `off` above its twin in every figure and condition."""
    about = {"dataset": data, "model": "LiquidLens-S", "recipe": recipe, "seed": seed, "twin_model": twin}
    about |= {"twin_recipe": recipe, "twin_seed": seed}
    for corruption, severity in CONDITIONS:
        row = about | {"corruption": corruption, "severity": severity}
        for figure in FIGURES:
            row |= {
                figure: 0.8 + off,
                f"twin_{figure}": 0.8,
                f"{figure}_low": off - reach,
                f"{figure}_high": off + reach,
            }
        yield {name: str(value) for name, value in row.items()}


def page_of(folder: Path, pairs, runs) -> str:
    table = ResultsTable(folder / "results" / "liquid-layers.csv", PLANS["liquid-layers"].figures)
    for run in runs:
        table.append(run)
    (folder / "results" / "compared").mkdir()
    (folder / "results" / "compared" / "liquid-layers.csv").write_text(as_csv(pairs))
    shutil.copy(DOCS / "reproduction" / "liquid-layers.md", folder)
    page, plot = write("liquid-layers", folder / "results", folder, folder / "pictures")
    assert Image.open(plot).width > 300
    return page.read_text()


def run(model="LiquidLens-S", seed=0, auc=0.9, recipe="liquidlens", data="vesselmnist3d"):
    return line("liquid-layers", dataset=data, model=model, recipe=recipe, seed=seed, best_test_auc=auc)


def test_what_both_intervals_decide_is_said(tmp_path):
    pairs = [row for seed, off in enumerate((0.019, 0.02, 0.021)) for row in compared(seed, off=off)]
    pairs += [
        row for seed, off in enumerate((-0.02, 0.02, 0.06)) for row in compared(seed, "LiquidLens-S+gru", off=off)
    ]
    pairs += compared(0, "LiquidLens-S+mean", TENTH, off=0.2)
    page = page_of(tmp_path, pairs, [run()])
    tenth, _, mean, _, gru, _ = cells_of(page, "effects")
    assert tenth[:6] == [
        "vesselmnist3d",
        "133 scans",
        "nothing: each step alone",
        "as they are",
        "1",
        "+0.200 (-; ± 0.010)",
    ]
    assert mean[1:6] == ["all scans", "nothing: each step alone", "as they are", "3", "**+0.020 (± 0.002; ± 0.010)**"]
    assert gru[2:6] == ["GRU", "as they are", "3", "+0.020 (± 0.099; ± 0.010)"]
    answer = page.partition("<!-- conclusion -->")[2].partition("<!-- /")[0]
    assert "**Liquid layers help where a difference below is for them; nothing shows that they harm.**" in answer
    assert "judge, 6 are for them and 2 against." in answer, "a greater ECE is against them"
    few = "vesselmnist3d, 133 scans, beside mean"
    alone = f"{few}, as they are; {few}, corrupted"
    assert f"of 2 of a single seed, by patients alone, 2 for the liquid layers ({alone}), 0 against them." in answer
    named = "vesselmnist3d beside mean, as they are; vesselmnist3d beside mean, corrupted"
    assert f"- AUC: of 4 differences that both intervals can judge, 2 for the liquid layers ({named}), 0 agai" in answer
    assert (
        f"- ECE: of 4 differences that both intervals can judge, 0 for the liquid layers, 2 against them ({named}"
        in answer
    )
    assert cells_of(page, "kinds") == [
        ["vesselmnist3d", "133 scans", "mean", "+0.200", "+0.200"],
        ["vesselmnist3d", "all scans", "mean", "**+0.020**", "**+0.020**"],
        ["vesselmnist3d", "all scans", "gru", "+0.020", "+0.020"],
    ]


def test_where_nothing_is_decided_nothing_is_claimed(tmp_path):
    page = page_of(tmp_path, [row for seed in range(3) for row in compared(seed, off=0.001 * seed)], [run()])
    assert "**Nothing here shows that liquid layers help, or that they harm.**" in page
    assert not any("**" in cell for row in cells_of(page, "effects") for cell in row)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (9, "Liquid layers help where a difference below is for them; nothing shows that they harm."),
        (13, "Nothing here shows that liquid layers help, or that they harm."),
    ],
)
def test_what_chance_makes_is_no_conclusion(tmp_path, others, said):
    """One pair is decided, as it is and corrupted: 6 figures for the liquid layers and the ECE, 2, against them.  Of 80
    differences chance makes 6 less often than one time in twenty (1.5 %), of 112 more often (6.3 %)."""
    offs = [(0.019, 0.02, 0.021), *[(-0.02, 0.02, 0.001)] * others]
    pairs = [
        row
        for place, by_seed in enumerate(offs)
        for seed, off in enumerate(by_seed)
        for row in compared(seed, off=off, data=f"set-{place}")
    ]
    answer = page_of(tmp_path, pairs, [run()]).partition("<!-- conclusion -->")[2].partition("<!-- /")[0]
    count = f"Of {8 * len(offs)} differences that both intervals can judge, 6 are for them and 2 against."
    assert f"**{said}** {count}" in answer


def test_runs_as_they_are_bring_more_seeds_and_what_has_not_run_is_listed(tmp_path):
    runs = [run(seed=seed, auc=0.9) for seed in range(4)]
    runs += [run("LiquidLens-CNN", seed, 0.88 + 0.001 * seed) for seed in range(3)]
    runs += [run("LiquidLens-S+gru", 1, 0.8, TENTH)]  # its liquid network has not run
    page = page_of(tmp_path, list(compared(0, "LiquidLens-CNN", off=0.02)), runs)
    clean, corrupted = cells_of(page, "effects")
    assert clean[2:6] == ["nothing, and fewer parameters", "as they are", "3", "**+0.019 (± 0.002; ± 0.010)**"]
    assert corrupted[4] == "1"
    assert cells_of(page, "levels")[0][:5] == ["vesselmnist3d", "133 scans", "LiquidLens-S+gru", "1,000", "1"]
    waiting = [tuple(row[:3]) for row in cells_of(page, "missing")[2:]]  # below a sentence
    assert len(waiting) == len(PLANS["liquid-layers"].trials) - 3, "all but the three that have run"
    assert ("LiquidLens-CNN", "adrenalmnist3d", "liquidlens") in waiting
    assert ("LiquidLens-CNN", "vesselmnist3d", "liquidlens") not in waiting


def test_an_interval_over_patients_lies_around_the_mean_of_all_seeds():
    found = effects([*compared(0, off=0.04), *compared(1, off=0.0, reach=0.03)], [])
    ((_, by_condition),) = found.items()
    assert by_condition[CLEAN]["auc"].over_patients == pytest.approx((0.0, 0.04))
    assert by_condition[CLEAN]["auc"].over_seeds == pytest.approx((0.02 - 0.254, 0.02 + 0.254), abs=1e-3)


def test_runs_of_another_number_of_epochs_are_another_pair():
    rules = ("liquidlens", "liquidlens+max_epochs=40")
    found = effects([row for rule in rules for row in compared(0, recipe=rule)], [])
    assert [pair.words for pair in found] == [
        "vesselmnist3d beside mean",
        "vesselmnist3d, all scans, 40 epochs, beside mean",
    ]
