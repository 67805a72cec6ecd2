"""The demo's public endpoints, for `gradio_client` and other programs; ``docs/demo.md`` shows how to call them.

They are events of invisible components, not `gr.api`: components check that a path they get is one of an upload.
"""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import Manifest
from liquidlens.serve.demo import uploads
from liquidlens.serve.demo.case import Case, hint
from liquidlens.serve.demo.work import WAITING, Work
from liquidlens.serve.predict import fitting
from liquidlens.serve.predict.predictor import Predictor

#: What the endpoints of models that read scans of so many axes end with.
ENDINGS = {2: "xray", 3: "volume"}


def build(predictors: Mapping[str, Predictor], work: Work) -> None:
    """The endpoints of these models, by the axes of the scans that they read."""
    served = {name: predictor.manifest for name, predictor in predictors.items()}

    def models() -> list[dict[str, Any]]:
        """The models that are served: name, tab, labels, input contract, size and test metrics."""
        return [_summary(name, predictor) for name, predictor in predictors.items()]

    gr.api(models, api_name="models", queue=False)
    for axes, ending in ENDINGS.items():
        some = {name: predictors[name] for name, manifest in served.items() if len(manifest.input.size) == axes}
        if some:
            _endpoint(some, served, work, f"predict_{ending}", explained=False)
            _endpoint(some, served, work, f"explain_{ending}", explained=True)


def _endpoint(
    predictors: Mapping[str, Predictor], served: Mapping[str, Manifest], work: Work, name: str, explained: bool
) -> None:
    def judge(scan: list[str], model: str | None, item: str | None, request: gr.Request) -> dict[str, Any]:
        if not scan:
            raise gr.Error(
                "Give a scan: a list of one file, or of all files of one DICOM series.", print_exception=False
            )
        if model is None:
            uploads.delete(scan)
            raise gr.Error(f"Name a model: {', '.join(names)}.", print_exception=False)
        try:
            colour = predictors[model].manifest.input.channels == 3
            found, called = work.read(scan, request.session_hash, colour, item or "")
            with work.on(found, request.session_hash):
                case = Case.judged(found, called, model, predictors[model], hint(served, found, model))
                return (case.explained() if explained else case).to_json()
        except LiquidLensError as error:
            raise gr.Error(str(error), print_exception=False) from error

    names = list(predictors)
    files = gr.File(file_count="multiple", label="One file, or all files of one DICOM series", visible=False)
    model = gr.Dropdown(names, value=names[0], label="Model", visible=False)
    item = gr.Textbox("", label="Item, if the file holds several: what stands after the #", visible=False)
    gr.Button(visible=False).click(
        judge,
        [files, model, item],
        gr.JSON(label="Result", visible=False),
        api_name=name,
        api_description="Judge one scan" + (" and explain the answer." if explained else "."),
        concurrency_id="open",
        concurrency_limit=WAITING,
    )


def _summary(name: str, predictor: Predictor) -> dict[str, Any]:
    manifest = predictor.manifest
    return {
        "name": name,
        "tab": fitting.kind(manifest),
        "model": manifest.model,
        "dataset": manifest.provenance.dataset,
        "labels": list(manifest.labels),
        "input": manifest.model_dump(mode="json")["input"],
        "parameters": manifest.parameters.trainable,
        "metrics": manifest.metrics.get("test", {}),
        "device": predictor.device,
    }
