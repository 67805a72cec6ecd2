"""One tab of the demo, for one kind of scans: scan in; viewer, answer and explanation out.

Handlers return the components that change, by component; all others stay as they are, so that an error loses nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.manifest import Manifest
from liquidlens.serve.demo import answer, explanation, viewer
from liquidlens.serve.demo.case import Case, hint
from liquidlens.serve.demo.html import html
from liquidlens.serve.demo.panel import DRAWS, Changes, Panel
from liquidlens.serve.demo.surface import level_range, surface
from liquidlens.serve.demo.viewer import Window
from liquidlens.serve.demo.work import WAITING, Work
from liquidlens.serve.predict import fitting
from liquidlens.serve.predict.examples import Example
from liquidlens.serve.predict.predictor import Predictor

#: The first look at a new scan, before the person moves a slider.
OPACITY = 0.7
GONE = answer.message("The scan was put away, as nobody used it for a while; open it again.")
PROGRESS = gr.Progress()  # as the default of a handler's argument it tells Gradio to fill that argument


class Tab:
    """Builds its components in the current `gr.Blocks`.

    predictors: of its models, which read one kind of scans.  served: the manifests of all, in whichever tab.
    """

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        served: Mapping[str, Manifest],
        work: Work,
        examples: Sequence[Example],
    ) -> None:
        self.predictors, self.served, self.work = predictors, served, work
        manifest = served[next(iter(predictors))]
        self.examples = [example for example in examples if example.kind == fitting.kind(manifest)]
        self.volume = len(manifest.input.size) == 3
        self.case = gr.State(None)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self._build_inputs()
            with gr.Column(scale=5, min_width=300, elem_classes="viewer"):
                self._build_viewer()
        self._listen()

    def _build_inputs(self) -> None:
        names = list(self.predictors)
        self.model = gr.Dropdown(names, value=names[0], label="Model", filterable=False)
        self.about = html(self._about(names[0]))
        self.item = gr.Textbox(
            label="Item, if the file holds several", placeholder="what stands after the #", max_lines=1, max_length=200
        )
        self.upload = gr.File(
            label="NIfTI, DICOM series (zip, files), NPY" if self.volume else "DICOM, PNG, JPEG, TIFF, NPY",
            file_count="multiple",
            height=165,
            elem_classes="upload",
        )
        self.pick = gr.Dataset(
            label="Or try an example",
            components=["textbox"],
            samples=[[example.name] for example in self.examples],
            type="index",
            elem_classes="examples",
        )
        self.message = html()
        self.answer = html('<p class="small">The answer will stand here.</p>')
        self.download = html()

    def _build_viewer(self) -> None:
        self.panel = Panel(self.volume)
        with gr.Tabs():
            with gr.Tab("Explanation"):
                self._build_explanation()
            if self.volume:
                with gr.Tab("3D", render_children=True):
                    self.surface_level = gr.Slider(
                        0, 1, value=0.5, label="Surface at this value", interactive=False, visible=False
                    )
                    self.plot = gr.Plot(label="Surface, drag to turn it", elem_classes="surface")
            with gr.Tab("Scan"):
                self.facts = html('<p class="small">Size, spacing and notes of the scan will stand here.</p>')

    def _build_explanation(self) -> None:
        with gr.Row(elem_classes="explain"):
            self.explain = gr.Button("Explain the answer", variant="primary", interactive=False, size="md")
            self.opacity = gr.Slider(
                0, 1, value=OPACITY, step=0.05, label="Overlay opacity", interactive=False, min_width=160
            )
        self.explanation = html(explanation.INTRODUCTION)
        self.step = gr.Slider(1, 2, value=1, step=1, label="Step of the liquid layer", visible=False)
        self.wiring = html()

    def _listen(self) -> None:
        """Everything a visitor may do.  What takes long waits in the queue, what draws one picture does not."""
        shown = [self.case, self.message, self.answer, self.download, self.about, self.facts, *self._resettable()]
        runs: dict[str, Any] = {"concurrency_id": "model", "api_visibility": "private", "show_progress_on": self.answer}
        opens = runs | {"concurrency_id": "open", "concurrency_limit": WAITING}
        opened = [
            self.upload.upload(
                self._open_upload,
                [self.upload, self.model, self.item],
                [*shown, self.model, self.upload, self.item],
                **opens,
            ),
            self.pick.click(self._open_example, [self.pick, self.model], [*shown, self.model], **opens),
            self.model.input(self._change_model, [self.case, self.model], shown, **opens),
        ]
        if self.volume:
            for event in opened:
                event.success(
                    self._new_surface,
                    self.case,
                    [self.surface_level, self.plot],
                    **runs | {"show_progress": "hidden"},
                )
            self.surface_level.release(
                self._surface,
                [self.case, self.surface_level],
                self.plot,
                **runs | {"show_progress": "minimal", "show_progress_on": self.plot},
            )
        self.panel.listen(self.case, self.opacity)
        self.explain.click(
            self._explain,
            [self.case, self.panel.level, self.panel.width, self.opacity],
            [self.case, self.message, self.download, *self._resettable()],
            **runs | {"show_progress_on": self.explanation},
        )
        view = [*self.panel.sliders, self.panel.level, self.panel.width]
        looks = runs | {"trigger_mode": "always_last", "show_progress": "hidden"}
        self.panel.click.submit(self._look, [self.case, self.panel.click, *view], shown, **looks)
        self.panel.here.click(self._look_here, [self.case, *view], shown, **looks)
        self.step.input(self._draw_step, [self.case, self.step], self.wiring, **DRAWS)

    # Opening and judging.

    def _open_upload(self, files: list[str] | None, model: str, item: str, request: gr.Request) -> Changes:
        if not files:
            return {self.message: ""}
        colour, visitor = self.predictors[model].manifest.input.channels == 3, request.session_hash
        changes = self._judge(lambda: self.work.read(files, visitor, colour, item), model, visitor, True)
        if self.case in changes:  # else the item stays, for another try
            changes[self.item] = ""
        return {**changes, self.upload: None}

    def _open_example(self, index: int, model: str, request: gr.Request) -> Changes:
        """With the chosen model, or, if it does not read such scans, with one that does."""
        example = self.examples[index]
        suited = [name for name, p in self.predictors.items() if p.manifest.provenance.dataset == example.dataset]
        if suited and model not in suited:
            model = suited[0]
        changes = self._judge(lambda: (example.scan(), example.name), model, request.session_hash)
        return {**changes, self.model: gr.Dropdown([*self.predictors], value=model), self.about: self._about(model)}

    def _change_model(self, case: Case | None, model: str, request: gr.Request) -> Changes:
        if case is None:
            return {self.about: self._about(model), self.message: ""}
        changes = self._judge(lambda: (case.scan, case.name), model, request.session_hash)
        return {**changes, self.about: self._about(model)}

    def _about(self, model: str) -> str:
        return answer.about(self.predictors[model].manifest)

    def _judge(
        self, scan: Callable[[], tuple[Scan, str]], model: str, visitor: str | None, is_new: bool = False
    ) -> Changes:
        """Everything that a new answer changes, or the sentence that says why there is none.

        is_new: nobody chose a model for this scan: those that read it are offered, best first, and where others are
            that it fits better, the answer comes with their names.
        """
        chosen: Changes = {}
        try:
            found, name = scan()
            with self.work.on(found, visitor):
                if is_new:
                    model, chosen = self._offered(found, model)
                elsewhere = hint(self.served, found, model)
                case = Case.judged(found, name, model, self.predictors[model], elsewhere)
        except LiquidLensError as error:
            return {self.message: answer.message(str(error))}
        return {
            **chosen,
            **self._answered(case),
            **self._unexplained(),
            **self.panel.opened(case),
            self.message: answer.message(elsewhere if is_new else ""),
        }

    def _answered(self, case: Case) -> Changes:
        return {
            self.case: case,
            self.message: "",
            self.answer: answer.answer(case),
            self.download: answer.download(case),
            self.facts: answer.facts(case),
        }

    def _offered(self, scan: Scan, model: str) -> tuple[str, Changes]:
        """The model that is to judge a scan, the chosen one if no other suits it better; and what to choose from."""
        mine = {name: self.served[name] for name in self.predictors}
        coloured = [name for name, manifest in mine.items() if manifest.input.channels == 3]
        names = fitting.offered(mine, scan)
        if model in coloured or not names:  # what was read for a model of colours is for no other
            return model, {}
        best, own = (fitting.doubts(mine[name], scan) for name in (names[0], model))
        if model not in names or best < own:
            model = names[0]
        return model, {self.model: gr.Dropdown([*names, *coloured], value=model), self.about: self._about(model)}

    def _unexplained(self) -> Changes:
        """The explanation as a new answer finds it."""
        return {
            self.explain: gr.Button(interactive=True),
            self.opacity: gr.Slider(value=OPACITY, interactive=False),
            self.explanation: explanation.INTRODUCTION,
            self.step: gr.Slider(visible=False),
            self.wiring: "",
        }

    def _resettable(self) -> list[Any]:
        return [*self.panel.components, self.explain, self.opacity, self.explanation, self.step, self.wiring]

    # Looking elsewhere.

    def _look_here(self, case: Case | None, request: gr.Request, *view: float) -> Changes:
        return self._look(case, request, None, *view)

    def _look(self, case: Case | None, request: gr.Request, click: str | None, *view: float) -> Changes:
        """The answer for another part of the scan, and the slices through it.  click: a place in one of the pictures;
        None: where the slices cross."""
        if case is None:
            return {self.message: GONE}
        *at, level, width = view
        window = Window(level, width)
        try:
            place = [slice_ - 1 for slice_ in at] if click is None else viewer.clicked(case.scan, click, at)
            with self.work.on(case.scan, request.session_hash):
                case = case.pointed(place)
        except LiquidLensError as error:
            return {self.message: answer.message(str(error))}
        return {
            **self._answered(case),
            **self._unexplained(),
            **self.panel.show(case, self.panel.middle(case), window),
        }

    # The surface.

    def _new_surface(self, case: Case | None, request: gr.Request) -> Changes:
        if case is None:
            return {self.plot: None}
        with self.work.on(case.scan, request.session_hash):
            low, high, level = level_range(case.scan)
            step = max((high - low) / 200, 1e-6)
            visible = not viewer.is_mask(case.scan)
            slider = gr.Slider(low, high, level, step=step, interactive=True, visible=visible)
            return {self.surface_level: slider, self.plot: surface(case.scan, level)}

    def _surface(self, case: Case | None, level: float, request: gr.Request) -> Any:
        if case is None:
            return gr.skip()
        with self.work.on(case.scan, request.session_hash):
            return surface(case.scan, level)

    # Explaining.

    def _explain(
        self,
        case: Case | None,
        level: float,
        width: float,
        opacity: float,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> Changes:
        if case is None:
            return {self.message: GONE}
        try:
            with self.work.on(case.scan, request.session_hash):
                case = case.explained(
                    lambda done, total: progress((done, total), desc="Hiding one part after the other")
                )
        except LiquidLensError as error:
            return {self.message: answer.message(str(error))}
        at = [place + 1 for place in case.occlusion.peak] if self.volume and case.occlusion else [1]
        steps = len(case.traces[0].states) if case.traces else 2
        return {
            self.case: case,
            self.message: "",
            self.download: answer.download(case),
            self.opacity: gr.Slider(interactive=True),
            self.explanation: explanation.page(case),
            self.step: gr.Slider(maximum=max(steps, 2), value=steps, visible=bool(case.traces) and steps > 1),
            self.wiring: explanation.wiring(case, steps - 1),
            **self.panel.show(case, at, Window(level, width), opacity),
        }

    def _draw_step(self, case: Case | None, step: float) -> Any:
        return gr.skip() if case is None or not case.traces else explanation.wiring(case, int(step) - 1)
