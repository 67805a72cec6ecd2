"""A component that shows HTML as it is."""

import html as standard
from typing import Any

import gradio as gr

from liquidlens.errors import printable


def escape(text: str) -> str:
    """Text from elsewhere as it stands in HTML: on one line, as `html` wants it, and no markup."""
    return standard.escape(printable(text))


def html(value: str = "", **options: Any) -> gr.Markdown:
    """Shows `value`, which must be one line that begins with a block such as ``<div>`` or ``<p>``.

    `gr.HTML` would be the obvious component, but it evaluates its template as JavaScript, which our Content Security
    Policy forbids; Markdown passes such a line through untouched.  All text in it must be escaped.
    """
    return gr.Markdown(value, sanitize_html=False, latex_delimiters=[], **options)
