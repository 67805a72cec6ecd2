"""What `liquidlens drift` says of a journal."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import Manifest
from liquidlens.serve.node import drift
from liquidlens.serve.node.journal import Answer, Journal
from liquidlens.serve.predict.predictor import Predictor

SHA256 = "a" * 64


def journal(path: Path, answers: int, shifted: int = 0) -> Journal:
    """So many answers of a rule, the last ones of which are of other scans."""
    rng, found = np.random.default_rng(0), Journal(path)
    found.know(SHA256, {"ood": 0.01, "abstained": 0.1})
    for number in range(answers):
        shift = number >= answers - shifted
        score, probability = rng.normal(1 + shift, 0.2), float(rng.random())
        prediction = {
            "label": "benign",
            "probabilities": {"benign": probability, "malignant": 1 - probability},
            "abstained": bool(rng.random() < 0.1),
            "ood": bool(score > 2),
            "ood_score": float(score),
            "ood_threshold": 2.0,
        }
        key = f"series {number}"
        found.arrive(key, "1.2", "1.3", None)
        found.move(key, "arriving", "complete")
        when, mean = 1.78e9 + 3600 * number, float(rng.normal(-500 + 200 * shift, 30))
        found.answered(Answer(f"1.2.{number}", key, when, "nodule", "M", SHA256, prediction, mean, 300.0), ["a.dcm"])
    return found


def test_scans_that_stay_as_they_are_do_not_drift(tmp_path):
    (found,) = drift.find(journal(tmp_path / "journal.db", 200), newest=50)
    assert (found.answers, found.newest, found.drifts) == (200, 50, False)
    assert len(found.tests) == 6


def test_other_scans_are_found_and_what_differs_is_named(tmp_path):
    (found,) = drift.find(journal(tmp_path / "journal.db", 200, shifted=50), newest=50)
    drifting = {test.name for test in found.tests if test.drifts}
    assert drifting == {"out of distribution", "out-of-distribution score", "mean intensity"}
    unlike = next(test for test in found.tests if test.name == "out of distribution")
    assert unlike.expected == 0.01
    assert unlike.found > 0.3


def test_the_correction_is_holms():
    tests = [drift.Test(name, 0, 0, p) for name, p in (("a", 0.01), ("b", 0.04), ("c", 0.03), ("d", 0.005))]
    corrected = {test.name: test.p for test in drift._corrected(tests)}
    assert corrected == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})


def test_a_models_file_says_what_is_expected():
    manifest: Manifest = Predictor("nodule").manifest
    assert drift.expected(manifest) == pytest.approx(
        {"ood": 1 - manifest.out_of_distribution.quantile, "abstained": 1 - manifest.metrics["val"]["coverage"]}
    )


def test_the_command_prints_draws_and_judges(tmp_path):
    journal(tmp_path / "journal.db", 120, shifted=40).close()
    command = [sys.executable, "-m", "liquidlens", "drift", str(tmp_path), "--newest", "40"]
    done = subprocess.run(
        [*command, "--json", "--strict", "--out", str(tmp_path / "plots")], capture_output=True, text=True
    )
    assert done.returncode == 3
    (found,) = json.loads(done.stdout)
    assert found["drifts"]
    assert (tmp_path / "plots" / f"nodule-{SHA256[:12]}.png").read_bytes().startswith(b"\x89PNG")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Drift at the level of 0.01: out of distribution" in done.stdout


def test_what_is_no_journal_is_one_sentence(tmp_path):
    (tmp_path / "journal.db").write_text("none")
    with pytest.raises(LiquidLensError, match="is no journal of a node"):
        Journal(tmp_path / "journal.db", only_read=True)
    with pytest.raises(LiquidLensError, match="there is no such journal"):
        Journal(tmp_path / "other.db", only_read=True)
    with pytest.raises(LiquidLensError, match="nothing was answered yet"):
        drift.find(Journal(tmp_path / "new.db"), 200)
