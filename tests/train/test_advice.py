"""What is trained on one's own scans if nobody says, and how the command line says why."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from liquidlens.commands import app
from liquidlens.errors import LiquidLensError
from liquidlens.imaging.phantoms import nodules
from liquidlens.models import entry
from liquidlens.train import datasets
from liquidlens.train.advice import FITTING, advise, unknown_model


def folder_of(tmp_path, shape, counts=(5, 5), high=255):
    for label, count in zip("ab", counts, strict=True):
        (tmp_path / label).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, high + 1, shape)
            if high == 1 or (len(shape) == 3 and shape[2] != 3):
                np.save(tmp_path / label / f"patient{i}{label == 'b'}.npy", pixels * (255 if high == 1 else 1))
            else:
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / label / f"patient_{i}{int(label == 'b')}.png")
    return datasets.load(str(tmp_path))


@pytest.mark.parametrize(
    ("shape", "high", "model", "size"),
    [
        ((6, 7, 8), 1, "LiquidLens-S", None),
        ((6, 7, 8), 255, "LiqExp4N2", None),
        ((120, 130), 255, "CRNet-NCP-z", (112, 112)),
        ((60, 130), 255, "CRNet-NCP-z", (64, 64)),
        ((60, 130, 3), 255, "CRNet-NCP-z", (64, 64)),
    ],
)
def test_a_model_that_reads_such_scans(tmp_path, shape, high, model, size):
    advice = advise(folder_of(tmp_path, shape, high=high))
    assert (advice.model, advice.size, advice.changes) == (model, size, {})
    assert advice.why[0].startswith(f"{model}, recipe {advice.recipe}: ")


def test_rare_classes_weigh_more(tmp_path):
    advice = advise(folder_of(tmp_path, (6, 7), (40, 5)))
    assert advice.changes == {"class_weights": "balanced"}
    assert "8 times rarer" in advice.why[1]
    other = advise(folder_of(tmp_path / "again", (6, 7), (40, 5)), "truong-2022")
    assert (other.recipe, other.changes) == ("truong-2022", {}), "whose loss takes no weights"
    assert "recipe truong-2022" in other.why[0]


def test_names_of_nobody_are_answered_by_kind(tmp_path):
    volumes = folder_of(tmp_path, (6, 7, 8))
    with pytest.raises(LiquidLensError, match=r"named 'resnet18'\. For volumes there are LiqExp4N2, CNNExp4N1"):
        raise unknown_model("resnet18", volumes)
    for kind, names in FITTING.items():
        assert {len(entry(name).input_shape) for name in names} == {3 if kind == "images" else 4}


def test_the_command_line_from_phantom_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def liquidlens(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "liquidlens data set/nodules.csv" in liquidlens("phantom", "lung-nodules", "set", "--scans", 24)
    report = liquidlens("data", "set/nodules.csv", "--window", "-1000,400")
    assert "Next: liquidlens train set/nodules.csv" in report
    assert "<h2>Shortcuts</h2>" in (tmp_path / "nodules.html").read_text()
    trained = liquidlens("train", "set/nodules.csv", "--epochs", 1, "--window", "-1000,400")
    assert "LiqExp4N2, recipe quick: volumes" in trained
    assert "Values: hu with the window -1000,400, resized to 28 x 28 x 28. Classes: benign, malignant." in trained
    assert "AUC, F1 and Dice are those of malignant, the last in the alphabet; --positive names another." in trained
    assert "What should not tell the label" in trained
    (run,) = (tmp_path / "runs").iterdir()
    assert "sensitivity (malignant)" in liquidlens("evaluate", run, "--out", "answers.csv")
    assert (tmp_path / "answers.csv").read_text().startswith("path,patient,label,p(benign),p(malignant)\n")
    for wrong in (["train", "vessel"], ["train", "resnet18", "set/nodules.csv"], ["phantom", "heart", "out"]):
        with pytest.raises(LiquidLensError):
            CliRunner().invoke(app, wrong, catch_exceptions=False)


def test_options_that_make_no_sense(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nodules.write_lung_nodules(tmp_path / "set", 3)
    for options, sentence in (
        (["--window", "400,-1000"], "a window goes up"),
        (["--window", "400"], "--window is two numbers"),
        (["--values", "hounsfield"], "--values: "),
        (["--values", "mask", "--window", "0,1"], "a window is of Hounsfield units"),
        (["--column", "label"], "names no column: write MEANING=NAME"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            CliRunner().invoke(app, ["data", "set/nodules.csv", *options], catch_exceptions=False)
