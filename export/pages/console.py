"""What the command line prints of bundles and of audits."""

from liquidlens.console import console, print_columns
from liquidlens.export.checks.module_report import Exported
from liquidlens.export.facts import Document, FileAudit
from liquidlens.words import counted


def print_document(document: Document) -> None:
    manifest = document.manifest
    measured = ("AUC on test", "95 % interval", "max |dp|", "labels changed")
    header = ("variant", "file", "bytes", "load", "batch 1", *measured)
    rows = []
    for variant in document.variants:
        if variant.file is None:
            rows.append((variant.precision, "rejected", *[""] * 7))
            continue
        area = variant.figures.get("test", {}).get("auc")  # a model that has seen every scan has none
        rows.append(
            (
                variant.precision,
                variant.file,
                f"{variant.bytes:,}",
                f"{variant.load_milliseconds:.0f} ms",
                f"{variant.milliseconds[1]:.2f} ms",
                f"{area.value:.3f}" if area else "",
                f"{area.low:.3f}-{area.high:.3f}" if area else "",
                f"{variant.max_probability_difference:.0e}",
                str(variant.changed_labels),
            )
        )
    print_columns(header, rows, right={2, 3, 4, 5, 7, 8})
    for reason in document.choice.reasons:
        console.print(reason, soft_wrap=True)
    chosen = next(variant for variant in document.variants if variant.recommended)
    if chosen.precision != "fp32":
        console.print(
            f"Parity of model.onnx, {chosen.precision}, with torch on validation and test scans: logits differ by at "
            f"most {chosen.max_logit_difference:.0e}, {chosen.changed_labels} labels change.",
            soft_wrap=True,
        )
    for profile, parity in document.parity.items():
        file = "model.onnx" if chosen.precision == "fp32" and profile in ("loop", "plain") else "the fp32 file"
        console.print(
            f"Parity of {file}, {profile}, with torch on {parity.scans} scans: logits differ by at most "
            f"{parity.max_logit_difference:.0e}, {parity.changed_labels} labels change.",
            soft_wrap=True,
        )
    if document.calibration is not None:
        before, after = document.calibration.before["test"], document.calibration.after["test"]
        console.print(
            f"Temperature {document.calibration.temperature:.2f}: {document.calibration.reason}; calibration error on "
            f"test {before.ece:.3f} -> {after.ece:.3f}.",
            soft_wrap=True,
        )
    if "sensitivity" in (test := document.operating["test"].figures):
        point = manifest["operating"]
        where = "out of fold" if manifest["provenance"].get("cross_validated") else "on test"
        console.print(
            f"Threshold {point['threshold']:.3f} ({point['rule']}): {where}, sensitivity "
            f"{test['sensitivity'].value:.3f}, specificity {test['specificity'].value:.3f}.",
            soft_wrap=True,
        )
    if not float(manifest["metrics"]["val"]["auc"]) > 0.5:  # NaN is a text in JSON
        console.print("The model is no better than chance: do not rely on its answers.", style="yellow")


def print_exported(found: Exported) -> None:
    report, checks = found.report, found.report.checks
    rows = [
        (side, name, ", ".join(f"{symbol} on axis {axis}" for axis, symbol in axes.items()))
        for side, values in (("input", report.inputs), ("output", report.outputs))
        for name, axes in values.items()
    ]
    print_columns(("", "name", "may vary"), rows)
    for name, output in report.states.items():
        console.print(f"State: {name} -> {output}, zeros at first.", soft_wrap=True)
    counts = report.parameters
    console.print(
        f"Parameters: {counts.trainable:,} trained, {counts.effective:,} effective, {counts.stored:,} stored.",
        soft_wrap=True,
    )
    compared = {"torch": checks.torch, "itself in pieces": checks.pieces, "itself step by step": checks.steps}
    gaps = ", ".join(f"from {what} {gap:.0e}" for what, gap in compared.items() if gap is not None)
    console.print(f"Differences: {gaps} (allowed: {checks.tolerance:.0e}).", soft_wrap=True)
    console.print(f"{found.path}: {found.bytes:,} bytes, {report.form}", style="bold", soft_wrap=True)


def print_audit(found: FileAudit, tensors: bool = False) -> None:
    """The verdict, what the file holds in sums, and on request every tensor that it stores."""
    if found.problems:
        console.print(f"NOT sound: {counted(len(found.problems), 'problem')}, named below.", style="red")
    elif found.model is not None:
        left = found.unexplained
        told = f"but for {counted(len(left), 'tensor')}, every" if left else "every"
        console.print(f"Sound: nothing was changed, and {told} number is accounted for.", style="green")
    opset = ", ".join(f"{domain} {number}" for domain, number in found.opset.items())
    console.print(f"{found.file}: {found.model or 'a foreign ONNX file'}, {found.bytes:,} bytes, {opset}", style="bold")
    for note in found.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    console.print()
    if tensors:
        rows = [
            (i.name, i.kind, i.dtype, "x".join(map(str, i.shape)) or "1", f"{i.bytes:,}", i.how)
            for i in found.initializers
        ]
        print_columns(("initializer", "kind", "type", "shape", "bytes", "how"), rows, right={4})
        console.print()
    shares = ((name, f"{size:,}", f"{size / found.bytes:.1%}") for name, size in found.bytes_by_class.items() if size)
    print_columns(("bytes", "", ""), tuple(shares), right={1, 2})
    console.print()
    counts = {**(found.parameters.model_dump() if found.parameters else {}), "stored": found.stored}
    shown = [(name, "-" if count is None else f"{count:,}") for name, count in counts.items()]
    print_columns(("parameters", ""), shown, right={1})
    for layer in found.synapses:
        console.print(f"\n{layer.layer} ({layer.cell}, {len(layer.neurons)} neurons)", soft_wrap=True)
        print_columns(("synapses", ""), [(name, f"{count:,}") for name, count in layer.by_type.items()], right={1})
    if found.cost is not None:
        console.print(
            f"\nOne scan: {found.cost.macs:,} MACs, {found.cost.sigmoids:,} sigmoids, {found.cost.tanhs:,} tanhs, "
            f"{found.cost.nodes:,} nodes executed.",
            soft_wrap=True,
        )
    if not tensors:
        console.print(f"\n{counted(len(found.initializers), 'tensor')} are stored: --tensors lists them.")
