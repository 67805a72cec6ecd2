"""The page against Python: how large it is, how soon it answers, and inference in the browser as a ratio.

    .venv-serve/bin/python -m benchmarks.web [--rounds 5] [--repeats 30] [MODEL...]

Needs Chromium and Playwright (the device environment).  Scans are generated, of the models' own kinds.  Python and the
browser take turns, a block of runs each.  Times are medians of all runs, ratios medians over the rounds, because the
speed of a shared machine changes from minute to minute.  Exit code 1 if the fastest first visit took more than 3 s.
"""

import argparse
import base64
import functools
import gzip
import http.server
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from liquidlens.imaging import Scan
from liquidlens.imaging.phantoms import chest_xray, vessel3d
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.web import site

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
#: First visits, each with nothing stored before, and the seconds that the fastest of them may take.
VISITS, FIRST_SECONDS = 10, 3
#: Runs a model in the page's own worker, `repeats` times after as many to warm up, and gives the milliseconds.
RUN = """async ({ model, pixels, shape, repeats }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const worker = new Worker("assets/runner.js", { type: "module" });
  const ask = (request) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.refusal ? reject(new Error(data.refusal)) : resolve(data));
    worker.postMessage({ id: 1, ...request });
  });
  const file = await (await fetch(model)).blob();
  const { loaded } = await ask({ task: "load", file, sha256: null });
  const values = new Float32Array(bytes(pixels).buffer);
  const told = { spacing: null, modality: null, units: null, window: null, oriented: false, notes: [] };
  const scan = { ...told, pixels: values, shape };
  const times = [];
  for (let i = 0; i < 2 * repeats; i++) {
    const { judged } = await ask({ task: "predict", scan, name: "scan" });
    if (i >= repeats) times.push(judged.milliseconds.run);
  }
  worker.terminate();
  return { times, threads: loaded.threads };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of pretrained models; by default all")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of runs per model")
    parser.add_argument("--repeats", type=int, default=30, help="timed runs per block")
    arguments = parser.parse_args()
    names = arguments.models or pretrained.names()
    console = Console()
    _print_sizes(console)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        out = Path(folder) / "site"
        site.write(names, out)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        first_model = "vessel" if "vessel" in names else names[0]
        first = [_first_answer(browser, out, first_model) for _ in range(VISITS)]
        console.print(
            f"First visit, {first_model}: {min(first):.1f} to {max(first):.1f} s from the page's load event to the "
            f"answer ({VISITS} visits)."
        )
        table = Table("model", "scan", "Python, 1 thread", "browser", "threads", "ratio")
        for name in names:
            predictor = Predictor(name, "cpu", threads=1)
            pixels = _pixels(predictor)
            here, there = [], []
            for _ in range(arguments.rounds):
                here.append(_python(predictor, pixels, arguments.repeats))
                times, threads = _browser(browser, out, name, pixels, arguments.repeats)
                there.append(times)
            ratio = median(median(browsers) / median(pythons) for browsers, pythons in zip(there, here, strict=True))
            size = "x".join(map(str, pixels.shape))
            table.add_row(name, size, _milliseconds(here), _milliseconds(there), str(threads), f"{ratio:.1f}x")
        browser.close()
    console.print(table)
    sys.exit(min(first) > FIRST_SECONDS)


def _milliseconds(blocks: list[list[float]]) -> str:
    return f"{median(time for block in blocks for time in block):.1f} ms"


def _print_sizes(console: Console) -> None:
    packed = {}
    for path in site.PAGE.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            packed[path.name] = min(len(content), len(gzip.compress(content, 9)))
    total, runtime = sum(packed.values()), packed["ort-wasm-simd-threaded.wasm.packed"]
    console.print(f"The page: {total / 1e6:.2f} MB compressed, {runtime / 1e6:.2f} MB of it the runtime's WebAssembly.")


def _pixels(predictor: Predictor) -> NDArray[np.float32]:
    """A generated scan of the model's kind: a vessel of 28 x 28 x 28, or a chest of 1024 x 1024."""
    if len(predictor.manifest.input.size) == 3:
        return vessel3d(seed=2, splits={"test": 1})["test_images"][0].astype(np.float32)
    chest = chest_xray(seed=5, splits={"test": 1})["test_images"][0].astype(np.float32)
    return np.kron(chest, np.ones((8, 8), np.float32))


def _python(predictor: Predictor, pixels: NDArray[np.float32], repeats: int) -> list[float]:
    answers = [predictor.predict(Scan(pixels)) for _ in range(2 * repeats)]
    return [answer.milliseconds["run"] for answer in answers[repeats:]]


def _browser(
    browser: Browser, folder: Path, name: str, pixels: NDArray[np.float32], repeats: int
) -> tuple[list[float], int]:
    """Milliseconds of each run, and with how many threads."""
    with _hosted(folder, isolated=True) as address:
        context = browser.new_context(service_workers="block")
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready=all]")  # before, it loads its own models and decoders
        sent = base64.b64encode(np.ascontiguousarray(pixels, np.float32).tobytes()).decode()
        model = f"models/{name}/model.onnx"
        found = page.evaluate(RUN, {"model": model, "pixels": sent, "shape": list(pixels.shape), "repeats": repeats})
        context.close()
    return found["times"], found["threads"]


def _first_answer(browser: Browser, folder: Path, name: str) -> float:
    """Seconds from the load event of a first visit to the answer for a generated scan."""
    scan = folder.parent / "scan.npy"
    np.save(scan, _pixels(Predictor(name, "cpu")))
    with _hosted(folder, isolated=False) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}?model={name}", wait_until="load")
        started = time.perf_counter()
        page.locator("#files").set_input_files(scan)
        page.locator("#answer h2").wait_for(timeout=60_000)
        seconds = time.perf_counter() - started
        context.close()
    return seconds


@contextmanager
def _hosted(folder: Path, isolated: bool) -> Iterator[str]:
    """A static host on this machine.  isolated: with the headers that allow threads."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
