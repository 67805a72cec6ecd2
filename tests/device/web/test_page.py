"""The page in a real browser: a person's way from the dropped file to the answer, and what never leaves the page.

With LIQUIDLENS_PICTURES=FOLDER, screenshots are written there: light, dark, and as wide as a phone.
"""

import base64
import io
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from imaging import read
from serve import pretrained, site
from serve.explain import slices, trace
from serve.predictor import Predictor
from tests.device.web.conftest import loaded

LOOKS = {"light": (1400, 1000), "dark": (1400, 1000), "phone": (360, 780)}


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


def answered(page: Page, name: str) -> None:
    expect(page.locator("#answer")).to_contain_text(f"says of {name}", timeout=30_000)
    expect(page.get_by_role("status")).to_have_text("Ready", timeout=30_000)


def result(page: Page) -> dict:
    """What the link for the download gives."""
    with page.expect_download() as download:
        page.locator("a.download").click()
    assert download.value.suggested_filename.endswith(".json")
    return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))


def assert_same_answer(page: Page, model: str, file: Path) -> dict:
    """Everything that the page found is what Python finds."""
    predictor, scan = Predictor(pretrained.find(model), "cpu"), read(file)
    expected, found = predictor.predict(scan, file.name).to_json(), result(page)
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
        file = vessel if len(Predictor(pretrained.find(model)).manifest.input.size) == 3 else xray
        choose(page, model)
        drop(page, file)
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


def test_nothing_is_asked_for_after_the_page_is_loaded(page, context, host, vessel, xray):
    """By the host's own log, and by the browser's."""
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    before = list(host.asked)
    choose(page, "vessel")
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    choose(page, "chest-xray")
    drop(page, xray)
    answered(page, "chest.dcm")
    page.get_by_role("button", name="Generated vessel: aneurysm").click()
    answered(page, "generated-vessel-aneurysm.npy")
    page.wait_for_timeout(500)
    # The browser itself looks now and then whether there is a newer service worker; that is no request of the page.
    assert [path for path in host.asked[len(before) :] if path != "/sw.js"] == []
    assert [url for url in asked if not url.startswith(("blob:", "data:")) and not url.endswith("/sw.js")] == []


def test_the_policy_keeps_requests_from_other_hosts(context, host, hosted, site_folder):
    """Not because the page sends none: even code on the page could not."""
    stranger = hosted(site_folder)
    page = context.new_page()
    page.goto(host.address)
    loaded(page)
    said = page.evaluate(
        "(url) => fetch(url).then(() => 'sent', (error) => error.name)", f"{stranger.address}index.html"
    )
    assert said == "TypeError"
    assert stranger.asked == []
    headers = page.evaluate("fetch('assets/reader.js').then((response) => [...response.headers])")
    assert dict(headers)["content-security-policy"] == site.policy()
    assert "connect-src 'self'" in site.policy()


def test_it_opens_and_predicts_without_a_network(page, host, vessel):
    host.stop()
    host.server = None
    page.reload()
    loaded(page)
    assert page.evaluate("crossOriginIsolated"), "the service worker isolates the page, for threads"
    choose(page, "vessel")
    drop(page, vessel)
    answered(page, "vessel.nii.gz")
    assert_same_answer(page, "vessel", vessel)
    host.start()  # for the fixture to stop


def test_threads_give_the_same_answer(context, hosted, tmp_path, xray):
    """On a device with eight processors: half of them work, once the service worker has isolated the page."""
    folder = tmp_path / "site"
    site.write(["chest-xray"], folder)
    runner = folder / "assets" / "runner.js"
    runner.write_text('Object.defineProperty(navigator, "hardwareConcurrency", { value: 8 });' + runner.read_text())
    page = context.new_page()
    page.goto(hosted(folder).address)
    loaded(page)
    page.reload()
    loaded(page)
    drop(page, xray)
    answered(page, "chest.dcm")
    expect(page.locator("#answer")).to_contain_text("4 threads")
    assert_same_answer(page, "chest-xray", xray)


def test_a_changed_site_is_taken_at_the_next_visit(context, hosted, tmp_path):
    folder = tmp_path / "site"
    site.write(["vessel"], folder)
    host = hosted(folder)
    page = context.new_page()
    page.goto(host.address)
    loaded(page)
    page.close()
    site.write(["vessel", "vessel-cnn"], folder)
    deadline = time.monotonic() + 30
    names: list[str] = []
    while names != ["vessel", "vessel-cnn"] and time.monotonic() < deadline:
        page = context.new_page()  # the first visit finds the change, and a later one shows it
        page.goto(host.address)
        loaded(page)
        names = page.locator("#model option").all_inner_texts()
        page.close()
    assert names == ["vessel", "vessel-cnn"]


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
    expect(alert).to_contain_text("chest.dcm: LiquidLens-S reads a volume, and this is a 2D image.")
    expect(alert).to_contain_text("Choose chest-xray.")


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


def test_an_audit_is_shown_and_can_run_nothing(context, hosted, tmp_path):
    folder = tmp_path / "site"
    site.write(["vessel-cnn"], folder)
    audit = folder / "models" / "vessel-cnn" / "AUDIT.html"
    audit.write_text(audit.read_text().replace("</body>", "<script>document.title = 'run'</script></body>"))
    page = context.new_page()
    page.goto(hosted(folder).address)
    loaded(page)
    page.locator("#facts summary").get_by_text("Model", exact=True).click()
    plain = page.evaluate("getComputedStyle(document.body).fontFamily")
    with context.expect_page() as opened:
        page.get_by_role("link", name="AUDIT.html").click()
    shown = opened.value
    expect(shown.locator("h1")).to_be_visible()
    assert shown.evaluate("getComputedStyle(document.body).fontFamily") != plain, "its own styles hold"
    assert shown.title() != "run"
    assert shown.evaluate("origin") == "null", "it is in a sandbox, apart from the site"
    headers = page.evaluate("(url) => fetch(url).then((response) => [...response.headers])", shown.url)
    assert dict(headers)["content-security-policy"] == site.BUNDLE_POLICY


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
    expect(page.locator("#answer")).to_contain_text("your own file says of vessel.nii.gz")
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


def test_a_model_that_the_site_does_not_vouch_for_is_refused(context, hosted, tmp_path):
    """A byte of the model is another one than when the site was written: of the weights, of which it has many."""
    folder = tmp_path / "site"
    site.write(["vessel-cnn"], folder)
    file = folder / "models" / "vessel-cnn" / "model.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    page = context.new_page()
    page.goto(hosted(folder).address)
    expect(page.get_by_role("alert")).to_contain_text("its SHA-256 differs from the one that this site names")


def test_the_audit_finds_a_changed_weight(page, tmp_path):
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


def test_the_first_prediction_comes_within_three_seconds(browser, host, vessel):
    """From the page's load event to the answer, nothing stored before; the best of three first visits, for other work
    on the machine."""
    taken = []
    load = os.getloadavg()[0]
    for _ in range(3):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{host.address}?model=vessel", wait_until="load")
        started = time.monotonic()
        page.locator("#files").set_input_files(vessel)
        expect(page.locator("#answer")).to_contain_text("vessel says of vessel.nii.gz", timeout=30_000)
        taken.append(time.monotonic() - started)
        context.close()
    if min(taken) >= 3 and load > 1.5 * (os.cpu_count() or 1):
        pytest.skip(f"the machine is busy (load {load:.1f}): {min(taken):.1f} s say nothing")
    assert min(taken) < 3, taken


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_fits(browser, host, look, vessel, xray):
    """Nothing is wider than the page; pictures are written where they are asked for."""
    width, height = LOOKS[look]
    scheme = "dark" if look == "dark" else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=look == "phone"
    )
    page = context.new_page()
    page.goto(f"{host.address}?model=vessel")
    loaded(page)
    folder = os.environ.get("LIQUIDLENS_PICTURES")

    def picture(name: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the page"
        expect(page.get_by_text("Research use only. Not a medical device.")).to_be_in_viewport()
        if folder:
            page.wait_for_timeout(500)
            page.evaluate("scrollTo(0, 0)")
            taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
            taken.convert("RGB").quantize(256).save(Path(folder) / f"web-{name}-{look}.png", optimize=True)

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


def choose_and_open(page: Page, model: str, file: Path) -> None:
    page.get_by_label("Model", exact=True).select_option(model)
    expect(page.get_by_role("status")).to_have_text("Ready")
    page.locator("#files").set_input_files(file)
    answered(page, file.name)
