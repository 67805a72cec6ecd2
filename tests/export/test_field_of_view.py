"""Files of models that look at a field of view in millimetres: their inputs, their answers, and what they touch."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from liquidlens import export, models
from liquidlens.errors import LiquidLensError
from liquidlens.export import triton
from liquidlens.export.checks import cost, golden, parity
from liquidlens.export.checks.audit import audit
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.graph.int8 import to_int8_static
from liquidlens.export.graph.provenance import unused_parameters
from liquidlens.export.graph.step import trace_step
from liquidlens.export.graph.trace import serialize, trace
from liquidlens.export.graph.unroll import unroll
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.serve import bench
from liquidlens.train.datasets.dataset import Placed
from liquidlens.train.loop.prepare import feeds

HU = InputContract("hu", (28, 28, 28), (-1000.0, 400.0), spacing=(1.0, 0.8, 0.8))
NAN = np.full(3, np.nan, np.float32)


def complete(contract: InputContract, name: str = "LiqExp1N2") -> CompleteModel:
    torch.manual_seed(0)
    network, front = models.build(name).eval(), Front(contract)
    scans = torch.from_numpy(golden.synthetic(contract, 12, contract.size))
    with torch.no_grad():
        score = ood.fit(network.decide(front(scans)).activations)
    return CompleteModel(front, network, 1.7, score).eval()


def blobs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Hounsfield units that vary over some millimetres, as tissue does."""
    coarse = np.random.default_rng(seed).normal(-300, 500, [n // 4 + 2 for n in shape])
    for axis, length in enumerate(shape):
        at = np.linspace(0, coarse.shape[axis] - 1, length)
        below, share = at.astype(int), at % 1
        above = np.minimum(below + 1, coarse.shape[axis] - 1)
        sides = [np.moveaxis(coarse.take(i, axis), axis, -1) * part for i, part in ((below, 1 - share), (above, share))]
        coarse = np.moveaxis(sides[0] + sides[1], -1, axis)
    return coarse.astype(np.float32)


@pytest.fixture(scope="module")
def model() -> CompleteModel:
    return complete(HU)


@pytest.fixture(scope="module")
def traced(model):
    return trace(model)


@pytest.fixture(scope="module")
def content(traced) -> bytes:
    return serialize(traced.proto, {})


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_inputs_and_what_is_stored(model, traced, content):
    inputs = {value.name: value.shape for value in session_of(content).get_inputs()}
    assert inputs == {
        "scan": ["batch", "depth", "height", "width"],
        "spacing": ["batch", 3],
        "centre": ["batch", 3],
    }
    assert {record.kind for record in traced.initializers} <= {"weights", "masks", "constants"}
    assert unused_parameters(traced.initializers, model.network) == []
    assert len(content) < 150_000


def test_real_places_in_all_profiles_equal_torch(model, traced, content):
    """Scans of several sizes with their points; parity adds borders, other spacings, defaults, and points outside."""
    rng = np.random.default_rng(1)
    scans = [
        Placed(
            blobs(shape, i),
            np.float32(rng.uniform(0.5, 2.5, 3)),
            np.float32(rng.uniform(0, 1, 3) * shape) - np.float32(0.5),
        )
        for i, shape in enumerate([(40, 60, 50), (12, 80, 80), (40, 60, 50), (90, 30, 41)])
    ]
    for file in (content, serialize(unroll(traced.proto), {})):
        found = parity.check(file, model, scans)
        assert found.max_logit_difference <= 1e-5
        assert found.changed_labels == 0
        assert found.batch_sizes == (1, 2, 7)


@pytest.mark.parametrize("values", ["grey", "mask", "relative"])
def test_other_values_equal_torch(values):
    contract = InputContract(values, (28, 28, 28), spacing=(1.2, 1.2, 1.2))
    model = complete(contract, "CNNExp1N1")
    traced = trace(model)
    assert "unexplained" not in {record.kind for record in traced.initializers}
    file = serialize(traced.proto, {})
    scans = [Placed(golden.synthetic(contract, 1, (40, 50, 60))[0], np.float32([2, 0.7, 0.7]), NAN)]
    assert parity.check(file, model, scans).max_logit_difference <= 1e-5
    assert max(golden.verify(file, golden.pack(golden.golden(model))).values()) <= 1e-4


def test_golden_answers_tell_spacing_and_centre(model, content):
    arrays = golden.golden(model)
    assert arrays["spacing"].shape == (2, 3)
    assert np.isnan(arrays["centre"][0]).all()
    assert max(golden.verify(content, golden.pack(arrays)).values()) <= 1e-4
    broken = arrays | {"centre": arrays["centre"] + 4}
    assert golden.verify(content, golden.pack(broken))["logits"] > 1e-4


def test_a_point_in_a_whole_ct_gives_the_answer_of_the_crop(model, content):
    """Crops pasted into a volume of 200 x 400 x 400, at its borders too, in one batch."""
    session = session_of(content)
    crops = [blobs((48, 64, 64), seed) for seed in range(3)]
    corners = [(0, 0, 0), (150, 300, 330), (90, 17, 200)]
    spacing = np.float32([[0.9, 0.6, 0.6], [0.8, 0.7, 0.65], [1.1, 0.7, 0.7]])
    middle = np.float32([23.5, 31.5, 31.5])
    for crop, corner, mm in zip(crops, corners, spacing, strict=True):
        whole = np.full((1, 200, 400, 400), -1000, np.float32)
        place = tuple(slice(at, at + n) for at, n in zip(corner, crop.shape, strict=True))
        whole[0][place] = crop
        alone, inside = (
            session.run(["probabilities", "ood"], {"scan": scan, "spacing": mm[None], "centre": centre[None]})
            for scan, centre in ((crop[None], middle), (whole, middle + np.float32(corner)))
        )
        assert np.abs(alone[0] - inside[0]).max() <= 1e-5
        assert np.abs(alone[1] - inside[1]).max() <= 1e-3 * alone[1].max()


def test_nothing_of_the_size_of_the_scan_is_computed(content):
    """Time and memory go with the field of view: what any node reads or gives, but for the scan itself and its view as
    one list, is as large for a whole CT as for a crop."""

    def largest(shape: tuple[int, ...]) -> int:
        feed = {"scan": np.zeros((1, *shape), np.float32), "spacing": np.ones((1, 3), np.float32), "centre": NAN[None]}
        pixels = np.prod(shape)
        executed = cost._executed(content, feed)
        sizes = [int(np.prod(one)) for _, _, outputs in executed for one in outputs]
        flattened = [operator for operator, _, outputs in executed for one in outputs if np.prod(one) == pixels]
        assert flattened == ["Reshape"], "which copies nothing"
        return max(size for size in sizes if size != pixels)

    assert largest((100, 200, 200)) == largest((64, 64, 64)) < 64**3


def test_twice_the_resolution_gives_the_same_answer(content):
    session = session_of(content)
    volume = blobs((50, 60, 60))
    fine = volume
    for axis in range(3):
        fine = halfway(fine, axis)
    middle = (np.float32(volume.shape) - 1) / 2
    coarse, finer = (
        session.run(["probabilities"], {"scan": scan[None], "spacing": np.float32([mm]), "centre": centre[None]})[0]
        for scan, mm, centre in ((volume, (1.0, 0.8, 0.8), middle), (fine, (0.5, 0.4, 0.4), 2 * middle))
    )
    assert np.abs(coarse - finer).max() <= 1e-3


def halfway(volume: np.ndarray, axis: int) -> np.ndarray:
    """A value between every two, by the mean of both: twice the resolution."""
    volume = np.moveaxis(volume, axis, 0)
    finer = np.empty((2 * len(volume) - 1, *volume.shape[1:]), volume.dtype)
    finer[::2], finer[1::2] = volume, (volume[1:] + volume[:-1]) / 2
    return np.moveaxis(finer, 0, axis)


def test_int8_is_calibrated_on_places(traced, model):
    scans = [Placed(blobs((40, 50, 50), i), np.float32([1, 0.8, 0.8]), NAN) for i in range(4)]
    converted = to_int8_static(traced.proto, feeds(scans, HU, 2))
    assert converted.converted
    file = serialize(converted.proto, {})
    feed = next(feeds(scans, HU))
    found, expected = (session_of(one).run(["probabilities"], feed)[0] for one in (file, serialize(traced.proto, {})))
    assert 0 < np.abs(found - expected).max() < 0.1


def test_slice_by_slice_is_refused(model):
    with pytest.raises(LiquidLensError, match="a field of view in millimetres, which lies in several slices"):
        trace_step(model)


def test_cost_and_bench_feed_it(content):
    spent = cost.cost(content, cost.full_scan(content, HU.size))
    assert spent.macs > 0
    feed = bench.inputs(session_of(content), HU, 3)
    assert np.isnan(feed["spacing"]).all()
    assert feed["centre"].shape == (3, 3)
    assert np.isfinite(session_of(content).run(["logits"], feed)[0]).all()


def test_the_contract_is_written_where_it_says_something():
    import pydantic

    adapter = pydantic.TypeAdapter(InputContract)
    plain = json.loads(adapter.dump_json(InputContract("mask", (28, 28, 28))))
    assert "spacing" not in plain
    written = adapter.dump_json(HU)
    assert adapter.validate_json(written) == HU


def test_the_bundle_says_what_it_sees(nodule_bundle, tmp_path):
    contract = nodule_bundle.manifest.input
    assert contract.spacing == (1.2, 1.2, 1.2)
    assert '"spacing":[1.2,1.2,1.2]' in (nodule_bundle.path / "model.json").read_text()
    card = (nodule_bundle.path / "CARD.md").read_text()
    assert "a field of view of 33.6 × 33.6 × 33.6 mm (28 × 28 × 28 voxels of 1.2 × 1.2 × 1.2 mm)" in card  # noqa: RUF001
    assert '{"scan": scan, "spacing": spacing, "centre": centre}' in card
    assert "Every scan is resized" not in card
    for path in nodule_bundle.path.glob("*.onnx"):
        assert audit(path).problems == ()
    document = nodule_bundle.document
    assert set(document.parity) == {"loop", "unrolled"}
    assert max(max(found.values()) for found in document.golden.values()) <= 1e-4
    config = triton.config(nodule_bundle.model, "nodule")
    assert [line.strip() for line in config.splitlines() if line.startswith("  name:")][:3] == [
        'name: "scan"',
        'name: "spacing"',
        'name: "centre"',
    ]
    assert config.count("dims: [3]") == 2


def test_a_run_is_not_exported_slice_by_slice(nodule_run, tmp_path):
    options = export.Options(profiles=("step",), precisions=())
    with pytest.raises(LiquidLensError, match="export it without this profile"):
        export.export(nodule_run.path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
