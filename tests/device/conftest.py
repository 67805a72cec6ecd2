"""Fixtures of the device environment: a model, and real servers on ports of their own."""

import http.client
import importlib.util
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from liquidlens.imaging.phantoms import chest_xray, nodules

if TYPE_CHECKING:
    from gradio_client import Client
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
#: Software rendering, because the viewers need WebGL and a test machine has no graphics card.
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

ROOT = Path(__file__).parents[2]
#: Slice, row and column of the nodule in the chest.
NODULE = (44, 92, 62)

if importlib.util.find_spec("gradio") is None:  # the workshop, whose tests lie above
    collect_ignore_glob = ["*"]


def ask(address: str, path: str, method: str = "GET", body=None, **headers) -> tuple[http.client.HTTPResponse, bytes]:
    """An answer's head and body.  Names of headers with _ for -."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def visitor(address: str) -> "Client":
    """Who calls the page's named functions, and waits as long as a busy machine needs."""
    from gradio_client import Client

    return Client(address, verbose=False, httpx_kwargs={"timeout": 60})


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium, for one module: Playwright keeps a loop in this thread, beside which no other can run."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    if not CHROMIUM.exists():
        pytest.skip(f"needs a browser: {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data; tests that need it are skipped, and say so, where there is none."""
    root = os.environ.get("LIQUIDLENS_DATA")
    if not root:
        pytest.skip("needs real data: set LIQUIDLENS_DATA")
    return Path(root)


@pytest.fixture(scope="session")
def model() -> Path:
    """An exported model of volumes: the one in $LIQUIDLENS_TEST_MODEL, or a pretrained one."""
    from liquidlens.serve.predict import pretrained
    from liquidlens.serve.predict.predictor import Predictor

    given = os.environ.get("LIQUIDLENS_TEST_MODEL")
    candidates = [Path(given)] if given else [pretrained.find(name) for name in pretrained.names()]
    volumes = [path for path in candidates if len(Predictor(path).manifest.input.size) == 3]
    assert volumes, "there is no pretrained model of volumes"
    return volumes[0]


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Callable[..., str]]:
    """Starts servers, with other `serve.settings.Settings` than the usual ones, and gives their addresses.

    Their applications are in `start.applications`.
    """
    from liquidlens.serve.server import app
    from liquidlens.serve.settings import Settings

    running, applications = [], []

    def start(*models: Path, **changes) -> str:
        settings = Settings(port=0, **changes)
        listener = app.listen(settings)
        application = app.create([str(path) for path in models or (model,)], settings)
        applications.append(application)
        server = app.Server(application)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread))
        while thread.is_alive() and not server.started:
            time.sleep(0.02)
        assert server.started
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    start.applications = applications
    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def nodule_model(tmp_path_factory) -> Path:
    """A model that looks at 34 mm around a point of a volume, trained for an epoch: in the workshop, for there is no
    torch here."""
    command = ROOT / ".venv" / "bin" / "liquidlens"
    if not command.is_file():
        pytest.skip(f"needs the workshop's environment: {command}")
    folder = tmp_path_factory.mktemp("nodules")
    learn = ("--recipe", "quick", "--epochs", "1", "--values", "hu", "--window=-1000,400", "--spacing", "1.2")
    for line in (
        ("phantom", "lung-nodules", "set", "--scans", "24"),
        ("train", "LiqExp1N2", "set/nodules.csv", *learn),
        ("export", "runs", "--out", "bundle", "--variants", ""),
    ):
        arguments = [str(next(folder.glob("runs/*/"))) if part == "runs" else part for part in line]
        done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bundle" / "model.onnx"


@pytest.fixture(scope="session")
def chest(tmp_path_factory) -> Path:
    """A generated chest as NIfTI: a body with two lungs and a spine, in whose right lung, and not in the middle, there
    is a nodule, at `NODULE`; others lie elsewhere."""
    size = np.array((64, 170, 220))
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij", sparse=True)

    def ellipse(row: float, column: float, rows: float, columns: float) -> np.ndarray:
        return ((y - row) / rows) ** 2 + ((x - column) / columns) ** 2 < 1 - 0.3 * z**2

    pixels = np.full(size, -1000.0)
    pixels[ellipse(0, 0, 0.94, 0.96)] = nodules.MUSCLE
    for side in (-0.46, 0.46):
        pixels[ellipse(-0.05, side, 0.68, 0.37)] = nodules.AIR
    pixels[ellipse(0.62, 0, 0.17, 0.12)] = nodules.CALCIUM
    pixels += np.random.default_rng(0).normal(0, 25, size)
    others = {1: (30, 52, 160), 2: (16, 60, 65), 7: (20, 95, 160), 8: (44, 90, 158)}  # none with a wall
    for number, middle in ({9: NODULE} | others).items():
        nodule = nodules.lung_nodule(number)
        first = np.array(middle) - np.array(nodule.pixels.shape) // 2
        inside = tuple(slice(at, at + n) for at, n in zip(first, nodule.pixels.shape, strict=True))
        pixels[inside] = np.where(nodule.pixels > nodules.AIR + 150, nodule.pixels, pixels[inside])
    path = tmp_path_factory.mktemp("chest") / "chest.nii.gz"
    nodules.write_nifti(path, pixels.round().astype(np.int16), nodules.lung_nodule(9).spacing)
    return path


@pytest.fixture(scope="session")
def xray(tmp_path_factory) -> Path:
    """A generated chest as a DICOM X-ray: 12 bits, with a window, and with a patient's name."""
    pixels = chest_xray(seed=5, splits={"test": 1})["test_images"][0].astype(np.uint16) * 16
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path_factory.mktemp("xray") / "chest.dcm"
    file = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.Modality = "Doe^Jane", "DX"
    file.PixelSpacing = [1.5, 1.5]
    file.WindowCenter, file.WindowWidth = 1800, 3000
    file.PixelIntensityRelationshipSign = 1
    file.set_pixel_data(pixels, "MONOCHROME2", 12)
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path
