"""Explanations as drawings: every state and contribution is there, to scale."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from liquidlens.manifest import Wiring
from liquidlens.serve import explain
from liquidlens.serve.explain import drawing


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)  # noqa: S314 (our own)
    assert root.get("role") == "img"
    assert root.find("{*}title").text == root.get("aria-label")
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, wide, high = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height
    return root


def test_a_heat_map_shows_every_state_with_its_sign(liquid, aneurysms):
    (trace,) = explain.trace(liquid, aneurysms[0][0])
    root = parsed(drawing.trace_svg(trace, step=3))
    cells = {"above": 0, "below": 0}
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        cells[path.get("class")] += path.get("d").count("z")
    level = np.round(drawing.LEVELS * trace.states.astype(float) / np.abs(trace.states).max())
    assert cells == {"above": (level > 0).sum(), "below": (level < 0).sum()}
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word in ("inter", "command", "motor")] == ["inter", "command", "motor"]


def test_the_wiring_shows_the_states_of_a_step(liquid, aneurysms):
    (trace,) = explain.trace(liquid, aneurysms[0][0])
    svg = drawing.wiring_svg(trace, 13)
    parsed(svg)
    shown = {int(n): float(value) for n, value in re.findall(r"<title>neuron (\d+) \(\w+\): (\S+)</title>", svg)}
    assert shown == {n: pytest.approx(float(state), abs=6e-4) for n, state in enumerate(trace.states[13])}
    assert "after step 14" in svg
    with pytest.raises(IndexError):
        drawing.wiring_svg(trace, 28)


def test_large_layers_and_silent_ones_are_drawn(liquid):
    neurons = "m" * 4 + "c" * 30 + "i" * 70
    wiring = Wiring(
        layer="<large>",
        cell="CfC",
        output="states",
        features=9,
        neurons=neurons,
        sensory_fan_in=(3,) * 104,
        recurrent=("+" * 104,) * 104,
    )
    trace = explain.NeuronTrace(np.zeros((196, 104), np.float32), wiring, None)
    for svg in (drawing.trace_svg(trace), drawing.wiring_svg(trace, 0)):
        parsed(svg)
        assert "&lt;large&gt;" in svg
    assert "10,816 synapses between neurons are not drawn" in svg


@pytest.mark.parametrize("values", [[0.5, -0.25, 0.0], [-1.0, -2.0], [0.0, 0.0]])
def test_bars_are_as_long_as_contributions(values):
    contribution = np.array(values)
    found = explain.SliceContribution("a <b>", np.zeros((len(values), 2)), contribution, np.arange(len(values)))
    root = parsed(drawing.slices_svg(found))
    bars = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if bar.get("class") in ("above", "below")]
    signed = [float(bar.get("height")) * (1 if bar.get("class") == "above" else -1) for bar in bars]
    scale = np.ptp([*values, 0]) or 1
    assert signed == pytest.approx([120 * value / scale for value in values], abs=0.01)
