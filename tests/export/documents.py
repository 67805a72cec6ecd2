"""What pages are written from, for their tests: the document of an export of LiqExp1N2, and its parts."""

import dataclasses
import json
import math

import numpy as np
from ncps.wirings import AutoNCP

from liquidlens.export import facts
from liquidlens.manifest import Manifest

SHAPES = {
    "network.trunk.0.weight": (6, 1, 5, 5),
    "network.trunk.0.bias": (6,),
    "network.trunk.3.weight": (16, 6, 3, 3),
    "network.trunk.3.bias": (16,),
    "network.head.steps.0.layer.sensory_offset": (12, 218, 1),
    "network.head.steps.0.layer.sensory_gain": (12, 218, 1),
    "network.head.steps.0.layer.sensory_weight": (12, 2, 218),
    "network.head.steps.0.layer.gain": (21, 63),
    "network.head.steps.0.layer.offset": (63,),
    "network.head.steps.0.layer.weight": (63, 42),
    "network.head.steps.0.layer.leak": (42,),
}


def initializer(name, kind, dtype, shape, size, sources, how) -> facts.Initializer:
    return facts.Initializer(
        name=name, digest="0" * 32, kind=kind, dtype=dtype, shape=shape, bytes=size, sources=sources, how=how
    )


def initializers() -> tuple[facts.Initializer, ...]:
    """Those of LiqExp1N2: weights as trained and folded, index tables, constants."""
    found = []
    for name, shape in SHAPES.items():
        layer, _, table = name.rpartition(".")
        folded = "steps" in name
        sources = (f"{layer}.sensory_sigma", f"{layer}.input_w") if folded else (name,)
        how = f"{table} of the folded layer, by synapse" if folded else "as trained"
        found.append(initializer(name, "weights", "float32", shape, 4 * math.prod(shape), sources, how))
    found += [
        initializer("val_101", "masks", "int64", (2616,), 20928, (), "inputs that the inter neurons read"),
        initializer("val_114", "masks", "int64", (21,), 168, (), "where sensory sums go"),
        initializer("ood.center", "constants", "float32", (32,), 128, (), "mean description of training scans"),
        initializer("ood.whitening", "constants", "float32", (32, 32), 4096, (), "of the out-of-distribution score"),
        initializer("val_146", "constants", "float32", (), 4, (), "temperature"),
        initializer("val_82", "constants", "int64", (4,), 32, (), "shape of Reshape"),
    ]
    return tuple(found)


def layer(wired, features=400, name="head.steps.0.layer") -> facts.Synapses:
    wired.build(features)
    kinds = "".join(wired.get_type_of_neuron(k)[0] for k in range(wired.units))
    signs = {1: "+", -1: "-", 0: "."}
    recurrent = tuple("".join(signs[int(sign)] for sign in row) for row in wired.adjacency_matrix)
    fan_in = tuple(int(n) for n in (wired.sensory_adjacency_matrix != 0).sum(0))
    by_type: dict[str, int] = {}
    words = {"i": "inter", "c": "command", "m": "motor"}
    for end, count in enumerate(fan_in):
        if count:
            key = f"sensory -> {words[kinds[end]]}"
            by_type[key] = by_type.get(key, 0) + count
    for start, row in enumerate(recurrent):
        for end, sign in enumerate(row):
            if sign != ".":
                key = f"{words[kinds[start]]} -> {words[kinds[end]]}"
                by_type[key] = by_type.get(key, 0) + 1
    return facts.Synapses(
        layer=name,
        cell="LTC",
        output="states",
        features=features,
        neurons=kinds,
        sensory_fan_in=fan_in,
        recurrent=recurrent,
        by_type=by_type,
    )


def audit(**changes) -> facts.FileAudit:
    tensors = initializers()
    by_class = {kind: sum(t.bytes for t in tensors if t.kind == kind) for kind in ("weights", "masks", "constants")}
    by_class |= {"unexplained": 0, "metadata": 3120, "graph": 15480}
    whole = facts.FileAudit(
        file="model.onnx",
        bytes=sum(by_class.values()),
        sha256="5c" * 32,
        model="LiqExp1N2",
        opset={"": 20},
        operators={"Gather": 9, "MatMul": 6, "Reshape": 11, "Mul": 21, "Add": 18, "Conv": 2, "Scan": 1, "Gemm": 12},
        initializers=tensors,
        bytes_by_class=by_class,
        parameters=facts.Parameters(
            published=37265,
            trainable=37265,
            effective=11_911,
            stored=sum(math.prod(shape) for shape in SHAPES.values()),
        ),
        cost=facts.Cost(
            nodes=7_412,
            macs=5_824_704,
            sigmoids=83_832,
            tanhs=0,
            by_operator={
                "Conv": (2, 4_838_400),
                "Gemm": (336, 666_792),
                "MatMul": (6, 319_512),
                "Sigmoid": (169, 0),
                "Mul": (1_220, 0),
                "Add": (1_010, 0),
                "Div": (168, 0),
                "Slice": (336, 0),
                "Gather": (9, 0),
                "Reshape": (11, 0),
                "MaxPool": (2, 0),
            },
        ),
        synapses=(layer(AutoNCP(21, 1)),),
        problems=(),
        notes=(),
    )
    return dataclasses.replace(whole, **changes)


def around(value: float, width: float) -> facts.Interval:
    return facts.Interval(value, max(0, value - width), min(1, value + 0.8 * width))


def reliability(scans: int, positives: int, sharpness: float) -> facts.Reliability:
    """Bins of a model whose probabilities are too extreme by `sharpness`; shares times counts are whole."""
    counts = np.round(scans * np.array([0.58, 0.17, 0.07, 0.04, 0.03, 0.02, 0.02, 0.02, 0.02, 0.03])).astype(int)
    counts[0] += scans - counts.sum()
    shares = np.array([0.01, 0.05, 0.15, 0.2, 0.35, 0.5, 0.5, 0.6, 0.75, 0.85])
    found = np.round(shares * counts).astype(int)
    found[0] += positives - found.sum()
    middles = (np.arange(10) + 0.5) / 10
    means = np.clip(0.5 + (middles - 0.5) * sharpness, 0.01, 0.99)
    bins = tuple(facts.Bin(float(m), float(f / n), int(n)) for m, f, n in zip(means, found, counts, strict=True))
    return facts.Reliability(0.02 + 0.06 * (sharpness - 1), 0.067 + 0.02 * (sharpness - 1), bins)


def variant(*values) -> facts.Variant:
    """A variant from the values of all its fields, in their order."""
    return facts.Variant(**dict(zip((field.name for field in dataclasses.fields(facts.Variant)), values, strict=True)))


def variants() -> tuple[facts.Variant, ...]:
    figures = {split: {"auc": around(0.867, 0.061), "accuracy": around(0.898, 0.031)} for split in ("val", "test")}
    worse = {split: {"auc": around(0.812, 0.071), "accuracy": around(0.885, 0.031)} for split in ("val", "test")}
    scan = "ONNX Runtime quantizes no operators inside an ONNX Scan"
    return (
        variant(
            *("fp32", "model.onnx", 113_325, {}, {}, None, True, 18.2, {1: 1.21, 32: 17.9}, 1.1, figures),
            *(4e-7, 0, 0, 0.01),
        ),
        variant(
            "fp16",
            "model-fp16.onnx",
            69_412,
            {"initializers": 12},
            {},
            None,
            False,
            19.0,
            {1: 1.27, 32: 18.3, 256: 143.0},
            1.27,
            figures,
            2.1e-4,
            4.1e-5,
            0,
            0.01,
        ),
        variant(
            "int8-dynamic",
            "model-int8-dynamic.onnx",
            84_120,
            {"MatMul": 2},
            {"Gemm": (3, scan), "Conv": (2, "dynamic quantization of convolutions is slower")},
            None,
            False,
            21.4,
            {1: 1.58, 32: 22.0, 256: 171.0},
            1.58,
            figures,
            3.4e-2,
            8.3e-3,
            2,
            0.02,
        ),
        variant(
            "int8-static",
            None,
            91_733,
            {"Conv": 2, "MatMul": 2},
            {"Gemm": (3, scan)},
            "its accuracy on validation is between 0.010 and 0.060 below that of fp32",
            False,
            24.9,
            {1: 1.61, 32: 24.2, 256: 188.0},
            1.61,
            worse,
            0.81,
            0.19,
            21,
            0.03,
        ),
    )


def manifest(**changes) -> dict:
    whole = {
        "format": 1,
        "model": "LiqExp1N2",
        "paper": "hse-2024",
        "flags": [],
        "task": "classes",
        "labels": ["vessel", "aneurysm"],
        "input": {"values": "mask", "size": [28, 28, 28], "window": None, "channels": 1, "mean": 0.0, "std": 1.0},
        "precision": "fp32",
        "profile": "loop",
        "operating": {
            "threshold": 0.231,
            "rule": "youden",
            "abstain": [0.142, 0.401],
            "abstain_margin": None,
        },
        "temperature": 1.63,
        "out_of_distribution": {"threshold": 1.934, "quantile": 0.99},
        "parameters": {"published": 37265, "trainable": 37265, "effective": 11911, "stored": 15595},
        "metrics": {"val": {"auc": 0.881}, "test": {"auc": 0.867}},
        "provenance": {
            "dataset": "vesselmnist3d",
            "dataset_md5": "2ba5b80617d705141f3f85627108fce8",
            "recipe": "quick",
            "changes": {"max_epochs": 40},
            "validated_on_test": False,
            "seed": 0,
            "weights": "best",
            "weights_sha256": "9b" * 32,
            "versions": {"python": "3.11.9", "torch": "2.13.0", "ncps": "1.0.1", "onnx": "1.23.2"},
        },
        "initializers": {},
        "graph_digest": "7a" * 32,
    }
    return json.loads(Manifest.model_validate({**whole, **changes}).to_json())


def document(**changes) -> facts.Document:
    before = {"val": reliability(191, 22, 1.5), "test": reliability(382, 43, 1.5)}
    after = {"val": reliability(191, 22, 1.0), "test": reliability(382, 43, 1.0)}
    loop = facts.Parity(
        191,
        ((14, 14, 14), (28, 28, 28), (56, 56, 56)),
        (1, 2, 7, 64),
        3.1e-6,
        {"logits": 3.1e-6, "probabilities": 6.0e-7, "ood": 2.4e-6, "slice_logits": 5.5e-6, "states": 8.2e-7},
        0,
    )
    whole = facts.Document(
        golden={"model.onnx": {"logits": 2.0e-6}},
        manifest=manifest(),
        parity={"loop": loop, "unrolled": dataclasses.replace(loop, max_logit_difference=2.9e-6)},
        calibration=facts.Calibration(1.63, "lowers the loss of scans that it was not fitted to", before, after),
        operating={
            "val": facts.Operating(
                {
                    "auc": around(0.881, 0.07),
                    "accuracy": around(0.901, 0.04),
                    "sensitivity": around(0.818, 0.18),
                    "specificity": around(0.911, 0.04),
                },
                0.91,
                0.931,
            ),
            "test": facts.Operating(
                {
                    "auc": around(0.867, 0.061),
                    "accuracy": around(0.893, 0.031),
                    "sensitivity": around(0.744, 0.14),
                    "specificity": around(0.912, 0.03),
                },
                0.903,
                0.925,
            ),
        },
        variants=variants(),
        choice=facts.Choice(
            "fp32",
            "Of the variants whose validation AUC is at most 0.005 below that of fp32: the fastest, if it is at least "
            "1.1 times as fast; else the smallest, if it is at least 1.5 times smaller and not slower; else fp32.",
            (
                "fp16: 1.63x smaller, 0.95x the speed, AUC +0.0000.",
                "int8-dynamic: 1.35x smaller, 0.77x the speed, AUC +0.0000.",
                "int8-static: rejected, its accuracy on validation is between 0.010 and 0.060 below that of fp32.",
                "fp32 is recommended: no other variant is enough faster, or enough smaller and not slower.",
            ),
        ),
        audit=audit(),
        environment={"onnxruntime": "1.31.1", "threads": "1"},
    )
    return dataclasses.replace(whole, **changes)
