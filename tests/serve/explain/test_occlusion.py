"""Explanations: exact where they can be, and of sense where a phantom tells what to find."""

import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy.stats import spearmanr

from liquidlens import metrics
from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, phantoms
from liquidlens.serve import explain
from liquidlens.serve.predict.predictor import Predictor
from tests.serve.explain.conftest import SEED, SPLITS


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


def test_the_grid_refuses_scans_of_another_rank(liquid):
    for explanation in (explain.occlusion, explain.slices, explain.trace):
        with pytest.raises(LiquidLensError, match="LiqExp1N2 reads a volume, and this scan is 28 x 28"):
            explanation(liquid, Scan(np.ones((28, 28), np.float32)))


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
