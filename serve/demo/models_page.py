"""The tab of the models: what each one is, by its manifest, its card and its files."""

import math
from collections.abc import Mapping

import gradio as gr

from liquidlens.files import beside
from liquidlens.manifest import Manifest, Wiring
from liquidlens.serve.demo import answer
from liquidlens.serve.demo.html import html
from liquidlens.serve.predict.predictor import Predictor

#: The files of a bundle that a person may want, in the order in which they are offered.
FILES = ("CARD.md", "AUDIT.html", "audit.json", "SHA256SUMS")


def build(predictors: Mapping[str, Predictor]) -> None:
    """A picker and one page per model, of which one is visible."""
    names = list(predictors)
    picker = gr.Dropdown(names, value=names[0], label="Model", filterable=False, elem_classes="picker")
    pages = []
    for name, predictor in predictors.items():
        with gr.Column(visible=name == names[0]) as page:
            _page(predictor)
        pages.append(page)
    picker.input(
        lambda chosen: [gr.Column(visible=name == chosen) for name in names],
        picker,
        pages,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _page(predictor: Predictor) -> None:
    manifest = predictor.manifest
    html(answer.about(manifest))
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            # Copied into Gradio's folder now, when every path is allowed; nothing else can be downloaded later.
            files = [predictor.path, *beside(predictor.path, FILES)]
            names = [str(path) for path in files]
            gr.File(names, label="Files", file_count="multiple", interactive=False, elem_classes="files")
            groups = facts(predictor).items()
            html("".join(f'<h2 class="group">{title}</h2>{answer.table(rows)}' for title, rows in groups))
        with gr.Column(scale=3, min_width=300):
            for card in beside(predictor.path, ("CARD.md",)):
                with gr.Accordion("Model card", open=True):
                    gr.Markdown(without_front_matter(card.read_text(encoding="utf-8")), elem_classes="card")


def facts(predictor: Predictor) -> dict[str, dict[str, str]]:
    """What the manifest says, in groups, as names and values."""
    manifest = predictor.manifest
    parameters, provenance = manifest.parameters, manifest.provenance
    groups = {
        "Input and answer": _contract(manifest),
        "Parameters": {
            "Trainable": f"{parameters.trainable:,}",
            "Effective, can change the answer": f"{parameters.effective:,}",
            "Stored in the file": f"{parameters.stored:,}",
            "Printed in the paper": f"{parameters.published:,}" if parameters.published is not None else "not printed",
        },
    }
    if manifest.wiring:
        groups["Wiring"] = {layer.layer: _wiring(layer) for layer in manifest.wiring}
    test, val = manifest.metrics.get("test", {}), manifest.metrics.get("val", {})
    groups[f"Metrics on {provenance.dataset}: test (validation)"] = {
        name: f"{test.get(name, math.nan):.4g} ({val.get(name, math.nan):.4g})" for name in {**test, **val}
    }
    groups["Provenance"] = {
        "Paper": manifest.paper,
        "Dataset": f"{provenance.dataset}, MD5 {provenance.dataset_md5}",
        "Recipe": f"{provenance.recipe}, seed {provenance.seed}, {provenance.weights} weights",
        "Changes to the recipe": ", ".join(f"{k} = {v}" for k, v in provenance.changes.items()) or "none",
        "Chosen on the test scans": "yes, so the test figures are too good" if provenance.validated_on_test else "no",
        "Weights, SHA-256": provenance.weights_sha256,
        "Versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
        "Graph digest": manifest.graph_digest,
        "Tensors, each with its origin": str(len(manifest.initializers)),
    }
    groups["Here"] = {
        "Device": predictor.device,
        "Nodes": ", ".join(f"{provider} {count}" for provider, count in predictor.nodes.items()),
    }
    return groups


def _contract(manifest: Manifest) -> dict[str, str]:
    expects, operating, limit = manifest.input, manifest.operating, manifest.out_of_distribution
    size = answer.by(expects.size)
    seen = f"{answer.by(expects.extent)} mm around a point, as {size}" if expects.extent else f"resized to {size}"
    window = f", window {expects.window[0]:g} to {expects.window[1]:g}" if expects.window else ""
    rows = {
        "Reads": f"{expects.values} values{window}, {seen}",
        "Labels": ", ".join(manifest.labels),
        "Temperature": f"{manifest.temperature:.4g}",
        "Unlike the training data": f"above {limit.threshold:.4g}, as {1 - limit.quantile:.1%} of validation scans",
        "Precision": manifest.precision + (f", profile {manifest.profile}" if manifest.profile else ""),
        "Intended use": manifest.intended_use,
    }
    if len(manifest.labels) == 2 or manifest.task == "multi-label":  # else the likeliest label is said
        rows["Operating threshold"] = f"{operating.threshold:.4g} ({operating.rule})"
    if operating.abstain:
        rows["Not sure"] = f"between {operating.abstain[0]:.4g} and {operating.abstain[1]:.4g}"
    if operating.abstain_margin is not None:
        rows["Not sure"] = f"if the two likeliest differ by less than {operating.abstain_margin:.4g}"
    return rows


def _wiring(layer: Wiring) -> str:
    kinds = (("i", "inter"), ("c", "command"), ("m", "motor"))
    counts = ", ".join(f"{layer.neurons.count(letter)} {kind}" for letter, kind in kinds if letter in layer.neurons)
    synapses = sum(len(row) - row.count(".") for row in layer.recurrent)
    return (
        f"{layer.cell}, {len(layer.neurons)} neurons ({counts}), {layer.features} inputs, "
        f"{sum(layer.sensory_fan_in)} sensory and {synapses} recurrent synapses"
    )


def without_front_matter(card: str) -> str:
    """The card without the YAML between the two ``---`` that model hubs read."""
    return card.split("\n---\n", 1)[-1].lstrip() if card.startswith("---\n") else card
