"""The page's sources: they build the page that is committed, and their rules are those of Python.

Needs Node.js and npm, which fetches what serve/web/package-lock.json pins.
"""

import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from liquidlens.drawing import palette
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.manifest import Manifest
from liquidlens.serve.explain.occlusion import positions
from liquidlens.serve.predict import fitting
from liquidlens.serve.predict.prediction import conclude
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.presentation import presented, view_of
from liquidlens.serve.web import site
from liquidlens.words import VALID_INPUT
from tests.serve.web.test_site import tree

WEB = site.PAGE.parent
OLDEST = (20, 19)
#: Runs the compiled modules on cases from standard input.
SCRIPT = """
import { readFileSync } from "node:fs";
import { conclude } from "./model/conclude.js";
import { positions } from "./model/explain.js";
import { fieldOfView } from "./model/field-of-view.js";
import { assumptions, checkReads, presented } from "./model/present.js";
import { VALID_INPUT } from "./model/valid-input.js";

const { manifests, scans, points, views } = JSON.parse(readFileSync(0, "utf8"));
const resultOf = (work) => { try { return work(); } catch (error) { return error.message; } };
const typed = (outputs) => Object.fromEntries(
  Object.entries(outputs).map(([name, { data, shape }]) => {
    return [name, { data: Float32Array.from(data, (x) => x ?? NaN), shape }];
  }));
console.log(JSON.stringify({
  manifests: manifests.map(({ manifest, outputs }) => resultOf(() => conclude(manifest, typed(outputs), []))),
  scans: scans.map(({ manifest, scan }) => {
    const whole = { ...scan, pixels: Float32Array.from(scan.pixels) };
    return resultOf(() => { checkReads(manifest, whole, "the scan"); return Array.from(presented(manifest, whole)); });
  }),
  views: views.map(({ manifest, scan, centre }) => {
    const whole = { ...scan, pixels: Float32Array.from(scan.pixels) };
    return { view: fieldOfView(manifest.input, whole, centre), notes: assumptions(manifest, whole, centre) };
  }),
  points: points.map(([length, count]) => positions(length, count)),
  words: VALID_INPUT,
}));
"""


def run(program: str, *arguments: str, cwd: Path, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    command = [shutil.which(program) or program, *arguments]
    return subprocess.run(command, cwd=cwd, input=standard_input, capture_output=True, text=True)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of the sources with what they are built with."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node.js: node and npm")
    version = run("node", "--version", cwd=WEB).stdout.strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        pytest.skip(f"needs Node.js {'.'.join(map(str, OLDEST))}, this is {version}")
    folder = tmp_path_factory.mktemp("sources") / "web"
    shutil.copytree(WEB, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    done = run("npm", "ci", cwd=folder)
    if done.returncode:
        pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return folder


def test_the_committed_page_is_what_its_sources_build(sources):
    done = run("npm", "run", "build", cwd=sources)
    assert done.returncode == 0, done.stdout + done.stderr
    built, committed = tree(sources / "dist"), tree(site.PAGE)
    assert built == committed, "run `make web-page`"


def test_the_lock_file_names_no_host():
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert all("resolved" not in package and "integrity" in package for at, package in lock["packages"].items() if at)


def variants() -> list[Manifest]:
    """Manifests of every kind of answer."""
    one = Predictor("vessel-cnn", "cpu").manifest

    def changed(labels: tuple[str, ...], task: str, **operating: object) -> Manifest:
        document = json.loads(one.to_json())
        document |= {"labels": labels, "task": task}
        document["operating"] = {
            "threshold": 0.4,
            "rule": "a test's",
            "abstain": None,
            "abstain_margin": None,
        } | operating
        return Manifest.model_validate(document)

    return [
        changed(("no", "yes"), "classes"),
        changed(("no", "yes"), "classes", abstain=(0.3, 0.6)),
        changed(("a", "b", "c"), "classes"),
        changed(("a", "b", "c"), "classes", abstain_margin=0.2),
        changed(("a", "b", "c"), "multi-label"),
        changed(("a", "b"), "multi-label", threshold=0.5),
    ]


def conclusions() -> tuple[list[dict], list[dict | str]]:
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for manifest in variants():
        for number in range(20):
            classes = len(manifest.labels)
            raw = rng.random(classes).astype(np.float32)
            probabilities = raw if manifest.task == "multi-label" else raw / raw.sum()
            score = rng.random(1).astype(np.float32)[0] * 2 * manifest.out_of_distribution.threshold
            if number == 19:
                probabilities[0] = np.nan
            width = classes if manifest.task == "multi-label" or classes > 2 else 1
            outputs = {"probabilities": probabilities, "ood": np.float32(score)}
            if number % 2:
                outputs["slice_logits"] = rng.normal(0, 20 if number == 3 else 2, (5, width)).astype(np.float32)
            plain = {
                name: {
                    "data": [None if x != x else x for x in np.ravel(values).tolist()],
                    "shape": list(np.shape(values)),
                }
                for name, values in outputs.items()
            }
            cases.append({"manifest": json.loads(manifest.to_json()), "outputs": plain})
            try:
                expected.append(asdict(conclude(manifest, outputs, {}, "cpu")))
            except LiquidLensError as error:
                expected.append(str(error))
    return cases, expected


def told_of(manifest: Manifest) -> dict:
    """A manifest as the page has it, with what stands beside it in the file."""
    known = manifest.trained_on
    return json.loads(manifest.to_json()) | {"trained_on": known and known.model_dump(mode="json")}


def presentations() -> tuple[list[dict], list[list[float] | str]]:
    rng = np.random.default_rng(0)
    cases, expected = [], []
    predictors = {name: Predictor(name, "cpu") for name in ("chest-xray", "nodule", "vessel-cnn")}
    for predictor in predictors.values():
        for shape in ((5, 6), (3, 5, 6)):
            for told in (
                {},
                {"modality": "DX"},
                {"modality": "DX", "window": (100.5, 900.25)},
                {"modality": "CT", "units": "HU"},
                {"modality": "CT"},
                {"modality": "MR", "window": (-3.0, 3.0)},
            ):
                for pixels in (rng.integers(0, 4096, shape), rng.normal(0, 100, shape), np.full(shape, 7)):
                    scan = Scan(pixels.astype(np.float32), **told)
                    plain = {"modality": None, "units": None, "window": None} | told
                    plain |= {"pixels": scan.pixels.ravel().tolist(), "shape": list(shape)}
                    cases.append({"manifest": told_of(predictor.manifest), "scan": plain})
                    try:
                        predictor._check(scan, "the scan")
                        expected.append(presented(predictor.manifest, scan).ravel().tolist())
                    except LiquidLensError as error:
                        expected.append(str(error))
    return cases, expected


def looked_at() -> tuple[list[dict], list[Scan], Manifest]:
    """Scans with and without spacing and point, for a model that looks at a part of them."""
    nodule = Predictor("nodule", "cpu").manifest
    contract = replace(nodule.input, size=(28, 27, 5), spacing=(1.2, 0.7, 1.05))
    manifest = nodule.model_copy(update={"input": contract})
    pixels = np.random.default_rng(0).normal(0, 100, (9, 8, 7)).astype(np.float32)
    scans = [
        Scan(pixels, spacing, centre=centre)
        for spacing in (None, (2.5, 0.7, 0.8))
        for centre in (None, (0.0, 7.0, 3.0), (8.0, 0.0, 6.0))
    ]
    told = {"modality": None, "units": None, "window": None, "shape": pixels.shape, "pixels": pixels.ravel().tolist()}
    cases = [{"scan": told | {"spacing": scan.spacing}, "centre": scan.centre} for scan in scans]
    return [{"manifest": told_of(manifest), **case} for case in cases], scans, manifest


def test_what_stands_before_and_after_the_graph_is_the_same_as_in_python(sources):
    settings = {
        "extends": "./tsconfig.worker.json",
        "compilerOptions": {"noEmit": False, "outDir": "compiled", "rootDir": "src"},
        "include": ["src/model/*.ts", "src/virtual.d.ts", "src/codecs.d.ts"],
    }
    (sources / "tsconfig.test.json").write_text(json.dumps(settings))
    compiled = run("npx", "tsc", "-p", "tsconfig.test.json", cwd=sources)
    assert compiled.returncode == 0, compiled.stdout
    (sources / "compiled" / "cases.mjs").write_text(SCRIPT)
    (manifests, concluded), (scans, shown) = conclusions(), presentations()
    points = [[28, 28], [112, 28], [5, 28], [1, 7], [100, 1]]
    views, pointed, looking = looked_at()
    cases = json.dumps({"manifests": manifests, "scans": scans, "points": points, "views": views})
    done = run("node", "cases.mjs", cwd=sources / "compiled", standard_input=cases)
    assert done.returncode == 0, done.stderr[-1000:]
    found = json.loads(done.stdout)

    for mine, theirs in zip(found["manifests"], concluded, strict=True):
        if isinstance(theirs, str):
            assert mine == theirs
            continue
        assert mine["label"] == theirs["label"]
        assert mine["probabilities"] == list(theirs["probabilities"].values())
        assert (mine["threshold"], mine["abstained"], mine["ood"]) == (
            theirs["threshold"],
            theirs["abstained"],
            theirs["ood"],
        )
        by_slice = theirs["slice_probabilities"]
        assert (mine["sliceProbabilities"] is None) == (by_slice is None)
        assert by_slice is None or np.allclose(mine["sliceProbabilities"], by_slice, atol=1e-6)
    assert {mine["abstained"] for mine in found["manifests"] if isinstance(mine, dict)} == {True, False}
    for mine, theirs in zip(found["scans"], shown, strict=True):
        assert isinstance(mine, str) == isinstance(theirs, str)
        assert mine == theirs if isinstance(mine, str) else np.allclose(mine, theirs, atol=1e-4)
    for mine, scan in zip(found["views"], pointed, strict=True):
        view = view_of(looking, scan)
        assert np.allclose(mine["view"]["centre"], view.centre)
        assert np.allclose(mine["view"]["box"], view.box)
        assert np.allclose(mine["view"]["slices"], view.positions[0])
        assert mine["notes"] == list(fitting.notes(looking, scan))
    for mine, (length, count) in zip(found["points"], points, strict=True):
        assert np.allclose(mine, positions(length, count))
    assert found["words"] == VALID_INPUT


def test_the_page_has_the_colours_of_the_drawings():
    style = (WEB / "src" / "page" / "style.css").read_text(encoding="utf-8")
    assert f"--above: {palette.ABOVE}; --below: {palette.BELOW};" in style
