"""Evaluations as they are written and read, and tables that cannot be evaluated."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.serve.evaluate.run import evaluate, read_labels, summary, write
from tests.serve.evaluate.conftest import FINDINGS, FOUR, TWO, array, binary, write_table


def test_tables_that_cannot_be_evaluated(tmp_path):
    table = write_table(tmp_path / "r.jsonl", TWO, binary(0.1, 0.2), 0.5)
    labels, good = read_labels(array(tmp_path, [0, 1])), table.read_text()
    for find, replacement, sentence in (
        ('"p_vessel": 0.9', '"p_vessel": null', "row 1 has neither an error nor probabilities from 0 to 1"),
        ('"label": "vessel"', '"label": "lung"', "row 1 has the label 'lung', and no probability of it"),
    ):
        table.write_text(good.replace(find, replacement))
        with pytest.raises(LiquidLensError, match=sentence):
            evaluate(table, labels)
    table.write_text(good.replace("ab" * 32, "cd" * 32, 1))
    with pytest.raises(LiquidLensError, match="holds the answers of 2 models"):
        evaluate(table, labels)
    with pytest.raises(LiquidLensError, match=r"has no answers to evaluate, but an error in every row\."):
        evaluate(write_table(table, TWO, binary(0.1, 0.2), 0.5, errors=(0, 1)), labels)


def test_what_is_written_lies_beside_the_table(two, tmp_path):
    table, labels, _ = two
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=20)
    written = write(found, table)
    names = ["results.evaluation.json", "results.confusion.png", "results.coverage-risk.png", "results.reliability.png"]
    assert [path.name for path in written] == names
    assert {path.name for path in tmp_path.iterdir()} == {*names, "results.jsonl", "labels.npy"}
    plain = json.loads(written[0].read_text(encoding="utf-8"))
    assert plain == found.to_json()
    assert plain["figures"]["auc"] == found.figures["auc"]._asdict()
    for picture in written[1:]:
        with Image.open(picture) as image:
            assert min(image.size) > 300
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert np.asarray(image).std() > 10


@pytest.mark.parametrize(
    ("names", "threshold"), [(FOUR, None), (FINDINGS, 0.5), ([f"class {i}" for i in range(30)], None)]
)
def test_pictures_of_all_kinds_of_models(tmp_path, names, threshold):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(len(names)), 40)
    labels = rng.integers(0, 2, (40, len(names))) if threshold else rng.integers(0, len(names), 40)
    table = write_table(tmp_path / "r.jsonl", names, p, threshold, abstained=range(0 if threshold else 9))
    assert len(write(evaluate(table, read_labels(array(tmp_path, labels)), samples=5), table)) == 4


def test_nothing_is_left_half_written(two, tmp_path):
    """Of these four files, the name of one is longer than a file's name may be."""
    folder = tmp_path / "out"
    folder.mkdir()
    longest = os.pathconf(folder, "PC_NAME_MAX")
    table, labels, _ = two
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=5)
    with pytest.raises(LiquidLensError, match=r"cannot be written .File name too long"):
        write(found, folder / f"{'r' * (longest - len('.coverage-risk.png.partial') + 1)}.csv")
    assert list(folder.iterdir()) == []


def test_summary_is_what_a_person_reads(two, tmp_path):
    table, labels, _ = two
    found = evaluate(table, read_labels(array(tmp_path, labels)), samples=100)
    lines = dict(summary(found))
    auc = found.figures["auc"]
    assert lines["AUC"] == f"{auc.value:.3f} ({auc.low:.2f} to {auc.high:.2f})"
    assert lines["scans"] == "118 (and 2 with an error)"
    assert (lines["threshold"], lines["not sure"]) == ("0.420", "5 of 118 (4.2%)")
    assert "note" not in lines


def test_the_curve_is_stored_with_few_points(tmp_path):
    rng = np.random.default_rng(0)
    table = write_table(tmp_path / "r.jsonl", TWO, binary(*rng.random(3000)), 0.5)
    found = evaluate(table, read_labels(array(tmp_path, rng.integers(0, 2, 3000))), samples=2)
    assert len(found.coverage) == len(found.risk) == 1000
    assert found.coverage[-1] == 1


def test_labels_of_medmnist(medmnist_root):
    labels = read_labels(f"{medmnist_root}/vesselmnist3d.npz#test_labels")
    assert labels.numbers(TWO).shape == (382,)
    assert labels.numbers(TWO).sum() == 43
