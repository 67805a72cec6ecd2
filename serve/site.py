"""The site: a folder that any static host can serve, with the built page of ``serve/web`` and models to run on it.

Who opens it runs the models in a browser; nothing is sent back.  What the page does: ``docs/web.md``.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from imaging import LiquidLensError
from serve import pretrained
from serve.predictor import Predictor

#: The page, built by ``npm run build`` in the folder above it.
PAGE = Path(__file__).with_name("web") / "dist"
#: What marks a folder as a site that may be written anew.
INDEX = "models.json"
FORMAT = "liquidlens site 1"
#: Files of a bundle that people read beside the model.
BESIDE = ("CARD.md", "AUDIT.html", "audit.json", "SHA256SUMS", "model.sig")
_POLICY = re.compile(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"')


def write(models: Sequence[str | Path], out: Path) -> list[str]:
    """Write the site of `models` to the folder `out`, whole or not at all; returns the models' names on it.

    models: as `serve.pretrained.find` takes them; none stands for all pretrained ones.
    out: is made, or written anew if it is an earlier site; an empty folder is taken as well.
    Raises LiquidLensError if it is anything else, if two models have one name, if a model cannot be run here, and if
    the disk cannot be written.
    """
    _check_replaceable(out)
    predictors: dict[str, Predictor] = {}
    for model in models or pretrained.names():
        path = pretrained.find(model)
        name = _name(path)
        if name in predictors:
            raise LiquidLensError(f"{path} and {predictors[name].path} would both be {name!r}; rename one's folder.")
        predictors[name] = Predictor(path, "cpu")
    if not predictors:
        raise LiquidLensError("There is no model to write; name one, as in `liquidlens web model.onnx`.")
    partial = out.with_name(f"{out.name}.partial")
    old = out.with_name(f"{out.name}.old")
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        _fill(partial, predictors)
        if out.exists():
            os.replace(out, old)
        os.replace(partial, out)
    except OSError as error:
        if old.exists() and not out.exists():
            os.replace(old, out)
        raise LiquidLensError(f"{out}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return list(predictors)


def _check_replaceable(out: Path) -> None:
    if not out.resolve().name:
        raise LiquidLensError(f"{out}: name a folder for the site, as in --out site.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        ours = json.loads((out / INDEX).read_text(encoding="utf-8"))["format"] == FORMAT
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours:
        raise LiquidLensError(f"{out} is there already and is no site of `liquidlens web`; name another folder.")


def _name(path: Path) -> str:
    """The bundle's folder, or the file where it has another name than a bundle's; as a part of an address."""
    resolved = path.resolve()
    name = resolved.parent.name if path.name == "model.onnx" else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".") or "model"


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
        beside = [file for file in BESIDE if predictor.path.with_name(file).is_file()]
        for file in beside if predictor.path.name == "model.onnx" else ():
            shutil.copyfile(predictor.path.with_name(file), place / file)
        listed.append(
            {
                "name": name,
                "path": f"models/{name}/model.onnx",
                "sha256": predictor.sha256,
                "files": sorted(path.name for path in place.iterdir() if path.name != "model.onnx"),
            }
        )
    index = {"format": FORMAT, "models": listed}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    _write_headers(folder)
    _complete_worker(folder)


def policy(folder: Path = PAGE) -> str:
    """The content security policy of the page in `folder`."""
    found = _POLICY.search((folder / "index.html").read_text(encoding="utf-8"))
    if found is None:
        raise LiquidLensError(f"{folder / 'index.html'} names no content security policy; build the page anew.")
    return found[1]


def _write_headers(folder: Path) -> None:
    """The headers that the page wants, as several static hosts read them from a file; others leave it alone."""
    headers = {
        "Content-Security-Policy": policy(folder),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    lines = [f"  {name}: {value}" for name, value in headers.items()]
    # The audits are pages of their own, with styles of their own.
    rest = [line for line in lines if "Content-Security-Policy" not in line]
    (folder / "_headers").write_text(
        "\n".join(["/*", *rest, "/", lines[0], "/index.html", lines[0], "/assets/*", lines[0], ""])
    )


def _complete_worker(folder: Path) -> None:
    """Tell the service worker what to keep.  With any other file its text changes, and browsers take the new site."""
    digests = {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "_headers"
    }
    version = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
    kept = [name for name in digests if name != "sw.js"]
    site = {"version": version, "files": kept, "policy": policy(folder)}
    worker = folder / "sw.js"
    worker.write_text(f"self.SITE = {json.dumps(site)};\n{worker.read_text(encoding='utf-8')}", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
