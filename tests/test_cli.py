"""The command line as a person meets it: what it prints, its exit codes, and no traceback."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from PIL import Image

from liquidlens import commands as cli
from liquidlens.imaging import phantoms
from liquidlens.manifest import KEY
from liquidlens.serve.batch import tables
from tests.conftest import FEW, changed_metadata


def liquidlens(*arguments, code=0, cwd=None) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "liquidlens", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def here(monkeypatch, capsys) -> Callable[..., subprocess.CompletedProcess]:
    """Run the command line in this process: the same, without seconds of imports."""

    def run(*arguments, code=0) -> subprocess.CompletedProcess:
        command = ["liquidlens", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert (end.value.code or 0) == code, printed.err
        return subprocess.CompletedProcess(command, code, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("scans") / "vessel.npy"
    np.save(path, phantoms.vessel3d(splits={"test": 1})["test_images"][0])
    return path


def test_help_names_every_command_and_models_every_model(here):
    text = liquidlens("--help").stdout
    for command in cli.app.registered_commands:
        assert re.search(rf"^\W*{command.name or command.callback.__name__} +", text, re.MULTILINE), command
    text = here("models").stdout
    assert re.search(r"^LiqExp4N2 +hse-2024 +1x28x28x28 +1 +18,475 +18,475$", text, re.MULTILINE)
    assert re.search(r"^RecNet-RNN +cmu +3x32x32 +10 +335,690 +-$", text, re.MULTILINE)
    assert re.search(r"^LSTMExp5N2 .* source_layout$", text, re.MULTILINE)
    assert here("models", "truong").stdout.splitlines()[-1].startswith("17 models")
    assert "No model and no paper has 'resnet50'" in here("models", "resnet50", code=2).stderr


def test_recipes_are_listed_by_train_too(here):
    text = here("recipes").stdout
    assert all(name in text for name in ("hse-2024", "truong-2022-setting-2", "kth-2021-best", "quick"))
    assert here("train", "--recipe").stdout == text
    assert "learning_rate = 0.0005" in here("recipes", "hse-2024").stdout


def test_datasets_are_listed_and_shown(here, tmp_path):
    text = here("data").stdout
    assert re.search(r"^vesselmnist3d_64 +64 x 64 x 64 +2 +CC BY 4.0 ", text, re.MULTILINE)
    assert re.search(r"^phantom-cxr .* made on the fly$", text, re.MULTILINE)
    done = here("data", "phantom-pose", "--out", tmp_path / "sheet.png")
    assert "400 train, 100 val, 100 test" in done.stdout
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_train_export_predict(tmp_path, scan):
    few = [part for field, scans in FEW.items() for part in ("--set", f"{field}={scans}")]
    settings = ["--recipe", "quick", "--epochs", 1, "--set", "batch_size=64", *few]
    out = liquidlens("train", "CNNExp4N1", "phantom-vessel3d", *settings, "--runs", tmp_path).stdout
    assert "the best weights are those after epoch 1" in out
    (run,) = tmp_path.glob("phantom-vessel3d-CNNExp4N1-quick+batch_size=64+max_epochs=1+*-seed0")
    assert json.loads((run / "recipe.json").read_text())["training"]["batch_size"] == 64
    out = liquidlens("export", run, "--out", tmp_path / "bundle").stdout
    assert re.search(r"^fp32 +model", out, re.MULTILINE)
    assert re.search(r"^int8-dynamic +", out, re.MULTILINE)
    assert re.search(r"^Parity of model.onnx, .* logits differ by at most \d", out, re.MULTILINE)
    assert "0 labels change" in out
    assert "is recommended" in out
    audit = liquidlens("audit", tmp_path / "bundle" / "model.onnx", "--html", tmp_path / "audit.html").stdout
    assert audit.startswith("Sound: nothing was changed, and every number is accounted for.")
    assert re.search(r"^trainable +15,655$", audit, re.MULTILINE)
    assert "network.trunk.0.weight" not in audit
    assert "network.trunk.0.weight" in liquidlens("audit", tmp_path / "bundle" / "model.onnx", "--tensors").stdout
    assert (tmp_path / "audit.html").read_text().startswith("<!doctype html>")
    timed = liquidlens("bench", tmp_path / "bundle", "--batch", "1,2", "--repeats", 3).stdout
    rows = re.findall(r"^\S+\.onnx .*scans/s$|^ .*scans/s$", timed, re.MULTILINE)
    assert len(rows) == 2 * len(list((tmp_path / "bundle").glob("*.onnx")))
    table = liquidlens("predict", tmp_path / "bundle" / "model.onnx", scan).stdout
    assert "p(aneurysm)" in table
    assert " ms" in table


def test_json_output_is_json(liquid_bundle, scan):
    answer = json.loads(liquidlens("predict", liquid_bundle.model, scan, scan, "--json").stdout)
    assert answer["model"] == "LiqExp1N2"
    first, second = answer["predictions"]
    assert first["scan"] == str(scan)
    assert first["probabilities"] == second["probabilities"]
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    expected = {"scan", "label", "probabilities", "threshold", "abstained", "ood", "ood_score", "ood_threshold"}
    assert set(first) == expected | {"slice_probabilities", "milliseconds", "device", "notes"}
    assert set(first["milliseconds"]) == {"read", "prepare", "run", "total"}


def bad_inputs(tmp_path, bundle, run, scan):
    """Every kind of bad input, with a part of the one sentence that answers it."""
    model = bundle.model
    cut, image, nan = tmp_path / "cut.npz", tmp_path / "image.npy", tmp_path / "nan.npy"
    np.savez_compressed(tmp_path / "whole.npz", np.load(scan))
    cut.write_bytes((tmp_path / "whole.npz").read_bytes()[:500])
    np.save(image, np.zeros((28, 28)))
    np.save(nan, np.full((28, 28, 28), np.nan))
    one_class, corrupt = tmp_path / "one_class", tmp_path / "corrupt"
    for folder, labels in ((one_class, "a"), (corrupt, "ab")):
        for label in labels:
            (folder / label).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(np.full((64, 64), 40 * i, np.uint8)).save(folder / label / f"{i}.png")
    (corrupt / "a" / "broken.png").write_bytes(b"not a picture")
    incomplete = shutil.copytree(run.path, tmp_path / "incomplete")
    (incomplete / "weights.safetensors").unlink()
    (tmp_path / "broken.onnx").write_bytes(b"not onnx")
    onnx.save(changed_metadata(bundle, lambda manifest: {"author": "somebody"}), tmp_path / "foreign.onnx")
    reads_images = changed_metadata(
        bundle, lambda m: {KEY: json.dumps({**m, "input": {**m["input"], "size": [28, 28]}})}
    )
    onnx.save(reads_images, tmp_path / "images.onnx")
    (tmp_path / "file").write_bytes(b"")
    return [
        (("train", "LiqExp4N22", "vesselmnist3d"), "Did you mean LiqExp4N2"),
        (("train", "LiqExp4N2", "vesselmnist"), "Did you mean vesselmnist3d"),
        (("train", "LiqExp4N2", "phantom-vessel3d", "--recipe", "fast"), "There is no recipe named 'fast'"),
        (("train", "LiqExp4N2", "phantom-vessel3d", "--set", "rate=1"), "There is no field of a recipe named 'rate'"),
        (("train", "LiqExp4N2", "phantom-vessel3d", "--flag", "bare"), "LiqExp4N2 has no flag 'bare'"),
        (("train", "CRNet-FC", "phantom-cxr", "--size", "big"), "--size is a number of pixels"),
        (("train", "CRNet-FC", "phantom-vessel3d"), "CRNet-FC reads images, and phantom-vessel3d holds volumes"),
        (("train", "CRNet-FC", one_class), "one_class"),
        (("train", "CRNet-FC", corrupt), "broken.png"),
        (("train", "CRNet-FC", tmp_path / "no" / "folder"), "There is no image folder"),
        (("search", "CNNExp4N1", "phantom-vessel3d", "--over", "shift"), "name different values, at least two"),
        (("sweep", "phantom-cxr", "EQ2425", "--rates", "fast"), "--rates takes numbers separated by commas"),
        (("export", tmp_path / "nowhere"), "There is no run folder"),
        (("export", incomplete), "it has no weights.safetensors"),
        (("export", run.path, "--opset", 11), "Operator set 11 is too old"),
        (("export", run.path, "--calibration-scans", 0), "calibration set of int8-static is empty"),
        (("export", run.path, "--threshold", "high"), "A threshold is youden, a number from 0 to 1"),
        (("export", run.path, "--variants", "int4"), "--variants takes some of fp32, fp16, int8-dynamic, int8-static"),
        (("export", run.path, "--out", tmp_path / "file"), "exists and is no bundle"),
        (("audit", tmp_path / "none.onnx"), "there is no such file"),
        (("audit", tmp_path / "broken.onnx"), "not a readable ONNX file"),
        (("bench", tmp_path / "foreign.onnx"), "the file carries no LiquidLens manifest"),
        (("bench", tmp_path), "there is no model*.onnx in this folder"),
        (("bench", model, "--batch", "0"), "Batch sizes, threads and repeats are whole numbers from 1"),
        (("predict", tmp_path / "none.onnx", scan), "there is no such file"),
        (("predict", tmp_path / "broken.onnx", scan), "not a readable ONNX file"),
        (("predict", tmp_path / "foreign.onnx", scan), "the file carries no LiquidLens manifest"),
        (("predict", tmp_path / "images.onnx", scan), "ONNX Runtime cannot run"),
        (("train", "CNNExp4N1", "phantom-vessel3d", "--runs", tmp_path / "file"), "file/"),
        (("predict", model, tmp_path / "none.npy"), "there is no such file"),
        (("predict", model, one_class), "For a folder of many scans there is `liquidlens batch`"),
        (("predict", model, cut), "cut.npz: not a readable NPZ file"),
        (("predict", model, image), "image.npy: LiqExp1N2 reads a volume, and this is a 2D image"),
        (("predict", model, nan), "21952 of 21952 pixels are not finite"),
        (("predict", model, scan, "--trust", "--out", tmp_path / "t.csv"), "--trust is for scans on the screen"),
        (("predict", model, scan, "--out", tmp_path / "t.txt"), "a table's name ends in .csv, .jsonl or .parquet"),
        (("batch", model, scan, "--out", tmp_path / "t.csv", "--resume", "--overwrite"), "give one of them"),
        (("batch", model, scan, "--out", tmp_path / "t.csv", "--actors", 2), "--actors is for --engine ray"),
        (("batch", model, scan, "--out", tmp_path / "t.csv", "--ray-address", "a"), "--ray-address is for --engine"),
        (("batch", model, scan, "--out", tmp_path / "t.csv", "--shard", "9/8"), "from 1/8 to 8/8, not '9/8'"),
    ]


def test_bad_input_is_one_sentence_and_exit_code_2(here, tmp_path, liquid_bundle, liquid_run, scan):
    for arguments, sentence in bad_inputs(tmp_path, liquid_bundle, liquid_run, scan):
        done = here(*arguments, code=2)
        assert done.stderr.startswith("Error: "), arguments
        assert sentence in done.stderr, arguments
        assert "Traceback" not in done.stderr, arguments
        assert done.stderr.count("\n") == 1, f"one line: {done.stderr}"


def test_predict_writes_the_table_of_batch(here, tmp_path, liquid_bundle, scan):
    """All options that both have are passed on."""
    options = ("--device", "cpu", "--threads", 1, "--limit", "seconds=99", "--json")
    for command, name in (("predict", "one.csv"), ("batch", "two.csv")):
        done = here(command, liquid_bundle.model, scan, scan, *options, "--out", tmp_path / name)
        assert json.loads(done.stdout)["scans"] == 2
    one, two = (list(tables.rows(tmp_path / name)) for name in ("one.csv", "two.csv"))
    assert [row | {"milliseconds": 0} for row in one] == [row | {"milliseconds": 0} for row in two]
    assert one[0]["task"] == "classes"
    done = here("predict", liquid_bundle.model, scan, "--out", tmp_path / "three.csv", "--limit", "file_bytes=9")
    assert "1 could not be predicted" in done.stdout


def test_a_file_that_was_tampered_with_fails_its_audit(here, liquid_bundle, tmp_path):
    content = liquid_bundle.model.read_bytes()
    (tmp_path / "model.onnx").write_bytes(content)
    shutil.copy(liquid_bundle.path / "SHA256SUMS", tmp_path)
    stored = {tensor.name: tensor.raw_data for tensor in onnx.load(liquid_bundle.model).graph.initializer}
    at = content.index(stored["network.trunk.0.weight"]) + 60
    (tmp_path / "model.onnx").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    done = here("audit", tmp_path / "model.onnx", code=1)
    assert "its SHA-256 differs" in done.stderr
    assert "network.trunk.0.weight: its values are not those that were exported." in done.stderr
    assert done.stdout.startswith("NOT sound: ")
    assert "its SHA-256 differs" in here("predict", tmp_path / "model.onnx", "any.npy", code=2).stderr


def test_a_broken_scan_does_not_lose_the_others(liquid_bundle, scan, tmp_path):
    done = liquidlens("predict", liquid_bundle.model, scan, tmp_path / "none.npy", scan, "--json", code=2)
    first, second, third = json.loads(done.stdout)["predictions"]
    assert first["label"] == third["label"]
    assert second == {"scan": str(tmp_path / "none.npy"), "error": f"{tmp_path}/none.npy: there is no such file."}
    assert done.stderr.count("Error: ") == 1
    assert "p(aneurysm)" in liquidlens("predict", liquid_bundle.model, tmp_path / "none.npy", scan, code=2).stdout


def test_names_of_files_are_not_markup(liquid_bundle, scan, tmp_path):
    shutil.copy(scan, tmp_path / "[red]a[bold].npy")
    done = liquidlens("predict", liquid_bundle.model, "[red]a[bold].npy", cwd=tmp_path)
    assert "[red]a[bold].npy" in done.stdout
    done = liquidlens("predict", liquid_bundle.model, "[red]b[/].npy", cwd=tmp_path, code=2)
    assert "[red]b[/].npy: there is no such file" in done.stderr


@pytest.mark.parametrize("at", [0, 1, 4])
def test_debug_shows_the_traceback_wherever_it_stands(liquid_bundle, tmp_path, at):
    arguments = ["predict", liquid_bundle.model, tmp_path / "none.npy", "--json"]
    arguments.insert(at, "--debug")
    done = liquidlens(*arguments, code=2)
    assert "Traceback" in done.stderr
    assert "Error: " in done.stderr


def test_an_interrupted_training_says_how_to_go_on(tmp_path):
    arguments = ["train", "CNNExp4N1", "phantom-vessel3d", "--epochs", 50, "--runs", tmp_path]
    command = [sys.executable, "-m", "liquidlens", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "phantom-vessel3d-CNNExp4N1-hse-2024+max_epochs=50-seed0"
    while not (run / "unfinished.ckpt").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(
        r"^Error: Interrupted after \d+ epochs?: the same command goes on from there\.$", errors, re.MULTILINE
    )
    assert "Traceback" not in errors
    assert (run / "unfinished.ckpt").is_file()


def test_names_are_not_emoji(here, tmp_path):
    for label in "ab":
        (tmp_path / "three" / label).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.full((16, 16), 9 * i, np.uint8)).save(tmp_path / "three" / label / f"{i}.png")
    done = here("data", tmp_path / "three", "--out", tmp_path / "sheet.html")
    assert str(tmp_path / "sheet.html") in done.stdout
