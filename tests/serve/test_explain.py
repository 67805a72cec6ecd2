"""Explanations: exact where they can be, and of sense where a phantom tells what to find."""

import re
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from scipy.stats import spearmanr

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, phantoms
from liquidlens.manifest import InputContract, Wiring
from liquidlens.models.front import Front
from liquidlens.serve import explain
from liquidlens.serve.explain import drawing
from liquidlens.serve.explain.page import page, pictures
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.presentation import on_grid, positions, resized

SPLITS, SEED = {"test": 60}, 7


@pytest.fixture(scope="module")
def liquid(liquid_bundle) -> Predictor:
    return Predictor(liquid_bundle.model, "cpu")


@pytest.fixture(scope="module")
def finder(bulge_finder) -> Predictor:
    return Predictor(bulge_finder.model, "cpu")


@pytest.fixture(scope="module")
def aneurysms() -> list[tuple[Scan, np.ndarray]]:
    """Phantoms with an aneurysm, and where its bulge is: slice, row, column, radius."""
    images = phantoms.vessel3d(SEED, SPLITS)["test_images"].astype(np.float32)
    bulges = phantoms.vessel3d_bulges(SEED, SPLITS)["test_bulges"]
    return [(Scan(image), bulge) for image, bulge in zip(images, bulges, strict=True) if not np.isnan(bulge[0])]


def on_the_bulge(found: explain.Occlusion, bulge: np.ndarray) -> bool:
    """The pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016), without tolerance."""
    maximum = np.unravel_index(found.map.argmax(), found.map.shape)
    return bool(np.linalg.norm(maximum - bulge[:3]) <= bulge[3])


def test_bulges_are_where_aneurysms_are():
    volumes = phantoms.vessel3d(SEED, SPLITS)
    bulges = phantoms.vessel3d_bulges(SEED, SPLITS)["test_bulges"]
    assert bulges.shape == (60, 4)
    assert np.array_equal(np.isnan(bulges).any(1), volumes["test_labels"][:, 0] == 0)
    for image, (*centre, radius) in zip(volumes["test_images"], bulges, strict=True):
        if not np.isnan(radius):
            distance = np.linalg.norm(np.argwhere(np.ones(image.shape)) - centre, axis=1).reshape(image.shape)
            assert (image[distance < radius - 1] == 255).all()


# The grid


@pytest.mark.parametrize(
    ("contract", "shape", "highest"),
    [
        (InputContract(values="mask", size=(28, 28, 28)), (28, 28, 28), 255),
        (InputContract(values="mask", size=(28, 28, 28)), (64, 40, 17), 1),
        (InputContract(values="grey", size=(56, 56)), (91, 130), 255),
        (InputContract(values="grey", size=(56, 56), mean=0.4, std=0.2), (91, 30), 4000),
        (InputContract(values="grey", size=(32, 32), channels=3), (50, 41, 3), 255),
        (InputContract(values="hu", size=(12, 20, 20), window=(-1000, 400)), (9, 40, 33), 2500),
    ],
)
def test_the_grid_gives_the_network_what_the_raw_scan_gives_it(contract, shape, highest):
    pixels = np.random.default_rng(0).uniform(-0.1, 1, shape).astype(np.float32)
    pixels = np.round(pixels * highest) if contract.values != "mask" else highest * (pixels > 0.6)
    pixels = pixels.astype(np.float32)
    grid = on_grid(SimpleNamespace(input=contract), pixels)
    front = Front(contract)
    from_raw, from_grid = front(torch.from_numpy(pixels)[None]), front(torch.from_numpy(grid)[None])
    assert grid.shape[: len(contract.size)] == contract.size
    assert from_grid.std() > 0
    torch.testing.assert_close(from_grid, from_raw, atol=2e-6, rtol=0)


def test_the_grid_refuses_scans_of_another_rank(liquid):
    for explanation in (explain.occlusion, explain.slices, explain.trace):
        with pytest.raises(LiquidLensError, match="LiqExp1N2 reads a volume, and this scan is 28 x 28"):
            explanation(liquid, Scan(np.ones((28, 28), np.float32)))


def test_positions_are_the_centres_of_resized_points():
    assert positions(4, 4).tolist() == [0, 1, 2, 3]
    assert positions(8, 2).tolist() == [1.5, 5.5]
    assert positions(1, 3).tolist() == [0, 0, 0]
    ramp = np.arange(40, dtype=np.float32)
    assert resized(ramp, (10,))[1:-1] == pytest.approx(positions(40, 10)[1:-1]), "the ends lack a neighbour"


# Occlusion


def test_a_patch_counts_what_hiding_it_changes(finder, aneurysms):
    scan, _ = aneurysms[0]
    steps: list[tuple[int, int]] = []
    found = explain.occlusion(
        finder, scan, patch=(28, 28, 14), stride=(28, 28, 14), batch_size=1, say=lambda *at: steps.append(at)
    )
    left, right = scan.pixels.copy(), scan.pixels.copy()
    left[..., :14], right[..., 14:] = 0, 0
    whole, *halves = finder.run(np.stack([scan.pixels, left, right]))["logits"][:, 0]
    assert found.map[..., :14] == pytest.approx(whole - halves[0], abs=1e-4)
    assert found.map[..., 14:] == pytest.approx(whole - halves[1], abs=1e-4)
    assert found.label == "aneurysm"
    assert found.baseline == pytest.approx(finder.predict(scan).probabilities["aneurysm"], abs=1e-5)
    assert found.hidden == pytest.approx(metrics.sigmoid(min(whole, *halves)), abs=1e-5)
    assert steps == [(1, 2), (2, 2)]
    assert (found.patches, found.tried) == (2, 2)


def test_batches_and_labels_do_not_change_the_map(finder, aneurysms):
    scan, _ = aneurysms[1]
    found = explain.occlusion(finder, scan)
    assert found.map.shape == scan.pixels.shape
    assert (found.patch, found.stride, found.patches) == ((7, 7, 7), (4, 4, 4), 343)
    assert 0 < found.tried < 200, "patches of background alone are not run"
    one_by_one = explain.occlusion(finder, scan, batch_size=7).map
    np.testing.assert_allclose(found.map, one_by_one, atol=1e-4)
    other = explain.occlusion(finder, scan, target="vessel")
    np.testing.assert_allclose(other.map, -found.map, atol=1e-6)
    assert other.baseline == pytest.approx(1 - found.baseline)


def test_a_map_has_the_size_of_its_scan(finder, aneurysms):
    scan, _ = aneurysms[2]
    finer = Scan(scan.pixels.repeat(2, 0).repeat(2, 1))
    found = explain.occlusion(finder, finer)
    assert found.map.shape == (56, 56, 28)
    assert np.corrcoef(found.map[::2, ::2].ravel(), explain.occlusion(finder, scan).map.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "stroke"}, "knows no label 'stroke'; it knows vessel, aneurysm"),
        ({"patch": (7, 7)}, "A patch has a whole number of points along each axis of the model's 28 x 28 x 28 grid"),
        ({"stride": (7, 0, 7)}, "A stride has"),
        ({"patch": (29, 7, 7)}, "A patch has"),
    ],
)
def test_what_occlusion_refuses(finder, aneurysms, options, sentence):
    with pytest.raises(LiquidLensError, match=re.escape(sentence)):
        explain.occlusion(finder, aneurysms[0][0], **options)


def test_the_maximum_falls_on_the_bulge(finder, aneurysms):
    said = [(scan, bulge) for scan, bulge in aneurysms if finder.predict(scan).label == "aneurysm"]
    assert len(said) >= 8
    hits = np.mean([on_the_bulge(explain.occlusion(finder, scan), bulge) for scan, bulge in said])
    inside = [np.linalg.norm(np.argwhere(s.pixels > 0) - b[:3], axis=1) <= b[3] for s, b in said]
    chance = np.mean([voxels.mean() for voxels in inside])
    print(f"on the bulge: {hits:.2f} of {len(said)} cases; {chance:.2f} of a vessel's voxels are of the bulge")
    assert chance < 0.5
    assert hits >= 0.75


def test_random_weights_do_not_find_the_bulge(bulge_finder, finder, aneurysms, tmp_path):
    """Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: a map must depend on what was learned."""
    hits, alike = [], []
    some = aneurysms[:8]
    trained = [explain.occlusion(finder, scan).map for scan, _ in some]
    for seed in range(4):
        proto = onnx.load(bulge_finder.model)
        randomise(proto, bulge_finder.manifest.initializers, np.random.default_rng(seed))
        onnx.save(proto, tmp_path / "random.onnx")
        predictor = Predictor(tmp_path / "random.onnx", "cpu")
        for (scan, bulge), learned in zip(some, trained, strict=True):
            found = explain.occlusion(predictor, scan)
            assert found.strongest > 0
            hits.append(on_the_bulge(found, bulge))
            vessel = scan.pixels > 0
            alike.append(spearmanr(found.map[vessel], learned[vessel]).statistic)
    print(f"random weights: {np.mean(hits):.2f} of {len(hits)} cases; rank correlation {np.mean(alike):.2f}")
    assert np.mean(hits) <= 0.5
    assert abs(np.mean(alike)) < 0.4


def randomise(proto: onnx.ModelProto, stored: dict, rng: np.random.Generator) -> None:
    """Draw all weights anew, as He et al. (2015) initialise them: std sqrt(2 / fan-in), biases 0."""
    for tensor in proto.graph.initializer:
        if stored[tensor.name].kind == "weights":
            array = numpy_helper.to_array(tensor)
            fan_in = array[0].size if array.ndim > 2 else array.shape[0]  # matrices are (inputs, outputs)
            drawn = rng.normal(0, np.sqrt(2 / fan_in), array.shape) if array.ndim > 1 else np.zeros(array.shape)
            tensor.CopyFrom(numpy_helper.from_array(drawn.astype(array.dtype), tensor.name))


# Slices and neurons


def test_what_slices_contribute_sums_to_the_logit(liquid, aneurysms):
    scan = Scan(aneurysms[0][0].pixels.repeat(2, 0))
    found, outputs = explain.slices(liquid, scan), liquid.run(scan.pixels[None])
    assert found.label == "aneurysm"
    assert found.contribution.sum() == pytest.approx(float(outputs["logits"][0, 0]), abs=1e-4)
    assert found.probabilities[:, 1] == pytest.approx(metrics.sigmoid(28 * found.contribution))
    assert found.positions[[0, -1]].tolist() == [0.5, 54.5]
    against = explain.slices(liquid, scan, target="vessel")
    assert against.contribution == pytest.approx(-found.contribution)


def test_a_trace_is_the_states_of_the_file(liquid, aneurysms):
    scan, _ = aneurysms[0]
    (found,) = explain.trace(liquid, scan)
    assert found.wiring == liquid.manifest.wiring[0]
    assert found.states.shape == (28, len(found.wiring.neurons))
    np.testing.assert_allclose(found.states, liquid.run(scan.pixels[None])["states"][0], atol=1e-5)
    assert found.positions.tolist() == list(range(28))
    assert np.ptp(found.states, axis=0).max() > 0, "the neurons do something"


def test_a_network_without_neurons_has_no_trace(finder, aneurysms):
    assert explain.trace(finder, aneurysms[0][0]) == []


# Drawings


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


# The page


def test_the_page_is_self_contained_and_escapes_names(liquid, finder, aneurysms):
    scan, _ = aneurysms[0]
    html = page(liquid, scan, "<script>x</script>")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert set(re.findall(r'(?:src|href)="(\w+:)', html)) == {"data:"}
    assert html.count("data:image/png;base64,") == 3
    assert html.count("<svg") == 3, "slices, trace, wiring"
    assert "not a medical device" in html
    assert "Neurons:" not in page(finder, scan, "here")


def test_pictures_have_the_aspect_of_the_body():
    peak = np.zeros((4, 10, 10), np.float32)
    peak[3, 2, 1] = -1
    found = SimpleNamespace(map=peak, strongest=1.0, peak=(3, 2, 1))
    drawn = pictures(Scan(np.ones((4, 10, 10), np.float32), spacing=(5.0, 1.0, 1.0)), found)
    assert [picture.caption for picture in drawn] == ["slice 4 of 4", "row 3 of 10", "column 2 of 10"]
    assert drawn[0].width == drawn[0].height
    assert drawn[1].height == 2 * drawn[1].width


def test_the_command_writes_the_page(liquid_bundle, aneurysms, tmp_path):
    np.savez(tmp_path / "scans.npz", test_images=np.stack([scan.pixels for scan, _ in aneurysms[:2]]))
    command = [sys.executable, "-m", "liquidlens", "explain", liquid_bundle.model, tmp_path / "scans.npz#test_images/1"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--out", tmp_path / "page.html"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "scans.npz#test_images/1" in (tmp_path / "page.html").read_text()
