"""The examples that need no server: the notebook, and a program in JavaScript that knows nothing of this package."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from liquidlens import Predictor
from liquidlens.imaging import phantoms
from tests.installing import ROOT

EXAMPLES = ROOT / "examples"


def test_the_notebook_runs(monkeypatch, tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    names: dict = {}
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 3
    for cell in cells:
        exec(compile(cell, "tour.ipynb", "exec"), names)  # noqa: S102 (our own example)
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "outputs are not kept"


def test_a_program_in_javascript_gives_the_same_answer(tmp_path):
    node, npm, folder = shutil.which("node"), shutil.which("npm"), EXAMPLES / "javascript"
    if not node or not npm:
        pytest.skip("needs Node.js: node and npm")
    if not (folder / "node_modules").is_dir():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
    predictor, drawn = Predictor("vessel"), phantoms.vessel3d(splits={"test": 2})["test_images"]
    for pixels in (drawn[0], drawn[1].astype(np.float32)):
        np.save(tmp_path / "scan.npy", pixels)
        command = [node, folder / "predict.mjs", predictor.path.parent, tmp_path / "scan.npy"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answer, expected = json.loads(done.stdout), predictor.predict(pixels)
        assert (answer["model"], answer["label"]) == (predictor.manifest.model, expected.label)
        assert (answer["abstained"], answer["ood"]) == (expected.abstained, expected.ood)
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
