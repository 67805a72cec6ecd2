"""Exporting a run: from run folder to bundle."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.export.bundle import Bundle, Files, staged, write_papers
from liquidlens.export.checks.audit import audit, manifest_of
from liquidlens.export.checks.golden import golden, pack, verify
from liquidlens.export.checks.parity import AuditError, check, check_step
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.complete.synapses import pairs
from liquidlens.export.complete.wiring import wirings
from liquidlens.export.describe import describe
from liquidlens.export.facts import PRECISIONS, Document, FileAudit, Initializer, Parity, Precision
from liquidlens.export.graph.half import to_fp16
from liquidlens.export.graph.int8 import to_int8_dynamic, to_int8_static
from liquidlens.export.graph.provenance import explain_converted, unused_parameters
from liquidlens.export.graph.step import trace_step
from liquidlens.export.graph.trace import Traced, trace
from liquidlens.export.graph.unroll import unroll
from liquidlens.export.measure.accuracy import calibration
from liquidlens.export.measure.variants import Candidate, compare
from liquidlens.export.options import Options, check_exportable
from liquidlens.export.subject import Subject, prepared
from liquidlens.train import datasets
from liquidlens.train.datasets import Dataset, Scans, picked
from liquidlens.train.loop.prepare import feeds
from liquidlens.train.run import RunFolder, RunRecipe

Say = Callable[[str], None]
#: Other batches and threads change the last digits of an AUC, other weights more than that.
SAME_AUC = 2e-3


def export(
    run: str | Path,
    out: str | Path | None = None,
    options: Options | None = None,
    data_root: str | Path | None = None,
    say: Say = lambda _: None,
) -> Bundle:
    """Export a finished run to `out`, by default ``bundles/NAME-OF-RUN``; `say` takes a word on what is being done.

    The run's dataset is needed: training scans for the out-of-distribution score and for calibrating int8, validation
    scans for thresholds, parity and the choice among variants, test scans for the figures.  Raises LiquidLensError if
    the run, its data or the options are not sound, AuditError if a file does not agree with torch, holds a number that
    nothing explains or lacks a parameter; nothing is written then.
    """
    folder = RunFolder(Path(run))
    recipe = folder.recipe()
    # Images that were left out of the training set are left out here, too; the MD5 shows whether the rest is the same.
    dataset = datasets.load(recipe.dataset, data_root, skip_bad=True, reading=recipe.reading)
    out = Path(out) if out is not None else Path("bundles") / folder.path.resolve().name
    return export_with(dataset, folder, out, options or Options(), say)


def export_with(dataset: Dataset, folder: RunFolder, out: Path, options: Options, say: Say = lambda _: None) -> Bundle:
    """`export` with the run's dataset at hand."""
    options.check()
    recipe, network = folder.recipe(), folder.load_model(options.weights)
    check_exportable(recipe, network, options)
    if dataset.md5 != recipe.dataset_md5:
        raise LiquidLensError(f"{folder.path} was trained on another version of {recipe.dataset} than the one at hand.")
    with staged(out) as staging:
        say("Calibrating")
        subject = prepared(dataset, folder, recipe, network, options)
        say("Tracing")
        traced = trace(subject.model, options.opset)
        _check_accounted_for(traced.initializers, network, recipe)
        _check_figures(folder, subject)
        files = Files(staging, describe(subject, folder, options, dataset.name))
        main = files.write("model-fp32.onnx", traced.proto, traced.initializers)
        say("Comparing with torch")
        val = subject.evaluated["val"].scans
        name = "loop" if files.manifest.wiring else "plain"
        parity = {name: check(main.read_bytes(), subject.model, val, subject.point.threshold)}
        parity |= _write_profiles(files, subject.model, traced, options, val)
        say("Converting")
        wanted = [name for name in PRECISIONS[1:] if name in options.precisions]
        converted = [_convert(name, files, traced, subject.train.scans, options) for name in wanted]
        say("Measuring")
        candidates = [Candidate("fp32", main, {}, {}), *converted]
        variants, choice = compare(candidates, files.manifest, subject.evaluated, options.auc_budget)
        variants = files.settle(variants)
        say("Auditing")
        (staging / "golden.npz").write_bytes(pack(golden(subject.model)))
        final = manifest_of(staging / "model.onnx")
        document = Document(
            manifest=json.loads(final.to_json()),
            parity=parity,
            calibration=calibration(subject.judged, subject.figures.temperature, subject.model.multi_label),
            operating=subject.operating,
            variants=variants,
            choice=choice,
            golden=_golden_differences(staging),
            audit=_audited(staging),
            environment={"onnxruntime": onnxruntime.__version__, "machine": platform.machine(), "threads": "1"},
        )
        write_papers(staging, document)
    return Bundle(out, final, document)


def _audited(folder: Path) -> FileAudit:
    """The audit of ``model.onnx``.  Raises AuditError if it, or another file of the bundle, is not sound."""
    audits = {path.name: audit(path) for path in sorted(folder.glob("*.onnx"))}
    if problems := [problem for found in audits.values() for problem in found.problems]:
        raise AuditError(f"The files are not sound: {' '.join(problems[:5])} Nothing was written.")
    return audits["model.onnx"]


def _golden_differences(folder: Path) -> dict[str, dict[str, float]]:
    """File -> output -> how far the file is from the bundle's own golden outputs; files of the profile step read no
    whole scans."""
    packed = (folder / "golden.npz").read_bytes()
    files = [path for path in sorted(folder.glob("*.onnx")) if manifest_of(path).profile != "step"]
    return {path.name: verify(path.read_bytes(), packed) for path in files}


def _check_figures(folder: RunFolder, subject: Subject) -> None:
    """Raise LiquidLensError if the weights are not those that the run's figures were measured with."""
    split = "val" if "val" in subject.operating else "test"
    found, expected = subject.operating[split].figures["auc"].value, subject.figures.val["auc"]
    if abs(found - expected) > SAME_AUC:
        raise LiquidLensError(
            f"{folder.path}: its weights have a validation AUC of {found:.4f}, and metrics.json says {expected:.4f}: "
            "one of the two was replaced."
        )


def _check_accounted_for(initializers: list[Initializer], network: models.Classifier, recipe: RunRecipe) -> None:
    """Raise AuditError if a number in the file is unexplained, a parameter is not in it, or a synapse of the model's
    wiring is gone."""
    problems = [f"{i.name} {i.shape}: {i.how}" for i in initializers if i.kind == "unexplained"]
    problems += [f"{name} is not in the file" for name in unused_parameters(initializers, network)]
    entry = models.entry(recipe.model)
    as_published = (recipe.input.input_shape, recipe.outputs, recipe.flags) == (entry.input_shape, entry.outputs, ())
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if as_published and entry.published_parameters not in (None, trainable):
        problems.append(f"it has {trainable:,} parameters, and its paper prints {entry.published_parameters:,}")
    for ours, theirs in zip(wirings(network), wirings(recipe.build()), strict=True):
        gone = set(pairs(theirs)) ^ set(pairs(ours))
        problems += [f"{ours.layer}: the synapse {a} -> {b} differs from the wiring" for a, b in sorted(gone)]
        if ours.sensory_fan_in != theirs.sensory_fan_in:
            problems.append(f"{ours.layer}: its sensory synapses differ from the wiring")
    if problems:
        raise AuditError(f"{recipe.model} is not accounted for: {'; '.join(problems[:5])}. Nothing was written.")


def _write_profiles(
    files: Files, model: CompleteModel, loop: Traced, options: Options, scans: Scans
) -> dict[str, Parity]:
    """The profiles that were asked for besides the loop, each compared with torch."""
    threshold = files.manifest.operating.threshold
    parity = {}
    if "unrolled" in options.profiles:
        proto = unroll(loop.proto)
        records = explain_converted(proto, loop.initializers, loop.proto)
        path = files.write("model-unrolled.onnx", proto, records, profile="unrolled")
        parity["unrolled"] = check(path.read_bytes(), model, scans, threshold, path.name)
    if "step" in options.profiles:
        path = files.write("model-step.onnx", *trace_step(model, options.opset), profile="step")
        parity["step"] = check_step(path.read_bytes(), model, scans, threshold)
    return parity


def _convert(wanted: Precision, files: Files, traced: Traced, scans: Scans, options: Options) -> Candidate:
    """A precision variant of the file."""
    if wanted == "fp16":
        converted = to_fp16(traced.proto)
    elif wanted == "int8-dynamic":
        converted = to_int8_dynamic(traced.proto)
    else:
        count = min(options.calibration_scans, len(scans))
        chosen = picked(scans, np.linspace(0, len(scans) - 1, count).astype(int))
        converted = to_int8_static(traced.proto, feeds(chosen, files.manifest.input, 8), options.calibration)
    if not converted.converted:
        return Candidate(wanted, None, {}, converted.left)
    if wanted != "fp16":
        del converted.proto.graph.value_info[:]  # shapes save a fifth of the loading time; int8 files are to be small
    records = explain_converted(converted.proto, traced.initializers, traced.proto)
    path = files.write(f"model-{wanted}.onnx", converted.proto, records, precision=wanted)
    return Candidate(wanted, path, converted.converted, converted.left)
