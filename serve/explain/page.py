"""One page about one answer: what was predicted, and what moved it.

It is self-contained and without scripts, to keep or to send.  It shows the scan's own pixels, and is as private as the
scan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from liquidlens.drawing import palette
from liquidlens.drawing.png import data_uri
from liquidlens.imaging import Scan
from liquidlens.serve import explain
from liquidlens.serve.explain import drawing
from liquidlens.serve.explain.occlusion import Occlusion
from liquidlens.serve.predict.predictor import Predictor

#: The longer side of a picture, in pixels.
SIDE = 336


@dataclass(frozen=True)
class Picture:
    """A plane of the scan under the occlusion map, as a data URI."""

    caption: str
    source: str
    width: int
    height: int


def page(predictor: Predictor, scan: Scan, name: str, say: Callable[[int, int], None] | None = None) -> str:
    """The page for one scan, as HTML.

    name: what the page calls the scan.  say: as of `explain.occlusion`.  Raises LiquidLensError as `Predictor.predict`
    and `explain.occlusion` do.
    """
    prediction = predictor.predict(scan, name)
    occlusion = explain.occlusion(predictor, scan, say=say)
    slices = explain.slices(predictor, scan)
    traces = explain.trace(predictor, scan)
    # The step to look at: the slice through the strongest point, as the pictures; or the last one.
    steps = [
        len(trace.states) - 1 if trace.positions is None else int(np.abs(trace.positions - occlusion.peak[0]).argmin())
        for trace in traces
    ]
    return _TEMPLATES.get_template("explanation.html.j2").render(
        name=name,
        manifest=predictor.manifest,
        prediction=prediction,
        occlusion=occlusion,
        palette=palette,
        pictures=pictures(scan, occlusion, predictor.manifest.input.window or scan.window),
        slices=slices,
        slices_drawing=Markup(drawing.slices_svg(slices)) if slices is not None else None,  # noqa: S704 (escaped)
        traces=[
            {
                "wiring": trace.wiring,
                "step": step + 1,
                "slice": None if trace.positions is None else float(trace.positions[step]) + 1,
                "heat": Markup(drawing.trace_svg(trace, step)),  # noqa: S704 (escaped)
                "network": Markup(drawing.wiring_svg(trace, step)),  # noqa: S704 (escaped)
            }
            for trace, step in zip(traces, steps, strict=True)
        ],
    )


def pictures(scan: Scan, occlusion: Occlusion, window: tuple[float, float] | None = None) -> list[Picture]:
    """The image under its map; of a volume three planes, one across each axis, through the map's farthest point from 0.

    window: the grey values to show as black and as white; None: the scan's darkest and brightest.
    """
    low, high = window or (float(scan.pixels.min()), float(scan.pixels.max()))
    grey = (255 * ((scan.pixels - low) / (high - low or 1.0)).clip(0, 1)).astype(np.uint8)
    share = occlusion.map / (occlusion.strongest or 1.0)
    spacing = scan.spacing or (1.0,) * share.ndim
    if share.ndim == 2:
        return [_picture("the image", grey, share, spacing)]
    found = []
    for axis, word in enumerate(("slice", "row", "column")):
        plane = (slice(None),) * axis + (occlusion.peak[axis],)
        across = tuple(mm for other, mm in enumerate(spacing) if other != axis)
        # Slices run upwards, and so they are shown.
        turn = slice(None, None, -1 if axis else 1)
        caption = f"{word} {occlusion.peak[axis] + 1} of {share.shape[axis]}"
        found.append(_picture(caption, grey[plane][turn], share[plane][turn], across))
    return found


def _picture(caption: str, grey: NDArray[np.uint8], share: NDArray[np.float32], spacing: tuple[float, ...]) -> Picture:
    """grey: (rows, columns), or colours (rows, columns, 3).  share: (rows, columns) of the map, -1 to 1."""
    extent = np.array(share.shape) * spacing
    height, width = (max(1, round(float(SIDE * e / extent.max()))) for e in extent)
    # Few pixels stay squares; many are averaged.
    resampling = Image.Resampling.NEAREST if max(share.shape) < SIDE else Image.Resampling.LANCZOS
    ground = Image.fromarray(grey).convert("RGB").resize((width, height), resampling)
    veil = np.empty((*share.shape, 4), np.uint8)
    veil[..., :3] = np.where(share[..., None] > 0, palette.rgb(palette.ABOVE), palette.rgb(palette.BELOW))
    veil[..., 3] = 190 * np.abs(share)
    over = Image.fromarray(veil).resize((width, height), Image.Resampling.BILINEAR)
    ground.paste(over, mask=over)
    return Picture(caption, data_uri(ground, optimize=True), width, height)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
