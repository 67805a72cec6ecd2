"""The two pages for people: ``AUDIT.html``, everything known about a file, and ``CARD.md``, its model card.

``AUDIT.html`` is one page without scripts and without anything from elsewhere.  Labels and names come from datasets
that anyone may have made: the pages' environments escape every value that a template shows, as HTML or as Markdown.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from liquidlens.drawing import wiring as drawing_wiring
from liquidlens.export.facts import Document, FileAudit
from liquidlens.export.pages import caveats, drawing, numbers

TEMPLATES = Path(__file__).parent / "templates"
# fmt: off
FILTERS: tuple[Callable[..., str], ...] = (
    numbers.number, numbers.percent, numbers.integer, numbers.size, numbers.milliseconds, numbers.difference,
    numbers.span, numbers.shape, numbers.clause, numbers.rule, numbers.extent,
)
# fmt: on


def audit_html(facts: Document | FileAudit) -> str:
    """The page of a bundle, or of any one ONNX file: then with the sections that a file alone can fill."""
    document = facts if isinstance(facts, Document) else None
    audit = document.audit if document else facts
    return _HTML.get_template("audit.html.j2").render(document=document, audit=audit, **_about(document))


def model_card(document: Document) -> str:
    """The model card of a bundle (Mitchell et al., "Model Cards for Model Reporting", FAT* 2019), Markdown with YAML
    front matter as model hubs read it.  The licence of the weights is not known and not stated."""
    return _MARKDOWN.get_template("card.md.j2").render(document=document, audit=document.audit, **_about(document))


def _about(document: Document | None) -> dict:
    """What both pages show and no fact holds as such."""
    if document is None:
        return {"manifest": None}
    counted = {split: caveats.positives(document, split) for split in ("val", "test")}
    on_test = document.manifest["provenance"].get("validated_on_test", False)
    titles = {"val": "Validation (the test scans)" if on_test else "Validation", "test": "Test"}
    chosen_on = "test" if on_test else "validation"
    if document.manifest["provenance"].get("cross_validated"):
        titles, chosen_on = {"test": "Out of fold"}, "out-of-fold"
    batches = sorted({batch for variant in document.variants for batch in variant.milliseconds})
    recommended = next((v for v in document.variants if v.recommended), None)
    whole_file = document.operating.get("test")
    measured = recommended.figures.get("test", {}) if recommended else {}
    measured = measured or (whole_file.figures if whole_file else {})
    return {
        "manifest": document.manifest,
        "binary": caveats.binary(document.manifest),
        "titles": titles,
        "chosen_on": chosen_on,
        "tested_on": "out-of-fold" if chosen_on == "out-of-fold" else "test",
        "recommended": recommended,
        "area": measured.get("auc"),
        "whole": next((v.bytes for v in document.variants if v.precision == "fp32"), None),
        "limits": caveats.limits(document),
        "counted": {split: counts for split, counts in counted.items() if counts},
        "batches": batches,
        "batch": min(batches, default=1),
    }


def markdown(value: object) -> str:
    """A value as Markdown text, without anything that Markdown or HTML would take for markup."""
    if isinstance(value, Markup):
        return str(value)
    words = re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", _one_line(value))
    return words.replace("\\<", "&lt;").replace("\\&", "&amp;")


def code(value: object) -> Markup:
    """A value as Markdown code; a backtick would end it, a bar would end a table's cell."""
    return Markup(f"`{_one_line(value).replace('`', chr(39)).replace('|', '¦')}`")  # noqa: S704 (not HTML)


def quoted(value: object) -> Markup:
    """A value as a YAML string in double quotes, which is JSON's."""
    return Markup(json.dumps(_one_line(value), ensure_ascii=False))  # noqa: S704 (not HTML)


def _one_line(value: object) -> str:
    return re.sub(r" +", " ", "".join(letter if letter.isprintable() else " " for letter in str(value)))


def _environment(*more_filters: Callable[[object], str], **options: Any) -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701 (the options say how values are escaped)
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    filters = (*FILTERS, *more_filters)
    environment.filters.update({filter_.__name__: filter_ for filter_ in filters})
    environment.globals.update(drawing=drawing, drawing_wiring=drawing_wiring)
    return environment


_HTML = _environment(autoescape=True)
_MARKDOWN = _environment(code, quoted, finalize=markdown, autoescape=False)
