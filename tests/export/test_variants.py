"""The choice among precision variants, and what disqualifies one."""

from dataclasses import replace

import numpy as np
import pytest

from liquidlens import export, train
from liquidlens.export.facts import Interval, Variant
from liquidlens.export.measure.variants import choose, why_flagged, why_rejected
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.train import datasets


def variant(precision, size, fastest, auc=0.9, rejected=None) -> Variant:
    figures = {"val": {"auc": Interval(auc, auc - 0.02, auc + 0.02)}}
    return Variant(
        precision=precision,
        file="file",
        bytes=size,
        left={},
        rejected=rejected,
        milliseconds={1: fastest},
        fastest_milliseconds=fastest,
        figures=figures,
    )


FP32 = variant("fp32", 1000, 1.0)


@pytest.mark.parametrize(
    ("others", "recommended", "reason"),
    [
        ([], "fp32", "fp32 is recommended"),
        ([variant("fp16", 600, 1.05)], "fp16", "the smallest that is not slower"),
        ([variant("fp16", 600, 1.2)], "fp32", "no other variant is enough faster"),
        ([variant("fp16", 700, 1.0)], "fp32", "no other variant is enough faster"),
        ([variant("fp16", 600, 1.0), variant("int8-static", 900, 0.5)], "int8-static", "the fastest"),
        ([variant("fp16", 600, 1.0), variant("int8-static", 300, 0.5, auc=0.89)], "fp16", "more AUC than allowed"),
        ([variant("int8-static", 300, 0.5, rejected="its accuracy is lower")], "fp32", "rejected, its accuracy"),
        ([variant("int8-static", 300, 0.5, auc=float("nan"))], "fp32", "more AUC than allowed"),
    ],
)
def test_the_rule(others, recommended, reason):
    choice = choose([FP32, *others], auc_budget=0.005)
    assert choice.recommended == recommended
    assert any(reason in sentence for sentence in choice.reasons), choice.reasons


def test_a_larger_budget_lets_more_pass():
    worse = variant("int8-static", 300, 0.5, auc=0.89)
    assert choose([FP32, worse], auc_budget=0.02).recommended == "int8-static"
    slower = replace(worse, fastest_milliseconds=1.2)
    assert choose([FP32, slower], auc_budget=0.02).recommended == "fp32"


def test_a_variant_that_flags_usual_scans_is_rejected():
    assert "90% of the validation scans" in why_flagged(0.9, 0.01)
    assert why_flagged(0.05, 0.01) is None


@pytest.fixture(scope="module")
def cnn_bundle(tmp_path_factory) -> export.Bundle:
    """CNNExp1N1 with all its variants: nearly all of its bytes are in matrix products."""
    folder = tmp_path_factory.mktemp("cnn")
    changes = {"max_epochs": 2}
    run = train.train("CNNExp1N1", "phantom-vessel3d", "quick", changes=changes, runs=folder, progress=False)
    return export.export(run.path, folder / "bundle", export.Options(calibration_scans=32))


def test_every_variant_is_measured_and_sound(cnn_bundle):
    variants = {found.precision: found for found in cnn_bundle.document.variants}
    assert list(variants) == ["fp32", "fp16", "int8-dynamic", "int8-static"]
    fp32 = variants["fp32"]
    assert fp32.max_logit_difference <= 1e-4 < variants["int8-static"].max_logit_difference
    assert fp32.bytes >= 3 * variants["int8-dynamic"].bytes
    assert variants["fp16"].max_probability_difference <= 5e-3
    assert variants["int8-dynamic"].converted == {"MatMul": 2}
    scans = datasets.load("phantom-vessel3d").scans["test"][:40]
    expected = Predictor(cnn_bundle.path / fp32.file).run(scans)["probabilities"]
    for found in variants.values():
        assert found.rejected is None
        predictor = Predictor(cnn_bundle.path / found.file)
        assert predictor.manifest.precision == found.precision
        difference = np.abs(predictor.run(scans)["probabilities"] - expected).max()
        assert difference <= found.max_probability_difference + 1e-6
        # A sigmoid is nowhere steeper than 1/4.
        assert found.max_probability_difference <= (found.max_logit_difference + fp32.max_logit_difference) / 4 + 1e-6
        assert abs(found.figures["test"]["auc"].value - fp32.figures["test"]["auc"].value) < 0.02
        assert found.figures["test"]["auc"].low < found.figures["test"]["auc"].value < found.figures["test"]["auc"].high
    assert [found.precision for found in variants.values() if found.recommended] == [cnn_bundle.manifest.precision]
    assert cnn_bundle.document.audit.problems == ()


def test_a_variant_that_ruins_the_model_is_rejected(cnn_bundle):
    """Answers that are clearly less accurate, and answers that are not numbers."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    good = np.where(rng.random(300) < 0.9, labels, 1 - labels)
    reference = np.stack([1 - 0.9 * good, 0.9 * good], 1)
    manifest = cnn_bundle.manifest
    assert why_rejected(manifest, labels, reference, reference) is None
    assert "below that of fp32" in why_rejected(manifest, labels, reference, np.full_like(reference, 0.5))
    assert "not numbers" in why_rejected(manifest, labels, reference, np.full_like(reference, np.nan))


def test_a_variant_that_changes_nothing_is_rejected(tmp_path):
    """Of a network of convolutions alone int8-dynamic has nothing to convert."""
    changes = {"max_epochs": 1, "subset": 64}
    run = train.train("MNIST-CNN", "phantom-cxr", "quick", changes=changes, runs=tmp_path, progress=False)
    options = export.Options(precisions=("int8-dynamic",))
    bundle = export.export(run.path, tmp_path / "bundle", options)
    found = bundle.document.variants[1]
    assert found.file is None
    assert found.rejected.startswith("nothing was converted (2 Conv: no fast kernel")
    assert not (bundle.path / "model-int8-dynamic.onnx").exists()
    assert bundle.manifest.precision == "fp32"
