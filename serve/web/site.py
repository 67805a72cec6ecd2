"""The site: a folder that any static host can serve, with the built page of ``serve/web`` and models to run on it.

Who opens it runs the models in a browser; nothing is sent back.  What the page does: ``docs/web.md``.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.files import beside
from liquidlens.manifest import Manifest
from liquidlens.serve.predict import fitting, pretrained
from liquidlens.serve.predict.examples import generated
from liquidlens.serve.predict.predictor import Predictor

#: The page, built by ``npm run build`` in the folder above it.
PAGE = Path(__file__).with_name("dist")
#: What marks a folder as a site that may be written anew.
INDEX = "models.json"
FORMAT = "liquidlens site 1"
#: Files of a bundle that people read beside the model.
BESIDE = ("CARD.md", "AUDIT.html", "audit.json", "golden.npz", "model.json", "SHA256SUMS", "model.sig")
#: For pages of bundles, such as audits: they have styles and pictures of their own, and nothing that they say is run.
BUNDLE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
_POLICY = re.compile(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"')


def write(models: Sequence[str | Path], out: Path) -> list[str]:
    """Write the site of `models` to the folder `out`, whole or not at all; returns the models' names on it.

    models: as `serve.predict.pretrained.find` takes them; none stands for all pretrained ones.
    out: is made, or written anew if it is an earlier site; an empty folder is taken as well.
    Raises LiquidLensError if it is anything else, if two models have one name, if a model cannot be run here, and if
    the disk cannot be written.
    """
    out = out.resolve()
    _check_replaceable(out)
    predictors: dict[str, Predictor] = {}
    for model in models or pretrained.names():
        path = pretrained.find(model)
        name = pretrained.name_of(path)
        if name in predictors:
            raise LiquidLensError(f"{path} and {predictors[name].path} would both be {name!r}; rename one's folder.")
        predictors[name] = Predictor(path, "cpu")
    if not predictors:
        raise LiquidLensError("There is no model to write; name one, as in `liquidlens web model.onnx`.")
    try:
        _replace(out, predictors)
    except OSError as error:
        raise LiquidLensError(f"{out}: cannot be written ({error.strerror or error}).") from error
    return list(predictors)


def _check_replaceable(out: Path) -> None:
    if not out.name:
        raise LiquidLensError(f"{out}: name a folder for the site, as in --out site.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        ours = json.loads((out / INDEX).read_text(encoding="utf-8"))["format"] == FORMAT
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours:
        raise LiquidLensError(f"{out} is there already and is no site of `liquidlens web`; name another folder.")


def _replace(out: Path, predictors: dict[str, Predictor]) -> None:
    """Write the new site beside `out`, then exchange the two."""
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    new, old = work / "new", work / "old"
    try:
        _fill(new, predictors)
        if out.exists():
            os.replace(out, old)
        os.replace(new, out)
    finally:
        # Also after an interrupt.  Where the earlier site cannot be moved back it stays where it is.
        if old.exists() and not out.exists():
            try:
                os.replace(old, out)
            except OSError as error:
                raise LiquidLensError(f"{out}: cannot be written, and the earlier site is now {old}.") from error
        shutil.rmtree(work, ignore_errors=True)


def _fill(folder: Path, predictors: dict[str, Predictor]) -> None:
    shutil.copytree(PAGE, folder)
    listed = []
    for name, predictor in predictors.items():
        place = folder / "models" / name
        place.mkdir(parents=True)
        shutil.copyfile(predictor.path, place / "model.onnx")
        if _sha256(place / "model.onnx") != predictor.sha256:
            raise LiquidLensError(f"{predictor.path} was changed while it was copied; try again.")
        # SHA256SUMS names the file as the bundle does; under another name its lines would be of no use.
        for file in beside(predictor.path, BESIDE) if predictor.path.name == "model.onnx" else ():
            shutil.copyfile(file, place / file.name)
        listed.append(
            {
                "name": name,
                "path": f"models/{name}/model.onnx",
                "sha256": predictor.sha256,
                "files": sorted(path.name for path in place.iterdir() if path.name != "model.onnx"),
                "kind": fitting.kind(predictor.manifest),
                "contract": _contract(predictor.manifest),
                "dataset": predictor.manifest.provenance.dataset,
            }
        )
    index = {"format": FORMAT, "models": listed, "examples": _write_examples(folder, predictors.values())}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    _write_headers(folder)
    _complete_worker(folder)


def _contract(manifest: Manifest) -> dict[str, Any]:
    """What a scan is held against before the model's file is loaded."""
    trained_on = manifest.trained_on
    return {
        "model": manifest.model,
        "input": asdict(manifest.input),
        "trained_on": trained_on and trained_on.model_dump(mode="json"),
    }


def _write_examples(folder: Path, predictors: Iterable[Predictor]) -> list[dict[str, str | None]]:
    """Scans to try, such as some of the models read; generated ones, for a site may go anywhere."""
    datasets = {predictor.manifest.provenance.dataset for predictor in predictors}
    (folder / "examples").mkdir()
    listed: list[dict[str, str | None]] = []
    for example in generated():
        if example.dataset in datasets:
            path = f"examples/{re.sub('[^A-Za-z]+', '-', example.name).lower()}.npy"
            np.save(folder / path, example.scan().pixels.astype(np.uint8))
            listed.append({"name": example.name, "path": path, "dataset": example.dataset})
    return listed


def policy(folder: Path = PAGE) -> str:
    """The content security policy of the page in `folder`, with what a `<meta>` may not say."""
    found = _POLICY.search((folder / "index.html").read_text(encoding="utf-8"))
    if found is None:
        raise LiquidLensError(f"{folder / 'index.html'} names no content security policy; build the page anew.")
    return f"{found[1]}; frame-ancestors 'none'"


def _write_headers(folder: Path) -> None:
    """The headers that the page wants, as several static hosts read them from a file; others leave it alone."""
    everywhere = {
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    # Not everywhere: browsers refuse to show what is isolated from its opener and in a sandbox.
    page = {"Content-Security-Policy": policy(folder), "Cross-Origin-Opener-Policy": "same-origin"}
    rules = {
        "/*": everywhere,
        "/": page,
        "/index.html": page,
        "/assets/*": page,
        "/models/*": {"Content-Security-Policy": BUNDLE_POLICY},
    }
    lines = [f"{path}\n" + "".join(f"  {name}: {value}\n" for name, value in rules[path].items()) for path in rules]
    (folder / "_headers").write_text("".join(lines), encoding="utf-8")


def _complete_worker(folder: Path) -> None:
    """Tell the service worker what to keep.  With any other file its text changes, and browsers take the new site."""
    digests = {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "_headers"
    }
    version = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
    kept = [name for name in digests if name != "sw.js"]
    site = {"version": version, "files": kept, "policy": policy(folder), "bundlePolicy": BUNDLE_POLICY}
    worker = folder / "sw.js"
    worker.write_text(f"self.SITE = {json.dumps(site)};\n{worker.read_text(encoding='utf-8')}", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
