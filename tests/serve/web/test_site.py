"""Sites: what `liquidlens web` writes, and what it refuses to write over."""

import hashlib
import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import read
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.web import site

ROOT = Path(__file__).parents[3]


def tree(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_site_holds_the_page_and_the_models_by_their_digests(tmp_path):
    out = tmp_path / "site"
    assert site.write(["vessel-cnn", pretrained.find("adrenal-cnn")], out) == ["vessel-cnn", "adrenal-cnn"]
    files = tree(out)
    page = tree(site.PAGE)
    assert {name: files[name] for name in page if name != "sw.js"} == {k: v for k, v in page.items() if k != "sw.js"}
    index = json.loads((out / "models.json").read_text())
    assert [model["name"] for model in index["models"]] == ["vessel-cnn", "adrenal-cnn"]
    for model in index["models"]:
        original = pretrained.find(model["name"])
        assert files[model["path"]] == model["sha256"] == hashlib.sha256(original.read_bytes()).hexdigest()
        assert {"CARD.md", "AUDIT.html", "SHA256SUMS"} <= set(model["files"])
        assert all(f"models/{model['name']}/{file}" in files for file in model["files"])
    assert list(tmp_path.iterdir()) == [out], "nothing else is left"


def test_a_site_brings_generated_scans_for_its_models(tmp_path):
    site.write(["vessel-cnn"], tmp_path / "site")
    examples = json.loads((tmp_path / "site" / "models.json").read_text())["examples"]
    assert [example["name"] for example in examples] == ["Generated vessel: healthy", "Generated vessel: aneurysm"]
    predictor = Predictor("vessel-cnn")
    labels = [predictor.predict(read(tmp_path / "site" / example["path"])).label for example in examples]
    assert labels == ["vessel", "aneurysm"]
    site.write(["adrenal-cnn"], tmp_path / "site")
    assert json.loads((tmp_path / "site" / "models.json").read_text())["examples"] == []


def test_the_service_worker_names_every_file_and_changes_with_each(tmp_path, monkeypatch):
    def told(*models: str) -> dict:
        site.write(models, tmp_path / "site")
        first, rest = (tmp_path / "site" / "sw.js").read_text().split("\n", 1)
        assert rest == (site.PAGE / "sw.js").read_text()
        return json.loads(first.removeprefix("self.SITE = ").removesuffix(";"))

    one = told("vessel-cnn")
    assert set(one["files"]) == set(tree(tmp_path / "site")) - {"sw.js", "_headers"}
    assert one == told("vessel-cnn"), "the same site has the same version"
    assert told("vessel-cnn", "adrenal-cnn")["version"] != one["version"]
    page = shutil.copytree(site.PAGE, tmp_path / "page")
    with (page / "assets" / "reader.js").open("a") as script:
        script.write("\n")
    monkeypatch.setattr(site, "PAGE", page)
    assert told("vessel-cnn")["version"] != one["version"]


def test_the_policy_forbids_all_but_the_site_itself():
    directives = dict(part.strip().split(" ", 1) for part in site.policy().split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == directives["style-src"] == directives["worker-src"] == "'self'"
    assert directives["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert "http" not in site.policy()
    assert "'unsafe-inline'" not in site.policy()
    assert directives["frame-ancestors"] == "'none'"


def test_the_headers_isolate_the_page_and_shut_in_what_bundles_bring(tmp_path):
    site.write(["vessel-cnn"], tmp_path / "site")
    rules: dict[str, dict[str, str]] = {}
    for line in (tmp_path / "site" / "_headers").read_text().splitlines():
        if not line.startswith(" "):
            rules[line] = {}
            continue
        name, value = line.strip().split(": ", 1)
        rules[list(rules)[-1]][name] = value
    for path in ("/", "/index.html", "/assets/*"):
        assert rules[path]["Content-Security-Policy"] == site.policy()
        assert rules[path]["Cross-Origin-Opener-Policy"] == "same-origin"
    assert rules["/models/*"] == {"Content-Security-Policy": site.BUNDLE_POLICY}
    assert rules["/*"]["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_an_earlier_site_is_replaced_and_nothing_else_is(tmp_path):
    out = tmp_path / "site"
    out.mkdir()
    site.write(["vessel-cnn"], out)  # an empty folder is taken
    (out / "models" / "old.txt").write_text("of the earlier site")
    site.write(["adrenal-cnn"], out)
    assert "models/old.txt" not in tree(out)
    assert "models/vessel-cnn/model.onnx" not in tree(out)

    for name, content in {
        "notes.txt": "mine",
        "models.json": "[]",
        "other/models.json": '{"format": "another"}',
    }.items():
        mine = tmp_path / f"mine-{len(name)}"
        (mine / name).parent.mkdir(parents=True)
        (mine / name).write_text(content)
        before = tree(mine)
        with pytest.raises(LiquidLensError, match="is there already and is no site"):
            site.write(["vessel-cnn"], mine)
        assert tree(mine) == before
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(LiquidLensError, match="is there already"):
        site.write(["vessel-cnn"], file)
    assert file.read_text() == "mine"


def test_folders_beside_the_site_are_left_alone(tmp_path):
    for name in ("site.old", "site.partial", ".site"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    for _ in range(2):
        site.write(["vessel-cnn"], tmp_path / "site")
    assert {path.name for path in tmp_path.iterdir()} == {"site", "site.old", "site.partial", ".site"}
    assert all((tmp_path / name / "notes.txt").is_file() for name in ("site.old", "site.partial", ".site"))


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()], ids=["OSError", "KeyboardInterrupt"])
def test_an_earlier_site_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, error):
    out = tmp_path / "site"
    site.write(["vessel-cnn"], out)
    before = tree(out)
    replace, calls = os.replace, 0

    def failing(*paths: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        replace(*paths)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises((LiquidLensError, KeyboardInterrupt)):
        site.write(["adrenal-cnn"], out)
    assert tree(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_an_earlier_site_that_cannot_come_back_is_kept_and_named(tmp_path, monkeypatch):
    out = tmp_path / "site"
    site.write(["vessel-cnn"], out)
    before = tree(out)
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == out:
            raise OSError("no space")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(LiquidLensError, match="the earlier site is now") as raised:
        site.write(["adrenal-cnn"], out)
    [kept] = tmp_path.glob(".site.*/old")
    assert str(kept) in str(raised.value)
    assert tree(kept) == before


def test_the_present_folder_can_be_a_site(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path / "site")
    site.write(["vessel-cnn"], Path())
    assert "models.json" in tree(tmp_path / "site")


def test_a_model_that_cannot_be_run_leaves_the_earlier_site(tmp_path):
    out = tmp_path / "site"
    site.write(["vessel-cnn"], out)
    before = tree(out)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"this is no model")
    for models, sentence in (
        ([bad], "bad.onnx"),
        ([tmp_path / "missing.onnx"], "there is no such file"),
        ([tmp_path], "this folder holds no model.onnx"),
        (["vesel"], "Did you mean"),
        (["vessel", "vessel"], "would both be 'vessel'"),
    ):
        with pytest.raises(LiquidLensError, match=sentence):
            site.write(models, out)
        assert tree(out) == before


def test_a_changed_model_is_refused_by_the_sums_beside_it(tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(pretrained.find("vessel-cnn").parent, bundle)
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    with pytest.raises(LiquidLensError, match="is not the file that was exported"):
        site.write([bundle], tmp_path / "site")


def test_a_model_by_another_name_comes_without_the_bundles_sums(tmp_path):
    bundle = tmp_path / "some bundle"
    shutil.copytree(pretrained.find("vessel-cnn").parent, bundle)
    variant = bundle / "model fp32.onnx"
    (bundle / "model.onnx").rename(variant)
    assert site.write([variant], tmp_path / "site") == ["model-fp32"]
    assert [p.name for p in (tmp_path / "site" / "models" / "model-fp32").iterdir()] == ["model.onnx"]


def test_the_page_is_small_and_the_package_brings_it():
    """8 MB compressed is the limit; the runtime is stored packed, the rest is counted as it is."""
    sizes = {path.name: path.stat().st_size for path in site.PAGE.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 8e6
    assert sizes["ort-wasm-simd-threaded.wasm.packed"] > sum(sizes.values()) / 2
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["liquidlens.serve.web"]
    brought = {path for pattern in patterns for path in (ROOT / "serve" / "web").glob(pattern)}
    assert {path for path in site.PAGE.rglob("*") if path.is_file()} <= brought


@pytest.mark.parametrize("name", ["CARD.md", "AUDIT.html", "SHA256SUMS", "model.onnx"])
def test_links_in_a_bundle_are_not_published(tmp_path, name):
    """A colleague's bundle, in which a file leads to a private one of whoever publishes it."""
    bundle = tmp_path / "bundle"
    shutil.copytree(pretrained.FOLDER / "vessel", bundle)
    (tmp_path / "private").write_bytes((bundle / name).read_bytes())
    (bundle / name).unlink()
    (bundle / name).symlink_to("../private")
    with pytest.raises(LiquidLensError, match=f"{name} is not a plain file: a bundle holds no links"):
        site.write([bundle], tmp_path / "out")
    assert not (tmp_path / "out").exists()
