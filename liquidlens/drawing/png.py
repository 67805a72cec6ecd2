"""Pictures as parts of a page."""

import base64
import io
from typing import Any

from PIL import Image


def data_uri(picture: Image.Image, **options: Any) -> str:
    """A picture as a PNG that is its own address; options: of Pillow, for writing it."""
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
