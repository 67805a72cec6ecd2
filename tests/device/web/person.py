"""What a person does on the page, and what they see then."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from liquidlens.imaging import Scan, read
from liquidlens.serve.explain.occlusion import slices, trace
from liquidlens.serve.predict.predictor import Predictor


def choose(page: Page, model: str) -> None:
    page.get_by_label("Model", exact=True).select_option(model)
    expect(page.locator("#about")).to_contain_text("parameters")
    expect(page.get_by_role("status")).to_have_text("Ready")


def drop(page: Page, *files: Path) -> None:
    """Drop files on the page, as a mouse does."""
    packed = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in files]
    page.evaluate(
        """(files) => {
          const data = new DataTransfer();
          for (const [name, content] of files) {
            data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
          }
          document.querySelector("#drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        packed,
    )


def choose_and_open(page: Page, model: str, file: Path) -> None:
    page.get_by_label("Model", exact=True).select_option(model)
    expect(page.get_by_role("status")).to_have_text("Ready")
    page.locator("#files").set_input_files(file)
    answered(page, file.name)


def answered(page: Page, name: str) -> None:
    expect(page.locator("#answer")).to_contain_text(f"says of {name}", timeout=30_000)
    expect(page.get_by_role("status")).to_have_text("Ready", timeout=30_000)


def result(page: Page) -> dict:
    """What the link for the download gives."""
    with page.expect_download() as download:
        page.locator("a.download").click()
    assert download.value.suggested_filename.endswith(".json")
    return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))


def assert_same_answer(page: Page, model: str | Path, given: Path | Scan) -> dict:
    """Everything that the page found is what Python finds.  given: a file, or a scan, perhaps with a point in it."""
    predictor, scan = Predictor(model, "cpu"), given if isinstance(given, Scan) else read(given)
    expected, found = predictor.predict(scan).to_json(), result(page)
    told = found["prediction"]
    assert told["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)
    for exact in ("label", "threshold", "abstained", "ood", "ood_threshold"):
        assert told[exact] == expected[exact], exact
    assert told["ood_score"] == pytest.approx(expected["ood_score"], rel=1e-4)
    assert told["notes"] == list(expected["notes"])
    by_slice = expected["slice_probabilities"]
    assert (told["slice_probabilities"] is None) == (by_slice is None)
    if by_slice is not None:
        assert np.allclose(told["slice_probabilities"], by_slice, atol=1e-4)
    contribution = slices(predictor, scan)
    if contribution is not None:
        shown = found["explanation"]["slices"]
        assert shown["label"] == contribution.label
        assert np.allclose(shown["contribution"], contribution.contribution, atol=1e-3)
        assert np.allclose(shown["position"], contribution.positions, atol=0.01)
    for mine, theirs in zip(found["explanation"]["neurons"], trace(predictor, scan), strict=True):
        assert mine["layer"] == theirs.wiring.layer
        assert np.allclose(mine["states"], theirs.states, atol=1e-3)
    return found
