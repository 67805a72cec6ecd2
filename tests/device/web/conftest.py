"""Fixtures of the page: a site of all pretrained models, a host that notes every request, and a real browser."""

import base64
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page

from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.web import site


@dataclass
class Host:
    """A static host of one folder, without any header of its own.  asked: the paths of all requests so far."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    server: http.server.ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_port}/"

    def start(self) -> None:
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(self.folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    site.write([], folder)
    return folder


@pytest.fixture
def hosted() -> Iterator[Callable[[Path], Host]]:
    """Hosts folders, each at an address of its own, where no earlier test has left a service worker."""
    hosts: list[Host] = []

    def host(folder: Path) -> Host:
        hosts.append(Host(folder))
        hosts[-1].start()
        return hosts[-1]

    yield host
    for each in hosts:
        each.stop()


@pytest.fixture
def host(hosted, site_folder) -> Host:
    return hosted(site_folder)


@pytest.fixture
def context(browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def page(context, host) -> Iterator[Page]:
    """The open page, everything loaded.  Afterwards: no error on the console, and no request to another host."""
    errors: list[str] = []
    strangers: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    allowed = (host.address, "data:", "blob:")
    context.on("request", lambda asked: None if asked.url.startswith(allowed) else strangers.append(asked.url))
    page.goto(host.address)
    loaded(page)
    yield page
    assert errors == []
    assert strangers == []


def loaded(page: Page) -> None:
    """Wait until nothing is left to be loaded."""
    page.wait_for_selector("html[data-ready=all]", timeout=60_000)


#: Within which the largest file of the tests has to be read (ms), so that a worker that hangs fails its test alone.
LIMIT = 60_000
#: Reads files in the page's own worker, and gives the scan with its pixels in base64, or the refusal.
READ = """async ({ files, selection, colour, limit }) => {
  window.reader ??= new Worker("assets/reader.js", { type: "module" });
  const members = files.map(([name, content]) => {
    return { name, file: new Blob([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))]) };
  });
  const answer = await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${limit} ms`)), limit);
    reader.onmessage = ({ data }) => resolve(data);
    reader.postMessage({ id: 1, task: "read", members, selection, colour });
  }).catch((error) => {
    reader.terminate();
    delete window.reader;
    throw error;
  });
  if (answer.refusal) return answer.refusal;
  const { pixels, ...rest } = answer.scan;
  const bytes = new Uint8Array(pixels.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return { ...rest, pixels: btoa(text) };
}"""


def read_in_browser(page: Page, files: dict[str, bytes], selection: str = "", colour: bool = False) -> dict | str:
    """The scan that the page's worker reads, `pixels` as an array, or the sentence that refuses it."""
    packed = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
    found = page.evaluate(READ, {"files": packed, "selection": selection, "colour": colour, "limit": LIMIT})
    if isinstance(found, str):
        return found
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.float32)
    return {**found, "pixels": pixels.reshape(found["shape"])}


@pytest.fixture(scope="session")
def vessel(tmp_path_factory) -> Path:
    """A generated vessel as NIfTI."""
    pixels = vessel3d(seed=2, splits={"test": 1})["test_images"][0]
    path = tmp_path_factory.mktemp("vessel") / "vessel.nii.gz"
    nibabel.save(nibabel.Nifti1Image(pixels.transpose(2, 1, 0), np.diag([-0.5, -0.5, 0.7, 1.0])), path)
    return path


@pytest.fixture(scope="module")
def reader(browser, site_folder):
    """A page whose worker reads files, without a person."""
    host = Host(site_folder)
    host.start()
    page = browser.new_page()
    page.goto(host.address)
    loaded(page)
    yield page
    page.close()
    host.stop()
