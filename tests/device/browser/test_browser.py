"""The demo in a real browser: a person's way from the upload to the downloaded result.

With LIQUIDLENS_PICTURES=FOLDER, screenshots of every tab are written there: light, dark, and as wide as a phone.
"""

import base64
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from liquidlens.imaging import read
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from tests.device.accessibility import violations
from tests.device.conftest import NODULE

#: Nothing on the page is about to change its look.
STILL = """() => !document.querySelector('.pending') && document.getAnimations().every(
    (one) => one.playState !== 'running' || one.effect.getComputedTiming().endTime === Infinity)"""
#: By axe-core's rule, what is Gradio's own markup and none of ours to change: the button that takes files is named
#: "Click to upload or drop files", and says so in other words.
GRADIO = {"label-content-name-mismatch": ".upload-container"}
LOOKS = {"light": (1400, 1000), "dark": (1400, 1000), "phone": (390, 844)}


@pytest.fixture(scope="module")
def xray_model() -> Path:
    """A model of X-rays: the one in $LIQUIDLENS_TEST_XRAY_MODEL, or a pretrained one."""
    given = os.environ.get("LIQUIDLENS_TEST_XRAY_MODEL")
    candidates = [Path(given)] if given else [pretrained.find(name) for name in pretrained.names()]
    images = [path for path in candidates if len(Predictor(path).manifest.input.size) == 2]
    assert images, "there is no pretrained model of X-rays"
    return images[0]


@pytest.fixture(scope="module")
def address(server, model, xray_model) -> str:
    return server(model, pretrained.find("vessel"), pretrained.find("nodule"), xray_model) + "/"


@pytest.fixture
def page(browser, address) -> Iterator[Page]:
    """The open demo.  Afterwards: nothing on the console, and no request to another host."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    errors, strangers = [], []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((address, "data:", "blob:")) else strangers.append(request.url),
    )
    page.goto(address)
    yield page
    page.close()
    assert errors == []
    assert strangers == []


@pytest.fixture
def page_of_nodules(browser, server, nodule_model) -> Iterator[Page]:
    """An open demo whose model looks at a part of a volume; nothing on its console afterwards."""
    page, errors = browser.new_page(viewport={"width": 1400, "height": 1000}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server(nodule_model))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="module")
def vessel(tmp_path_factory) -> Path:
    """A generated vessel as NIfTI, whose slices are twice as far apart as its pixels."""
    pixels = vessel3d(seed=2, splits={"test": 1})["test_images"][0]
    path = tmp_path_factory.mktemp("vessel") / "vessel.nii.gz"
    nibabel.save(nibabel.Nifti1Image(pixels.transpose(2, 1, 0), np.diag([-0.5, -0.5, 1.0, 1.0])), path)
    return path


def shown(picture: Locator) -> np.ndarray:
    """The pixels of a picture of the viewer."""
    source = picture.get_attribute("src") or ""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def visible(page: Page, selector: str) -> Locator:
    return page.locator(selector).filter(visible=True)


def open_scan(page: Page, tab: str, file: Path) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    visible(page, ".upload").locator("input[type=file]").set_input_files(file)


def answered(page: Page) -> Locator:
    answer = visible(page, "section.answer")
    expect(answer).to_be_visible(timeout=30_000)
    return answer


def wait(what: Callable[[], object]) -> None:
    """Until it is so; what never comes to be so is an error."""
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


def result(page: Page) -> dict:
    """What the link for the download gives."""
    with page.expect_download() as download:
        visible(page, "a.download").click()
    assert download.value.suggested_filename.endswith(".json")
    return json.loads(Path(download.value.path()).read_text())


def save_picture(page: Page, name: str) -> None:
    """The whole page as a picture, where pictures are asked for."""
    folder = os.environ.get("LIQUIDLENS_PICTURES")
    if folder:
        page.evaluate("scrollTo(0, 0)")
        taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        taken.convert("RGB").quantize(256).save(Path(folder) / f"demo-{name}.png", optimize=True)


def set_number(page: Page, label: str, value: float) -> None:
    """Type into the number beside a slider, as a person with a keyboard does."""
    box = page.get_by_label(f"number input for {label}").filter(visible=True)
    box.fill(str(value))
    box.press("Enter")


def test_a_volume_from_upload_to_result(page, vessel, model):
    open_scan(page, "Segmented shape", vessel)
    answer = answered(page)
    manifest = Predictor(model).manifest
    assert [bar.split("\n")[0] for bar in answer.locator(".bar").all_inner_texts()] == list(manifest.labels)
    expect(answer.locator(".badge").first).to_be_visible()
    expect(answer.locator(".mark")).to_have_count(1)

    axial = page.get_by_role("img", name="Axial slice")
    assert axial.get_attribute("alt") == "Axial slice 15 of 28"
    before = shown(axial)
    set_number(page, "Axial slice", 9)
    expect(axial).to_have_attribute("alt", "Axial slice 9 of 28")
    assert (shown(axial) != before).any()
    expect(visible(page, ".letter").first).to_have_text("R")

    page.get_by_role("button", name="Explain the answer").filter(visible=True).click()
    expect(visible(page, ".legend")).to_be_visible(timeout=60_000)
    found = result(page)
    explained = found["explanation"]["occlusion"]
    assert np.shape(explained["map"]) == (28, 28, 28)
    place = np.unravel_index(int(np.argmax(explained["map"])), (28, 28, 28))
    expect(axial).to_have_attribute("alt", f"Axial slice {place[0] + 1} of 28")
    assert np.ptp(shown(axial).astype(int), axis=2).max() > 0  # the overlay has colours
    set_number(page, "Overlay opacity", 0)
    until = time.monotonic() + 60
    while np.ptp(shown(axial).astype(int), axis=2).any() and time.monotonic() < until:
        page.wait_for_timeout(100)
    assert not np.ptp(shown(axial).astype(int), axis=2).any(), "the overlay is gone"
    if manifest.wiring:
        expect(page.get_by_label("number input for Step of the liquid layer")).to_be_visible()

    assert found["notice"] == "Research use only. Not a medical device."
    assert found["scan"]["spacing_mm"] == [1.0, 0.5, 0.5]
    prediction = found["prediction"]
    doubt = "Unlike the training data" if prediction["ood"] else "Not sure" if prediction["abstained"] else None
    assert answer.locator("h2").inner_text() == (doubt or prediction["label"])
    assert f"{prediction['probabilities'][prediction['label']]:.1%}" in answer.inner_text()


def test_the_volume_in_3d(page, vessel):
    open_scan(page, "Segmented shape", vessel)
    answered(page)
    page.get_by_role("tab", name="3D").click()
    expect(visible(page, ".surface canvas").first).to_be_visible(timeout=30_000)
    drawn = visible(page, ".surface").first.screenshot()
    box = visible(page, ".surface canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 120, box["y"] + box["height"] / 2 + 30, steps=5)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert visible(page, ".surface").first.screenshot() != drawn


def test_an_xray_from_upload_to_result(page, xray):
    open_scan(page, "X-ray", xray)
    answered(page)
    picture = page.get_by_role("img", name="Image", exact=True)
    source, before = picture.get_attribute("src"), shown(picture)
    assert before.shape == (128, 128, 3)
    set_number(page, "Window width", 400)
    expect(picture).not_to_have_attribute("src", source)
    contrast = shown(picture)
    assert np.isin(contrast, (0, 255)).mean() > np.isin(before, (0, 255)).mean()

    set_number(page, "Zoom", 3)
    stage = page.get_by_role("region", name=re.compile("Image, magnified"))
    expect(stage).to_be_visible()
    # Until the magnified picture has its size there is nothing to scroll.
    page.wait_for_function("box => box.scrollWidth > box.clientWidth", arg=stage.element_handle())
    start = stage.evaluate("box => box.scrollLeft")

    def pressing_moves() -> bool:
        stage.press("ArrowRight")
        return stage.evaluate("box => box.scrollLeft") > start

    wait(pressing_moves)  # on a busy machine the stage may be drawn anew after the key

    page.get_by_role("tab", name="Scan", exact=True).filter(visible=True).click()
    expect(visible(page, "table.facts")).to_contain_text("DX")
    assert "Doe" not in page.content()
    assert result(page)["scan"]["modality"] == "DX"


def test_the_real_xray(page, data_root):
    open_scan(page, "X-ray", data_root / "samples" / "dicom" / "cxr_siim_1024.dcm")
    answered(page)
    assert shown(page.get_by_role("img", name="Image", exact=True)).shape == (1024, 1024, 3)


def test_errors_stand_on_the_page_and_nothing_else_is_lost(page, vessel, xray, tmp_path):
    open_scan(page, "Segmented shape", vessel)
    answer = answered(page).inner_text()
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b this is no gzip")
    open_scan(page, "Segmented shape", broken)
    message = visible(page, ".message[role=alert]")
    expect(message).to_contain_text("broken.nii.gz", timeout=30_000)
    assert "/tmp" not in message.inner_text()  # noqa: S108
    open_scan(page, "Segmented shape", xray)
    expect(message).to_contain_text("and this is a 2D image")
    assert answered(page).inner_text() == answer


def test_each_kind_of_scans_has_a_tab_and_a_scan_is_sent_where_it_fits(page, tmp_path):
    """Grey values of a file that says nothing: the models of shapes read them, and large type holds no label."""
    tabs = page.get_by_role("tablist").first.get_by_role("tab")
    expect(tabs).to_have_text(["X-ray", "CT", "Segmented shape", "Models"])
    file = tmp_path / "crop.npy"
    np.save(file, np.random.default_rng(0).normal(-300, 300, (20, 30, 30)).astype(np.float32))
    open_scan(page, "Segmented shape", file)
    answer = answered(page)
    expect(answer.locator("h2")).to_have_text("Unlike the training data")
    expect(visible(page, ".message[role=alert]")).to_have_text("Models that it fits better, in the tab CT: nodule.")
    open_scan(page, "CT", file)
    expect(answered(page)).to_contain_text("nodule says of crop.npy")
    expect(visible(page, ".message[role=alert]")).to_have_count(0)


def test_a_click_on_a_nodule_moves_what_the_model_sees(page_of_nodules, chest, nodule_model):
    """From the middle of a chest, of which the model sees 34 mm, to the nodule; then by the keyboard back again."""
    page, predictor, scan = page_of_nodules, Predictor(nodule_model, "cpu"), read(chest)
    open_scan(page, "CT", chest)
    before, middle = answered(page).inner_text(), result(page)
    assert middle["scan"]["centre"] == [(n - 1) / 2 for n in scan.pixels.shape]
    boxes = page.locator(".stage svg.view rect")
    expect(boxes).to_have_count(3)
    box = boxes.first.get_attribute("x")

    slice_, row, column = NODULE
    slices, rows, columns = scan.pixels.shape
    set_number(page, "Axial slice", slice_ + 1)
    axial = page.get_by_role("img", name=f"Axial slice {slice_ + 1} of {slices}")
    expect(axial).to_be_visible()
    axial.scroll_into_view_if_needed()
    size = axial.bounding_box()
    left, top = size["x"] + size["width"] * (column + 0.5) / columns, size["y"] + size["height"] * (row + 0.5) / rows
    page.mouse.click(round(left), round(top))  # a mouse is at whole pixels, and a voxel is hardly wider than one
    expect(page.get_by_role("img", name=f"Sagittal slice {column + 1} of {columns}")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("img", name=f"Coronal slice {row + 1} of {rows}")).to_be_visible()
    expect(boxes.first).not_to_have_attribute("x", box)
    expect(boxes).to_have_count(3)
    assert answered(page).inner_text() != before
    pointed = result(page)
    assert pointed["scan"]["centre"] == list(NODULE)
    expected = predictor.predict(scan.pointed(NODULE), chest.name)
    assert pointed["prediction"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert pointed["prediction"]["probabilities"] != middle["prediction"]["probabilities"]
    assert pointed["prediction"]["notes"] == list(expected.notes)

    save_picture(page, "point-light")

    set_number(page, "Coronal slice", rows // 2)
    expect(page.get_by_role("img", name=f"Coronal slice {rows // 2} of {rows}")).to_be_visible()
    here = page.get_by_role("button", name="Look where the slices cross")
    here.focus()
    here.press("Enter")
    place = [slice_, rows // 2 - 1, column]
    page.get_by_role("tab", name="Scan", exact=True).filter(visible=True).click()
    expect(visible(page, "table.facts")).to_contain_text(f"around the voxel {', '.join(map(str, place))}")
    assert result(page)["scan"]["centre"] == place
    assert violations(page, GRADIO) == []


def test_everything_is_reachable_and_named(page, vessel):
    """Every field has a name for screen readers, and the way to the examples needs no mouse."""
    open_scan(page, "Segmented shape", vessel)
    answered(page)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button")]
            .filter(e => e.checkVisibility() && !e.ariaLabel && !e.labels?.length && !e.innerText && !e.title
                         && !e.closest("label") && !e.getAttribute("aria-labelledby"))
            .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []
    expect(page.get_by_text("Research use only. Not a medical device.")).to_be_visible()
    example = page.get_by_role("button", name="Generated vessel: aneurysm").filter(visible=True)
    example.focus()
    example.press("Enter")
    expect(answered(page)).to_contain_text("Generated vessel: aneurysm")


@pytest.mark.parametrize("look", LOOKS)
def test_every_tab_fits(page, address, look, xray):
    """Nothing is wider than the page, and axe-core finds nothing wrong with it; pictures of each tab are written where
    they are asked for."""
    width, height = LOOKS[look]
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{address}?__theme={'dark' if look == 'dark' else 'light'}")

    def picture(name: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the page"
        expect(page.get_by_text("Research use only. Not a medical device.")).to_be_in_viewport()
        expect(page.locator("p.loading")).to_have_count(0)  # Gradio's word until all parts are there
        page.wait_for_function(STILL)  # Gradio fades what is being worked on
        assert violations(page, GRADIO) == [], name
        save_picture(page, f"{name}-{look}")

    expect(page.get_by_role("tab", name="X-ray", exact=True)).to_be_visible()
    picture("start")
    open_scan(page, "X-ray", xray)
    answered(page)
    picture("xray")
    page.get_by_role("tab", name="Scan", exact=True).filter(visible=True).click()
    expect(visible(page, "table.facts")).to_be_visible()
    picture("facts")
    page.get_by_role("tab", name="Segmented shape", exact=True).click()
    page.get_by_role("button", name="Generated vessel: aneurysm").filter(visible=True).click()
    expect(answered(page)).to_contain_text("vessel says of Generated vessel: aneurysm")
    page.get_by_role("button", name="Explain the answer").filter(visible=True).click()
    expect(visible(page, ".legend")).to_be_visible(timeout=60_000)
    picture("volume")
    page.get_by_role("tab", name="3D").click()
    expect(visible(page, ".surface canvas").first).to_be_visible(timeout=30_000)
    page.wait_for_timeout(1000)
    picture("3d")
    page.get_by_role("tab", name="Models").click()
    expect(visible(page, "table.facts").first).to_be_visible()
    picture("models")


def test_a_closed_page_leaves_no_scan_on_the_server(browser, server, vessel):
    """Of the sessions that the server keeps, one holds the scan while the page is open, and none after."""
    address = server(pretrained.find("vessel"))
    sessions = server.applications[-1].state.page.state_holder.session_data

    def with_scan() -> list[str]:
        return [name for name, kept in list(sessions.items()) if any(kept.state_data.values())]

    page = browser.new_page()
    page.goto(address)
    open_scan(page, "Segmented shape", vessel)
    answered(page)
    wait(with_scan)  # Gradio keeps it once the event has ended: after the answer is shown
    (session,) = with_scan()
    page.close()
    wait(lambda: session not in sessions)
