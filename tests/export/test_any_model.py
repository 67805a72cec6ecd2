"""The examples of docs/any-model.md, run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.export.test_module import NODE, node  # noqa: F401 (a fixture)

DOCUMENT = Path(__file__).parents[2] / "docs" / "any-model.md"


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with the examples, each under the name in its first line."""
    folder = tmp_path_factory.mktemp("any-model")
    blocks = re.findall(r"```(?:python|js)\n(?:#|//) (\S+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == [
        "controller.py", "export_controller.py", "sensor.py", "stream.py", "stream.mjs", "faster.py",
    ]  # fmt: skip
    for name, text in blocks:
        (folder / name).write_text(text)
    return folder


def run(here: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_controller(here):
    assert "{'hx': 'hx_out'}" in run(here, sys.executable, "export_controller.py")
    python = (here / "controller.onnx").read_bytes()
    assert re.search(r"liquidlens onnx controller.py:build controller.onnx", DOCUMENT.read_text())
    shown = run(here, sys.executable, "-m", "liquidlens", "onnx", "controller.py:build", "controller.onnx")
    assert "State: hx -> hx_out" in shown
    assert (here / "controller.onnx").read_bytes() == python
    assert "Sound" in run(here, sys.executable, "-m", "liquidlens", "audit", "controller.onnx")


def test_the_sensor_gives_each_sample_its_own_time_spans(here):
    run(here, sys.executable, "sensor.py")
    session = onnxruntime.InferenceSession(here / "sensor.onnx")
    x, spans = torch.randn(4, 12, 6).numpy(), (0.1 + torch.rand(4, 12)).numpy()
    state = np.zeros((4, 16), np.float32)
    together = session.run(["output"], {"x": x, "timespans": spans, "h_in": state})[0]
    for i in range(4):
        one = slice(i, i + 1)
        alone = session.run(["output"], {"x": x[one], "timespans": spans[one], "h_in": state[one]})[0]
        assert np.abs(alone - together[one]).max() <= 1e-6


def test_the_stream_says_the_same_in_python_and_in_javascript(here, node):  # noqa: F811
    python = run(here, sys.executable, "stream.py").split()
    assert len(set(python)) == 5
    (here / "node_modules").symlink_to(NODE / "node_modules")
    javascript = run(here, node, "stream.mjs").split()
    assert np.abs(np.array(python, float) - np.array(javascript, float)).max() <= 2e-5


def test_the_faster_layer_is_a_drop_in(here):
    assert run(here, sys.executable, "faster.py") == "True\n"
