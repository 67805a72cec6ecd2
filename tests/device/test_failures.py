"""Failure under way, of a server: its model file is replaced, its folder for uploads fills up, the clock jumps, readers
are killed.  It goes on answering, and a new one starts clean."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.demo import tidy
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server import app
from tests.device.conftest import ask, visitor


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    return vessel3d(seed=5, splits={"test": 1})["test_images"].astype(np.float32)


@pytest.fixture(scope="module")
def scan_file(scans, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, scans[0])
    return path


def answer(address: str, scans: np.ndarray) -> list[float]:
    tensor = {"name": "scan", "shape": list(scans.shape), "datatype": "FP32", "data": scans.ravel().tolist()}
    wanted = {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    response, content = ask(address, "/v2/models/model/infer", "POST", json.dumps(wanted).encode())
    assert response.status == 200, content
    return json.loads(content)["outputs"][0]["data"]


def judged(client: Client, file: Path) -> list[float]:
    """The probabilities of an uploaded scan."""
    result = client.predict([handle_file(file)], api_name="/predict_volume")
    return list(result["prediction"]["probabilities"].values())


def copied(name: str, folder: Path) -> Path:
    shutil.copytree(pretrained.find(name).parent, folder / "model")
    return folder / "model" / "model.onnx"


def test_a_model_file_that_is_replaced_while_it_is_served(server, scans, tmp_path):
    """The server keeps the model that it has shown; a new one refuses a file that is not what its folder says."""
    model = copied("vessel", tmp_path)
    address = server(model)
    before = answer(address, scans)
    assert before == pytest.approx(Predictor(model).run(scans)["probabilities"].ravel(), abs=1e-6)
    other = pretrained.find("adrenal").read_bytes()
    with model.open("r+b") as file:  # in place: what a process has mapped changes under its feet
        file.truncate(1000)
        assert answer(address, scans) == before
        file.seek(0)
        file.write(other)
    assert answer(address, scans) == before
    model.unlink()
    assert answer(address, scans) == before
    assert ask(address, "/v2/health/ready")[0].status == 200
    model.write_bytes(other)
    with pytest.raises(LiquidLensError, match="SHA256SUMS"):
        app.load([str(model)], app.Settings())


def test_a_clock_that_jumps_costs_nobody_an_answer(server, scan_file, scans, monkeypatch, tmp_path):
    """A day forwards: pages and uploads count as old, and go.  Days backwards: nothing does.  Answers stay."""
    address = server(copied("vessel", tmp_path))
    client = visitor(address)
    before = judged(client, scan_file)
    page = server.applications[-1].state.page
    for jump in (timedelta(days=1), timedelta(days=-9)):
        monkeypatch.setattr(tidy, "time", Clock(jump))
        monkeypatch.setattr(tidy, "datetime", Clock(jump))
        tidy.tidy_sessions(page)
        tidy.tidy_files(app.private_folder(), tidy.kept_files(page), app.UPLOAD_SECONDS)
        assert judged(client, scan_file) == before
        assert answer(address, scans) == pytest.approx(before, abs=1e-6)


class Clock:
    """What `tidy` reads of `time` and `datetime`, by a clock that was set to another time."""

    def __init__(self, jump: timedelta):
        self.jump = jump

    def time(self) -> float:
        return time.time() + self.jump.total_seconds()

    def now(self) -> datetime:
        return datetime.now() + self.jump


def test_readers_that_are_killed_cost_their_own_scan(server, scan_file, tmp_path):
    """As by the kernel when memory runs out."""
    address = server(copied("vessel", tmp_path))
    client = visitor(address)
    right = judged(client, scan_file)
    stop = threading.Event()
    killer = threading.Thread(target=_kill_readers, args=(stop,))
    killer.start()
    said = []
    try:
        for _ in range(3):
            try:
                judged(client, scan_file)
            except AppError as error:
                said.append(str(error))
    finally:
        stop.set()
        killer.join()
    assert len(said) == 3, "no reader outlives the killer"
    assert all(sentence.startswith("scan.npy: ") and sentence.endswith(".") for sentence in said), said
    assert judged(client, scan_file) == right


def _kill_readers(stop: threading.Event) -> None:
    while not stop.is_set():
        for child in _children():
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.005)


def _children() -> list[int]:
    found: list[str] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # that thread has ended
            found += task.read_text().split()
    return [int(number) for number in found]


def test_a_full_disk_costs_uploads_and_nothing_else(scans, tmp_path):
    """The folder for uploads lies on a disk of two megabytes of memory."""
    model, disk = copied("vessel", tmp_path), tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=2m none "$0" || exit 77; TMPDIR=$0 exec "$@"'
    command = [sys.executable, "-m", "liquidlens", "serve", str(model), "--port", "0"]
    with subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script, str(disk), *command],  # noqa: S607
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            said = next((line for line in process.stdout if "http://" in line), "")
            if not said and process.wait() == 77:
                pytest.skip("needs to mount a disk of its own")
            address = re.search(r"http://[\w.]+:\d+", said)[0]
            small, large = tmp_path / "small.npy", tmp_path / "large.npy"
            np.save(small, scans[0])
            np.save(large, np.zeros((100, 100, 100), np.float32))  # 4 MB
            client = visitor(address)
            right = judged(client, small)
            with pytest.raises(httpx.HTTPStatusError, match="400 Bad Request"):
                judged(client, large)
            assert answer(address, scans) == pytest.approx(right, abs=1e-6)
            assert judged(client, small) == right
        finally:
            process.terminate()
