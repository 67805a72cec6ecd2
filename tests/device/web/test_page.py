"""The page in a real browser: a person's way from the dropped file to the answer.

With LIQUIDLENS_PICTURES=FOLDER, screenshots are written there: light, dark, and as wide as a phone.
"""

import io
import os
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from liquidlens.imaging import read
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.web import site
from tests.device.accessibility import violations
from tests.device.conftest import NODULE
from tests.device.web.conftest import loaded
from tests.device.web.person import answered, assert_same_answer, choose, choose_and_open, drop

LOOKS = {"light": (1400, 1000), "dark": (1400, 1000), "phone": (360, 780)}


def save_picture(page: Page, name: str) -> None:
    """The whole page as a picture, where pictures are asked for."""
    folder = os.environ.get("LIQUIDLENS_PICTURES")
    if folder:
        page.wait_for_timeout(500)
        page.evaluate("scrollTo(0, 0)")
        taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        taken.convert("RGB").quantize(256).save(Path(folder) / f"web-{name}.png", optimize=True)


def test_a_dropped_vessel_has_the_answer_of_the_predictor(page, vessel):
    choose(page, "vessel")
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    found = assert_same_answer(page, "vessel", vessel)
    assert len(found["explanation"]["slices"]["contribution"]) == 28
    assert found["explanation"]["neurons"], "LiquidLens-S is a liquid network"
    answer = page.locator("#answer")
    label = found["prediction"]["label"]
    expect(answer.get_by_role("heading")).to_have_text(label)
    expect(answer).to_contain_text(f"{found['prediction']['probabilities'][label]:.1%}")
    expect(answer.locator(".badge").first).to_be_visible()
    expect(answer.locator(".mark")).to_have_count(1)
    expect(page.locator("#explanation svg")).to_have_count(1 + len(found["explanation"]["neurons"]))


def test_every_pretrained_model_answers_as_the_predictor(page, vessel, xray):
    for model in pretrained.names():
        file = vessel if len(Predictor(model).manifest.input.size) == 3 else xray
        drop(page, file)
        answered(page, file.name)
        choose(page, model)  # whatever the page found to fit best
        expect(page.locator("#answer")).to_contain_text(f"{model} says of {file.name}")
        assert_same_answer(page, model, file)


def test_a_dropped_dicom_x_ray_has_the_answer_of_the_predictor(page, xray):
    choose(page, "chest-xray")
    drop(page, xray)
    answered(page, "chest.dcm")
    found = assert_same_answer(page, "chest-xray", xray)
    assert found["scan"]["modality"] == "DX"
    assert "Grey values from" in found["prediction"]["notes"][0]
    assert "Doe" not in page.content()


def test_an_example_is_opened_with_a_model_that_reads_it(page, site_folder):
    choose(page, "chest-xray")
    example = page.get_by_role("button", name="Generated vessel: aneurysm")
    example.focus()
    example.press("Enter")
    answered(page, "generated-vessel-aneurysm.npy")
    expect(page.get_by_label("Model", exact=True)).to_have_value("vessel")
    found = assert_same_answer(page, "vessel", site_folder / "examples" / "generated-vessel-aneurysm.npy")
    assert found["prediction"]["label"] == "aneurysm"
    choose(page, "vessel-m")
    page.get_by_role("button", name="Generated vessel: healthy").click()
    answered(page, "generated-vessel-healthy.npy")
    expect(page.get_by_label("Model", exact=True)).to_have_value("vessel-m")


def test_real_scans_have_the_answers_of_the_predictor(page, data_root):
    for model, file in (
        ("chest-xray", data_root / "samples" / "dicom" / "cxr_siim_1024.dcm"),
        ("chest-xray", data_root / "samples" / "dicom" / "cxr_fake_monochrome1.dcm"),
        ("nodule", data_root / "samples" / "nifti" / "totalseg_ct_sm.nii.gz"),
    ):
        if not file.is_file():
            pytest.skip(f"needs {file}")
        choose(page, model)
        drop(page, file)
        answered(page, file.name)
        assert_same_answer(page, model, file)


def test_a_broken_file_has_its_sentence_and_the_answer_stays(page, vessel, xray, tmp_path):
    choose(page, "vessel")
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    answer = page.locator("#answer").inner_text()
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b this is no gzip")
    drop(page, broken)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("broken.nii.gz: not a readable NIfTI file; it may be damaged")
    assert page.locator("#answer").inner_text() == answer
    drop(page, xray)
    expect(page.locator("#answer")).to_contain_text("chest-xray says of chest.dcm")  # the model that reads it
    choose(page, "vessel")
    expect(alert).to_contain_text("chest.dcm: LiquidLens-S reads a volume, and this is a 2D image.")
    expect(alert).to_contain_text("Choose chest-xray.")


def test_one_of_several_scans_is_named(page, vessel, tmp_path):
    """After the message that asks for it, whether a scan is open already or not; it is not the next file's item."""
    both = vessel3d(seed=2, splits={"test": 2})["test_images"]
    path = tmp_path / "two.nii.gz"
    nibabel.save(nibabel.Nifti1Image(both.transpose(3, 2, 1, 0), np.eye(4)), path)
    choose(page, "vessel")
    item = page.get_by_label("Item, if the file holds several")
    for number in (1, 0):
        drop(page, path)
        expect(page.get_by_role("alert")).to_contain_text("name one of them, as in two.nii.gz#0")
        item.fill(str(number))
        item.press("Enter")
        answered(page, f"two.nii.gz#{number}")
        assert_same_answer(page, "vessel", Path(f"{path}#{number}"))
        expect(item).to_have_value("")
        drop(page, vessel)
        answered(page, "vessel.nii.gz")


def test_reading_can_be_stopped(page, vessel, tmp_path):
    large = tmp_path / "large.npy"
    np.lib.format.open_memmap(large, "w+", np.float32, (500, 400, 400)).flush()
    page.locator("#files").set_input_files(large)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("alert")).to_have_text("stopped.")
    drop(page, vessel)  # the model is loaded anew, though nobody chooses it again
    expect(page.locator("#answer")).to_contain_text("says of vessel.nii.gz", timeout=30_000)
    choose(page, "vessel")
    assert_same_answer(page, "vessel", vessel)


def test_a_model_whose_loading_was_stopped_is_loaded_for_the_next_scan(page, vessel):
    choose(page, "vessel")
    page.evaluate(
        """() => {
          document.querySelector("#model").dispatchEvent(new Event("change"));
          document.querySelector("#stop").click();
        }"""
    )
    expect(page.get_by_role("alert")).to_have_text("vessel: stopped.")
    expect(page.locator("#facts")).to_be_empty()
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    assert_same_answer(page, "vessel", vessel)


def test_stop_leaves_what_the_page_loads_for_itself(browser, host):
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    waiting = []
    page.route("**/openjpegwasm_decode.wasm", lambda route: waiting.append(route))
    page.goto(host.address)
    while not waiting:
        page.wait_for_timeout(20)
    page.unroute("**/openjpegwasm_decode.wasm")
    page.evaluate("document.querySelector('#stop').click()")
    loaded(page)
    expect(page.get_by_role("status")).to_have_text("Ready")
    context.close()


def test_choosing_another_model_while_one_judges_shows_the_last_one_alone(page, vessel, xray):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    choose(page, "vessel")
    drop(page, vessel)
    names = ["vessel-cnn", "adrenal", "vessel-cnn", "adrenal-cnn", "vessel"]
    page.evaluate(
        """async (names) => {
          const select = document.querySelector("#model");
          for (const name of names) {
            await new Promise((resolve) => setTimeout(resolve, 15));
            select.value = name;
            select.dispatchEvent(new Event("change"));
          }
        }""",
        names,
    )
    expect(page.locator("#answer")).to_contain_text("vessel says of vessel.nii.gz", timeout=30_000)
    expect(page.get_by_role("status")).to_have_text("Ready", timeout=30_000)
    expect(page.get_by_role("alert")).to_be_hidden()
    assert_same_answer(page, "vessel", vessel)
    assert errors == []


def test_scans_dropped_one_after_the_other_are_drawn_one_after_the_other(page, vessel, xray):
    choose(page, "vessel")
    drop(page, vessel)
    drop(page, xray)
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    expect(page.locator("#viewer canvas")).to_have_attribute("aria-label", re.compile("^Axial slice 15 of 28"))
    expect(page.get_by_role("slider", name="Axial slice")).to_have_count(1)


def varint(number: int) -> bytes:
    """A number as protocol buffers write it."""
    sevens = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(seven | 128 for seven in sevens[:-1]), sevens[-1]])


def test_a_model_of_ones_own(page, vessel, tmp_path):
    own = tmp_path / "mine.onnx"
    shutil.copyfile(pretrained.find("vessel"), own)
    page.locator("#files").set_input_files(vessel)
    answered(page, "vessel.nii.gz")
    drop(page, own)
    expect(page.locator("#answer")).to_contain_text("your own mine.onnx says of vessel.nii.gz")
    assert_same_answer(page, "vessel", vessel)
    page.get_by_text("Audit", exact=True).click()
    expect(page.locator("#facts")).to_contain_text("your own; no site vouches for it")
    whole = own.read_bytes()
    manifest = whole.index(b'"labels":')
    changed = {
        "manifest": (whole[:manifest] + b'"labelz":' + whole[manifest + 9 :], "its checksum differs"),
        "no-onnx": (b"this is no model", "not an ONNX file"),
        "cut": (whole[:-1000], "not an ONNX file, or it is damaged"),
        # A field of metadata whose length leads back to the file's start.
        "endless": (b"\x72" + varint(2**64 - 11), "not an ONNX file, or it is damaged"),
    }
    for name, (content, sentence) in changed.items():
        bad = tmp_path / f"{name}.onnx"
        bad.write_bytes(content)
        drop(page, bad)
        expect(page.get_by_role("alert")).to_contain_text(sentence)


def test_the_audit_finds_a_changed_weight(page, vessel, tmp_path):
    """The page's own audit: the tensors' digests are those of the manifest, and one changed bit is found."""
    choose(page, "vessel")
    facts = page.locator("#facts")
    page.get_by_text("Audit", exact=True).click()
    expect(facts).to_contain_text(re.compile(r"Every one of the \d+ tensors in the file is the one that was exported"))
    content = bytearray(pretrained.find("vessel").read_bytes())
    # A long run of bytes without a text in it is a tensor's; the last bit of a number changes no sign and no shape.
    at = max(re.finditer(rb"[^ -~]{24,}", bytes(content)), key=lambda run: len(run[0])).start() + 8
    content[at] ^= 1
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(content)
    drop(page, changed)
    expect(page.locator("#about")).to_contain_text("parameters")
    page.get_by_text("Audit", exact=True).click()
    expect(facts).to_contain_text(re.compile(r"1 of \d+ tensors are not those that were exported"))
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    expect(page.locator("#answer")).to_contain_text("The model is not the one that was exported")


def test_slices_window_and_3d_by_keyboard(page, vessel, data_root):
    file = data_root / "samples" / "nifti" / "totalseg_ct_sm.nii.gz"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    choose(page, "nodule")
    drop(page, file)
    answered(page, file.name)
    stage = page.locator("#viewer canvas")
    expect(stage).to_have_attribute(
        "aria-label", "Axial slice 16 of 30, Coronal slice 51 of 101, Sagittal slice 62 of 122"
    )
    before = stage.screenshot()
    axial = page.get_by_role("slider", name="Axial slice")
    axial.focus()
    for _ in range(3):
        axial.press("ArrowRight")
    expect(stage).to_have_attribute("aria-label", re.compile("^Axial slice 19 of 30"))
    moved = stage.screenshot()
    assert moved != before
    level = page.get_by_role("slider", name="Window level")
    level.focus()
    level.press("Home")
    assert stage.screenshot() != moved
    page.get_by_role("radio", name="All views").focus()
    page.keyboard.press("ArrowLeft")  # the radio buttons are one group: before the first one is the last
    expect(page.get_by_role("radio", name="3D")).to_be_checked()
    expect(stage).to_have_attribute("aria-label", "The volume in 3D; drag to turn it")
    still = stage.screenshot()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 120, box["y"] + box["height"] / 2 + 30, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert stage.screenshot() != still


def test_a_click_on_a_nodule_moves_what_the_model_sees(context, hosted, tmp_path, nodule_model, chest):
    """From the middle of a chest, of which the model sees 34 mm, to the nodule; then by the keyboard one slice on."""
    folder = tmp_path / "site"
    site.write([nodule_model], folder)
    page = context.new_page()
    page.goto(hosted(folder).address)
    loaded(page)
    drop(page, chest)
    answered(page, chest.name)
    scan, name = read(chest), nodule_model.parent.name
    assert_same_answer(page, nodule_model, scan)
    expect(page.locator("#viewer")).to_be_visible()
    page.get_by_role("radio", name="Axial").check(force=True)
    box = page.locator("#viewer svg.view rect")
    expect(box).to_have_count(1)
    middle = box.get_attribute("x"), box.get_attribute("y")

    slice_, row, column = NODULE
    slices, rows, columns = scan.pixels.shape
    axial = page.get_by_role("slider", name="Axial slice")
    axial.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", slice_ + 1)
    canvas = page.locator("#viewer canvas")
    size = canvas.bounding_box()
    # The slice fills the canvas along its longer side; both are square voxels here.
    scale = min(size["width"] / columns, size["height"] / rows)
    left, top = (size["width"] - scale * columns) / 2, (size["height"] - scale * rows) / 2
    canvas.click(position={"x": left + scale * (column + 0.5), "y": top + scale * (row + 0.5)})
    expect(canvas).to_have_attribute(
        "aria-label",
        f"Axial slice {slice_ + 1} of {slices}, Coronal slice {row + 1} of {rows}, "
        f"Sagittal slice {column + 1} of {columns}",
    )
    expect(page.locator("#facts")).to_contain_text(f"the voxel {slice_}, {row}, {column}")
    found = assert_same_answer(page, nodule_model, scan.pointed(NODULE))
    assert found["scan"]["centre"] == list(NODULE)
    moved, size = box.bounding_box(), canvas.bounding_box()  # the page may have scrolled
    mm = scan.spacing[2]
    assert moved["width"] == pytest.approx(scale * 33.6 / mm, rel=0.02), "28 voxels of 1.2 mm"
    assert moved["x"] + moved["width"] / 2 == pytest.approx(size["x"] + left + scale * (column + 0.5), abs=2)
    assert moved["y"] + moved["height"] / 2 == pytest.approx(size["y"] + top + scale * (row + 0.5), abs=2)
    assert (box.get_attribute("x"), box.get_attribute("y")) != middle

    axial.focus()
    axial.press("ArrowRight")
    expect(page.locator("#facts")).to_contain_text(f"the voxel {slice_ + 1}, {row}, {column}")
    assert_same_answer(page, nodule_model, scan.pointed((slice_ + 1, row, column)))
    expect(page.locator("#answer")).to_contain_text(f"{name} says of chest.nii.gz")
    page.get_by_role("radio", name="All views").check(force=True)
    expect(box).to_have_count(3)
    assert violations(page) == []
    save_picture(page, "point-light")


def test_a_finger_scrolls_the_page_and_turns_the_volume_in_3d(browser, host, vessel):
    context = browser.new_context(viewport={"width": 360, "height": 780}, has_touch=True)
    page = context.new_page()
    page.goto(f"{host.address}?model=vessel")
    loaded(page)
    page.locator("#files").set_input_files(vessel)
    answered(page, "vessel.nii.gz")
    canvas = page.locator("#viewer canvas")
    devtools = context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    def scrolled_by_a_swipe() -> float:
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box
        x, y, before = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, page.evaluate("scrollY")
        touch("touchStart", {"x": x, "y": y})
        for step in range(1, 11):
            touch("touchMove", {"x": x, "y": y - 15 * step})
        touch("touchEnd")
        page.wait_for_timeout(300)
        return page.evaluate("scrollY") - before

    assert scrolled_by_a_swipe() > 50
    expect(page.get_by_role("slider", name="Axial slice")).to_have_value("15")
    page.get_by_role("radio", name="3D").check(force=True)
    before = canvas.screenshot()
    assert scrolled_by_a_swipe() == 0
    assert canvas.screenshot() != before
    context.close()


def test_everything_is_reachable_and_named(page, vessel):
    page.locator("#files").set_input_files(vessel)
    answered(page, "vessel.nii.gz")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button, a")]
            .filter((e) => e.checkVisibility() && !e.ariaLabel && !e.labels?.length && !e.innerText)
            .map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []
    expect(page.get_by_text("Research use only. Not a medical device.")).to_be_visible()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className || ''"))
    assert {"model", "own", "files", "item", "download"} <= set(reached)


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_fits(browser, host, look, vessel, xray):
    """Nothing is wider than the page, and axe-core finds nothing wrong with it; pictures are written where they are
    asked for."""
    width, height = LOOKS[look]
    scheme = "dark" if look == "dark" else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=look == "phone"
    )
    page = context.new_page()
    page.goto(f"{host.address}?model=vessel")
    loaded(page)

    def picture(name: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the page"
        expect(page.get_by_text("Research use only. Not a medical device.")).to_be_in_viewport()
        assert violations(page) == [], name
        save_picture(page, f"{name}-{look}")

    picture("start")
    page.locator("#files").set_input_files(vessel)
    answered(page, "vessel.nii.gz")
    picture("volume")
    for name in ("Model", "Audit"):
        page.locator("#facts summary").get_by_text(name, exact=True).click()
    picture("facts")
    choose_and_open(page, "chest-xray", xray)
    picture("xray")
    context.close()
