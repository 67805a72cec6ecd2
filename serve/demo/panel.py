"""The viewer's part of a tab: pictures with a slider each, and the window.  Drawing itself is `serve.demo.viewer`'s."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from liquidlens.serve.demo import viewer
from liquidlens.serve.demo.case import Case
from liquidlens.serve.demo.html import html
from liquidlens.serve.demo.viewer import PLANES, Plane, Window

EMPTY = '<figure class="slice"><div class="stage empty"><span>{}</span></div></figure>'
#: Of events that only draw: they wait for no model, and while one is under way only the newest is kept.
DRAWS: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "trigger_mode": "always_last",
    "api_visibility": "private",
}

#: Components and what they become.
Changes = dict[Any, Any]


class Panel:
    """Builds the three planes of a volume, or one image with zoom, in the current `gr.Blocks`."""

    def __init__(self, volume: bool) -> None:
        self.planes: tuple[Plane | None, ...] = tuple(PLANES) if volume else (None,)
        self.pictures: list[gr.Markdown] = []
        self.sliders: list[gr.Slider] = []
        with gr.Row():
            for plane in self.planes:
                with gr.Column(min_width=200):
                    words = plane if plane in ("coronal", "sagittal") else "Upload a scan or pick an example"
                    self.pictures.append(html(EMPTY.format(words)))
                    label, last, step = (f"{plane.capitalize()} slice", 2, 1.0) if plane else ("Zoom", 8, 0.25)
                    self.sliders.append(gr.Slider(1, last, value=1, step=step, label=label, interactive=False))
        with gr.Row():
            self.preset = gr.Dropdown([], label="Window preset", filterable=False, interactive=False, min_width=140)
            self.level = gr.Slider(0, 1, value=0.5, label="Window level", interactive=False, min_width=140)
            self.width = gr.Slider(0, 1, value=1, label="Window width", interactive=False, min_width=140)
        self.here = gr.Button("Look where the slices cross", visible=False, size="md")
        self.click = gr.Textbox(visible="hidden", elem_classes="click")  # where a picture was clicked, by page.js

    @property
    def components(self) -> list[Any]:
        return [*self.pictures, *self.sliders, self.preset, self.level, self.width, self.here]

    def listen(self, case: gr.State, opacity: gr.Slider) -> None:
        """Draw again what a person changes.  opacity: of the overlay, whose slider stands elsewhere."""
        for plane, slider, picture in zip(self.planes, self.sliders, self.pictures, strict=True):
            slider.input(_drawer(plane), [case, slider, self.level, self.width, opacity], picture, **DRAWS)
        gr.on(
            [self.level.input, self.width.input, opacity.input],
            self._draw,
            [case, *self.sliders, self.level, self.width, opacity],
            self.pictures,
            **DRAWS,
        )
        self.preset.input(
            self._apply_preset,
            [case, self.preset, *self.sliders, opacity],
            [self.level, self.width, *self.pictures],
            **DRAWS,
        )

    def opened(self, case: Case) -> Changes:
        """The viewer as a new scan finds it: the middle of what the model sees, through the first of its windows."""
        name, window = next(iter(case.windows.items()))
        changes = self.show(case, self.middle(case), window)
        for plane, slider in zip(self.planes, self.sliders, strict=True):
            at = changes[slider]
            if plane is None:
                changes[slider] = gr.Slider(value=at, interactive=True)
            else:
                length = _length(case, plane)  # a slider needs two ends; one slice needs no slider
                changes[slider] = gr.Slider(maximum=max(length, 2), value=at, interactive=length > 1)
        low, high = float(case.scan.pixels.min()), float(case.scan.pixels.max())
        levels = [one.level for one in case.windows.values()]
        widest = max(one.width for one in case.windows.values())
        step = 1 if high - low > 50 else max((high - low) / 200, 1e-6)
        free = not viewer.is_mask(case.scan)
        changes[self.preset] = gr.Dropdown(list(case.windows), value=name, interactive=free)
        lowest, highest = min(low, *levels), max(high, *levels)
        changes[self.here] = gr.Button(visible=case.view is not None)
        changes[self.level] = gr.Slider(lowest, highest, window.level, step=step, interactive=free)
        changes[self.width] = gr.Slider(step, max(widest, step), window.width, step=step, interactive=free)
        return changes

    def middle(self, case: Case) -> list[int]:
        """The slices, counted from 1, in the middle of the volume, or of the part of it that the model looks at; of an
        image its zoom, 1."""
        centre = case.view.centre if case.view else [length // 2 for length in case.scan.pixels.shape]
        return [1 if plane is None else round(centre[PLANES[plane]]) + 1 for plane in self.planes]

    def show(self, case: Case, at: Sequence[float], window: Window, opacity: float = 0) -> Changes:
        """Sliders and pictures at these slices, counted from 1, or at this zoom."""
        figures = [_figure(case, plane, where, window, opacity) for plane, where in zip(self.planes, at, strict=True)]
        return dict(zip(self.sliders, at, strict=True)) | dict(zip(self.pictures, figures, strict=True))

    def _draw(self, case: Case | None, *view: float) -> Any:
        if case is None:
            return gr.skip()
        *at, level, width, opacity = view
        changes = self.show(case, at, Window(level, width), opacity)
        return {picture: changes[picture] for picture in self.pictures}

    def _apply_preset(self, case: Case | None, name: str, *view: float) -> Any:
        if case is None or name not in case.windows:
            return gr.skip()
        window = case.windows[name]
        *at, opacity = view
        pictures = self._draw(case, *at, window.level, window.width, opacity)
        return {self.level: window.level, self.width: window.width, **pictures}


def _drawer(plane: Plane | None) -> Callable[..., Any]:
    """A handler that draws one picture."""

    def draw(case: Case | None, at: float, level: float, width: float, opacity: float) -> Any:
        return gr.skip() if case is None else _figure(case, plane, at, Window(level, width), opacity)

    return draw


def _figure(case: Case, plane: Plane | None, at: float, window: Window, opacity: float) -> str:
    overlay = case.occlusion.map if case.occlusion else None
    if plane is None:
        return viewer.figure(case.scan, None, 0, window, overlay, opacity, zoom=at)
    index = min(max(int(at), 1), _length(case, plane)) - 1
    return viewer.figure(case.scan, plane, index, window, overlay, opacity, view=case.view)


def _length(case: Case, plane: Plane) -> int:
    return case.scan.pixels.shape[PLANES[plane]]
