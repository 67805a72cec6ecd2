"""The page and its host: what is asked for and when, offline visits, headers, and threads."""

import time

from playwright.sync_api import expect

from liquidlens.serve.web import site
from tests.device.web.conftest import loaded
from tests.device.web.person import answered, assert_same_answer, choose, drop


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


def test_a_site_that_lacks_a_file_says_so_and_promises_nothing_offline(context, hosted, tmp_path, vessel):
    folder = tmp_path / "site"
    site.write(["vessel"], folder)
    (folder / "examples" / "generated-vessel-healthy.npy").unlink()
    page = context.new_page()
    page.goto(hosted(folder).address)
    loaded(page)
    expect(page.get_by_role("alert")).to_contain_text("generated-vessel-healthy.npy: this site does not have it.")
    expect(page.locator("#network")).to_contain_text("Whether this page opens without a network is not known")
    drop(page, vessel)
    answered(page, "vessel.nii.gz")


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
    deadline = time.monotonic() + 120
    names: list[str] = []
    while names != ["vessel", "vessel-cnn"] and time.monotonic() < deadline:
        page = context.new_page()  # the first visit finds the change, and a later one shows it
        page.goto(host.address)
        loaded(page)
        names = page.locator("#model option").all_inner_texts()
        page.close()
    assert names == ["vessel", "vessel-cnn"]


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
