"""The doctor: what it finds here is so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from liquidlens.serve import doctor
from liquidlens.serve.predict import pretrained

ENVIRONMENTS = {"workshop": Path(sys.executable), "device": Path(__file__).parents[2] / ".venv-serve/bin/python"}


def test_the_tiny_file_is_a_sound_graph():
    proto = onnx.load_from_string(doctor.SIGMOID)
    onnx.checker.check_model(proto, full_check=True)
    assert [node.op_type for node in proto.graph.node] == ["Sigmoid"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_it_runs_in_both_environments(environment):
    if not ENVIRONMENTS[environment].is_file():
        pytest.skip("needs the device environment: make environments")
    command = [ENVIRONMENTS[environment], "-m", "liquidlens", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["predicts"] is True
    found = {finding["about"]: finding for finding in answer["findings"]}
    assert found["device cpu"]["problem"] is None
    assert ("not installed" in found["torch"]["found"]) == (environment == "device")
    assert set(found) >= {"Python", "ONNX Runtime", "device cuda", "device tensorrt", "decoder gdcm", "LIQUIDLENS_DATA"}


def test_without_the_cpu_it_cannot_predict():
    assert not doctor.predicts([doctor.Finding("device cpu", "does not work", "a reason.")])
    assert not doctor.predicts([doctor.Finding("ONNX Runtime", "cannot be imported", "a reason.")])


def test_a_data_folder_that_is_not_there(tmp_path):
    code = "from liquidlens.serve.doctor import examine; print(*(f for f in examine() if f.about == 'LIQUIDLENS_DATA'))"
    environment = {**os.environ, "LIQUIDLENS_DATA": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "there is no such folder" in done.stdout


def test_a_damaged_model_is_found(liquid_bundle, tmp_path, monkeypatch):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for file in ("model.onnx", "SHA256SUMS"):
            (tmp_path / name / file).write_bytes((liquid_bundle.path / file).read_bytes())
    with (tmp_path / "bad" / "model.onnx").open("ab") as file:
        file.write(b"more")
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    found = {finding.about: finding for finding in doctor.examine()}
    assert found["model good"].found == "sound: LiqExp1N2"
    assert found["model good"].problem is None
    assert "its SHA-256 differs" in found["model bad"].problem
