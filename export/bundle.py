"""The bundle: the folder that an export leaves.  It appears whole, or not at all.

model.onnx           the recommended variant, in the profile ``loop`` where there is one
model-PRECISION.onnx the other variants that were not rejected
model-PROFILE.onnx   other profiles, in fp32, where they were asked for
model.json           the manifest of model.onnx, for runtimes that do not show a file's metadata
audit.json           everything that was measured and counted: `export.facts.Document`
AUDIT.html, CARD.md  the same for people
golden.npz           inputs and expected outputs, to check another runtime with
SHA256SUMS           checksums of all of them
model.sig            after `liquidlens sign`: a signature of all of them
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from liquidlens import signing
from liquidlens.errors import LiquidLensError
from liquidlens.export.checks.audit import graph_digest, manifest_of
from liquidlens.export.checks.parity import AuditError
from liquidlens.export.facts import Document, Initializer, Variant, stored_parameters, to_json
from liquidlens.export.graph.trace import serialize
from liquidlens.export.pages.report import audit_html, model_card
from liquidlens.manifest import Manifest


@dataclass(frozen=True)
class Bundle:
    """What an export left.

    manifest: that of ``model.onnx``.
    document: the content of ``audit.json``.
    """

    path: Path
    manifest: Manifest
    document: Document

    @property
    def model(self) -> Path:
        return self.path / "model.onnx"


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end; if anything fails, `out` is as it was.

    Raises LiquidLensError if `out` is a file, or a folder that holds anything that is not of a bundle.
    """
    out = out.resolve()
    if out.exists() and (others := _not_of_a_bundle(out)):
        raise LiquidLensError(f"{out} exists and is no bundle ({others[0]}): choose another --out, or remove it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise LiquidLensError(f"{out}: cannot be written ({error.strerror}).") from error
    try:
        yield folder
        folder.chmod(0o755)  # temporary folders are for their owner alone
        old = folder.with_name(f"{folder.name}-old")
        if out.exists():
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.filename is not None:  # not of this folder
            raise
        raise LiquidLensError(f"{out}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _not_of_a_bundle(path: Path) -> list[str]:
    """What is there besides the files that SHA256SUMS lists."""
    if not path.is_dir():
        return ["a file"]
    sums = path / "SHA256SUMS"
    listed = sums.read_text(encoding="utf-8", errors="replace").splitlines() if sums.is_file() else []
    known = {"SHA256SUMS", signing.NAME, *(line.partition("  ")[2] for line in listed)} if listed else set()
    return sorted({entry.name for entry in path.iterdir()} - known)


class Files:
    """The model files in the staging folder of a bundle, each with its own manifest."""

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest

    def write(self, name: str, proto: onnx.ModelProto, initializers: list[Initializer], **differing: str) -> Path:
        """Write one file; `differing` are the fields in which its manifest differs, besides what it stores.

        Raises AuditError if an initializer is unexplained.
        """
        if unexplained := [i.name for i in initializers if i.kind == "unexplained"]:
            raise AuditError(f"{name} holds numbers that nothing explains: {', '.join(unexplained)}.")
        stored = stored_parameters(initializers)
        own = {
            **differing,
            "parameters": self.manifest.parameters.model_copy(update={"stored": stored}),
            "initializers": {i.name: i for i in initializers},  # of which pydantic writes what `Stored` has
            "graph_digest": graph_digest(proto),
        }
        path = self.folder / name
        path.write_bytes(serialize(proto, self.manifest.model_copy(update=own).to_metadata()))
        return path

    def settle(self, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        """Remove the files of rejected variants, and give the recommended one its name."""
        settled = []
        for variant in variants:
            file = None if variant.rejected else variant.file
            if variant.file and not file:
                (self.folder / variant.file).unlink()
            if file and variant.recommended:
                file = (self.folder / file).rename(self.folder / "model.onnx").name
            settled.append(replace(variant, file=file))
        return tuple(settled)


def write_papers(folder: Path, document: Document) -> None:
    """``model.json``, ``audit.json``, the pages for people, and the checksums of everything, last."""
    (folder / "model.json").write_text(manifest_of(folder / "model.onnx").to_json(), encoding="utf-8")
    (folder / "audit.json").write_text(to_json(document), encoding="utf-8")
    (folder / "AUDIT.html").write_text(audit_html(document), encoding="utf-8")
    (folder / "CARD.md").write_text(model_card(document), encoding="utf-8")
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """``SHA256SUMS`` of all files that are there."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")
