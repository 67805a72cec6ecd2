"""What moved the answer, as HTML: the legend of the overlay, the slices' votes and the neurons over the slices."""

from liquidlens.serve.demo.case import Case
from liquidlens.serve.demo.html import escape
from liquidlens.serve.explain import drawing

INTRODUCTION = (
    '<p class="small">Hides one part of the scan after the other and looks how the answer changes; of models that '
    "decide by slice, shows each slice's vote, and of liquid models the neurons. It shows what the model's answer "
    "hangs on, not what is wrong with the patient.</p>"
)


def page(case: Case) -> str:
    """Everything but the overlay itself, which lies on the slices, and the wiring, which has a slider."""
    assert case.occlusion is not None  # noqa: S101  (for the type checker: it is called for explained cases)
    found = case.occlusion
    label = escape(found.label)
    html = (
        f"<h3>On the {'slices' if found.map.ndim == 3 else 'image'} above</h3>"
        f'<p class="legend"><span class="swatch for"></span>speaks for “{label}” '
        f'<span class="swatch against"></span>speaks against it</p>'
        f'<p class="small">Probability of “{label}”: {found.baseline:.1%} of the whole scan, {found.hidden:.1%} with '
        f"the part hidden that lowers it most. {found.tried} of {found.patches} parts held anything to hide.</p>"
    )
    if case.slices is not None:
        html += f"<h3>Each slice's vote for “{escape(case.slices.label)}”</h3>{drawing.slices_svg(case.slices)}"
    for trace in case.traces:
        html += f"<h3>Neurons of the layer {escape(trace.wiring.layer)}</h3>{drawing.trace_svg(trace)}"
    return f'<div class="explanation">{html}</div>'


def wiring(case: Case, step: int) -> str:
    """The first liquid layer's wiring with its states at one step; empty for models without any."""
    if not case.traces:
        return ""
    return f'<div class="explanation">{drawing.wiring_svg(case.traces[0], step)}</div>'
