"""The report on one's own scans as one page, without scripts and without anything from elsewhere."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from liquidlens.train.datasets.table.report import Section

if TYPE_CHECKING:
    from PIL.Image import Image

#: Names and labels come from whoever made the table: every value is escaped.
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def data_page(title: str, sections: Sequence[Section], sheet: "Image | None") -> str:
    """HTML.  sheet: a contact sheet, if there is one."""
    picture = None
    if sheet is not None:
        sheet.save(content := io.BytesIO(), "PNG")
        picture = base64.b64encode(content.getvalue()).decode()
    return _ENVIRONMENT.get_template("page.html.j2").render(title=title, sections=sections, picture=picture)
