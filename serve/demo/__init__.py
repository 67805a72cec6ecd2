"""The demo: a page on which a person gives a model a scan and sees the answer, and what moved it.

`build` makes the page, `looks` how it looks; `serve.server.app` mounts both.  Each kind of scans that models read has
a tab, and the last one shows the models.  Nothing is written to disk: uploads are read and deleted, pictures and
results are part of the page, and what Gradio keeps of a page is dropped when it is closed (`serve.demo.tidy`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from liquidlens.drawing.palette import ABOVE, BELOW
from liquidlens.serve.demo import endpoints, models_page, tidy
from liquidlens.serve.demo.case import NOTICE
from liquidlens.serve.demo.html import html
from liquidlens.serve.demo.tab import Tab
from liquidlens.serve.demo.work import Work
from liquidlens.serve.predict import fitting
from liquidlens.serve.predict.examples import generated, real
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.settings import Settings

HERE = Path(__file__).parent
HEADER = '<div class="head"><h1>LiquidLens</h1><p>Compact image classifiers, and what they looked at</p></div>'


def build(predictors: Mapping[str, Predictor], settings: Settings) -> gr.Blocks:
    """The page for these models."""
    served = {name: predictor.manifest for name, predictor in predictors.items()}
    samples, work = generated() + real(), Work(settings)
    with gr.Blocks(title="LiquidLens", analytics_enabled=False, fill_width=True) as page:
        html(f'<div class="notice" role="note">{NOTICE}</div>')
        html(HEADER)
        with gr.Tabs(overflow_behavior="wrap"):  # a phone shows all of them, too
            for kind, names in fitting.by_kind(served).items():
                with gr.Tab(kind, render_children=True):
                    Tab({name: predictors[name] for name in names}, served, work, samples)
            with gr.Tab("Models", render_children=True):
                models_page.build(predictors)
        endpoints.build(predictors, work)
        tidy.forget_closed_pages(page)
    # Requests may name only files that were uploaded.  Gradio checks that once a page was launched, which a mounted one
    # never is: without this line it would read any file of this machine.
    page.has_launched = True
    return page


def looks() -> dict[str, Any]:
    """Theme, style and script, as `gradio.mount_gradio_app` takes them.  Fonts are the system's own."""
    sans = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "Menlo", "Consolas", "monospace")
    theme = gr.themes.Base(primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=sans, font_mono=mono)
    theme.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_border_width="1px",
        block_label_background_fill="transparent",
        block_label_border_width="0px",
        block_radius="*radius_lg",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        color_accent="*primary_700",
        link_text_color="*primary_700",
        link_text_color_visited="*primary_700",
        link_text_color_visited_dark="*primary_500",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
    )
    script = (HERE / "page.js").read_text(encoding="utf-8")
    colours = f":root {{ --above: {ABOVE}; --below: {BELOW}; }}"
    return {"theme": theme, "css": colours, "css_paths": [HERE / "style.css"], "head": f"<script>{script}</script>"}
