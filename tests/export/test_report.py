"""The pages for people: complete, self-contained, and safe whatever a dataset calls its labels."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from ncps.wirings import AutoNCP, FullyConnected

from liquidlens.drawing import wiring as drawing_wiring
from liquidlens.export import facts
from liquidlens.export.pages import caveats, drawing, numbers
from liquidlens.export.pages.numbers import DASH
from liquidlens.export.pages.report import audit_html, model_card
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
        calibration=facts.Calibration(
            1.63, "lowers the loss of validation scans that it was not fitted to", before, after
        ),
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


class Page(HTMLParser):
    """Reads a page and fails where a tag is closed that is not open, or stays open."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("code", "span", "strong"):
            self.words.append(" ")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything a reader sees, words parted by single spaces."""
        return " ".join("".join(self.words).split())


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def front_matter(card: str) -> dict:
    _, matter, _ = card.split("---\n", 2)
    return yaml.safe_load(matter)


def test_the_page_shows_what_the_document_holds():
    whole = document()
    html = audit_html(whole)
    text = Page(html).text
    for tensor in whole.audit.initializers:
        assert tensor.name in text
        assert tensor.how in text
    for variant in whole.variants:
        assert {variant.precision, variant.file or "rejected"} <= set(text.split())
    for shown in (
        *(
            "0.867",
            f"0.806{DASH}0.916",
            "37,265",
            "11,911",
            "1.21 ms",
            "113 kB",
            "5,824,704",
            "0.231",
            "1.630",
            "max_epochs",
        ),
        *(
            "191 scans, 22 of them “aneurysm”",
            "382 scans, 43 of them “aneurysm”",
            "inter → command 48",
            whole.audit.sha256,
        ),
        *(
            whole.manifest["provenance"]["dataset_md5"],
            whole.choice.reasons[-1],
            "Research software, not a medical device.",
        ),
    ):
        assert shown in text, shown
    assert headings(html) == [
        "Decision", "Precision variants", "Calibration", "Operating point", "Parameters", "Cost per scan", "Wiring",
        "Initializers", "Operators", "Parity", "Limits", "Provenance",
    ]  # fmt: skip


def test_the_page_needs_nothing_from_elsewhere():
    html = audit_html(document())
    assert not {tag for tag, _ in Page(html).tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    for forbidden in ("http:", "https:", "//", "url(", "@import", "javascript:"):
        assert forbidden not in html, forbidden
    for _, attributes in Page(html).tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href")}


HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|x|"


def test_no_label_or_name_becomes_markup():
    """A dataset's labels and name are whatever its maker wrote; so are the names of a foreign file's tensors."""
    tensor = initializer(HOSTILE, "unexplained", "float32", (1,), 4, (HOSTILE,), HOSTILE)
    wired = layer(AutoNCP(21, 1)).model_copy(update={"layer": HOSTILE, "by_type": {HOSTILE: 1}})
    found = audit(
        file=HOSTILE,
        model=HOSTILE,
        initializers=(tensor,),
        operators={HOSTILE: 1},
        opset={HOSTILE: 1},
        problems=(HOSTILE,),
        notes=(HOSTILE,),
        synapses=(wired,),
        bytes_by_class={HOSTILE: 4},
    )
    provenance = {**manifest()["provenance"], "dataset": HOSTILE, "recipe": HOSTILE, "changes": {HOSTILE: HOSTILE}}
    named = manifest(labels=["a", HOSTILE], model=HOSTILE, paper=HOSTILE, flags=[HOSTILE], provenance=provenance)
    hostile = document(manifest=named, audit=found, environment={HOSTILE: HOSTILE})
    for html in (audit_html(hostile), audit_html(found)):
        page = Page(html)
        assert {tag for tag, _ in page.tags} == {tag for tag, _ in Page(html.replace(HOSTILE, "")).tags}
        assert not {"script", "img"} & {tag for tag, _ in page.tags}
        assert HOSTILE not in html
        assert page.text.count("<script>alert(1)</script>") > 8, "it is shown, as text"

    card = model_card(hostile)
    assert front_matter(card)["model-index"][0]["name"] == HOSTILE
    prose = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", card.split("---\n", 2)[2])  # code shows everything as it is
    assert not re.search(r"<[a-z/]", prose)
    assert "&lt;script\\>" in prose
    broken = document(manifest=manifest(labels=["a", "b\n## Intended use\n\n---\n<b>"]))
    assert len(re.findall(r"(?m)^## Intended use", model_card(broken))) == 1


def test_a_foreign_file_has_the_sections_that_it_can_fill():
    foreign = audit(
        file="resnet.onnx",
        model=None,
        initializers=(initializer("fc.weight", "unexplained", "float32", (25_610_152,), 4 * 25_610_152, (), ""),),
        parameters=None,
        cost=None,
        synapses=(),
        problems=("The initializer fc.weight is unexplained.",),
        notes=("It carries no manifest, so nothing could be compared with one.",),
    )
    html = audit_html(foreign)
    assert headings(html) == ["Problems", "Notes", "Parameters", "Initializers", "Operators"]
    text = Page(html).text
    for shown in ("resnet.onnx", "1 problem", "25,610,152", foreign.problems[0], foreign.notes[0]):
        assert shown in text
    assert "sound" not in text
    assert "sound" in Page(audit_html(audit())).text


def test_optional_parts_may_be_missing():
    never_written = facts.Variant(precision="int8-static", left={}, rejected="nothing was converted")
    bare = document(
        calibration=None,
        parity={},
        operating={},
        variants=(variants()[0], never_written),
        environment={},
        audit=audit(synapses=(), cost=None),
    )
    html = audit_html(bare)
    assert "nan" not in Page(html).text.lower().split()
    assert "nothing was converted." in html
    assert "Latency against file size" not in html, "a chart of one dot"
    card = model_card(bare)
    assert "The probabilities were not calibrated." in card
    assert "- There is no test AUC." in card
    assert "model-index" not in front_matter(card)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (
            {
                "labels": ["red", "green", "blue"],
                "input": {"values": "grey", "size": [32, 32], "channels": 3},
                "operating": {"threshold": 0.5, "rule": "the likeliest class", "abstain_margin": 0.2},
            },
            "less than 0.200 apart",
        ),
        (
            {
                "labels": ["effusion", "nodule"],
                "task": "multi-label",
                "input": {"values": "grey", "size": [224, 224]},
                "operating": {"threshold": 0.5, "rule": "0.5 for each label"},
            },
            "A label applies where its probability exceeds 0.500",
        ),
    ],
)
def test_models_of_other_tasks(changes, shown):
    other = document(manifest=manifest(**changes))
    assert shown in Page(audit_html(other)).text
    assert shown in model_card(other)
    assert caveats.positives(other) is None


def test_the_card_has_what_people_and_hubs_look_for():
    card = model_card(document())
    matter = front_matter(card)
    assert (matter["library_name"], matter["pipeline_tag"]) == ("onnx", "image-classification")
    assert "liquid-neural-networks" in matter["tags"]
    assert "license" not in matter, "nobody stated one for the weights"
    result = matter["model-index"][0]["results"][0]
    assert {m["type"]: m["value"] for m in result["metrics"]}["roc_auc"] == pytest.approx(0.867)
    assert re.findall(r"(?m)^## (.*)", card) == [
        "Model details", "Intended use", "Not for clinical use", "Training data", "Evaluation",
        "Calibration and operating point", "Out-of-distribution flag", "Limits", "Files", "Provenance", "How to run",
    ]  # fmt: skip
    assert f"| Test | AUC | 0.867 | 0.806{DASH}0.916 |" in card
    assert "Answers: `vessel`, `aneurysm`." in card
    for variant in document().variants[:3]:
        assert f"- `{variant.file}`: {variant.precision}, " in card


def test_the_card_runs_as_it_says():
    """The lines under "How to run" are Python, and name outputs that every file has."""
    (lines,) = re.findall(r"(?s)```python\n(.*?)```", model_card(document()))
    compile(lines, "card", "exec")
    assert len(lines.splitlines()) == 3
    assert '["probabilities", "ood"]' in lines


def test_limits_follow_from_the_facts():
    usual = " ".join(caveats.limits(document()))
    for sentence in (
        "binary mask",
        "one dataset, vesselmnist3d",
        "Only 43 of 382 test scans are “aneurysm”",
        "max_epochs 40",
    ):
        assert sentence in usual
    assert "Always answering “vessel” would be right on 88.7" in usual
    assert "no better than chance" not in usual
    assert "chosen on the test scans" not in usual

    chance = dataclasses.replace(document().operating["test"], figures={"auc": facts.Interval(0.55, 0.48, 0.61)})
    assert "no better than chance" in " ".join(caveats.limits(document(operating={"test": chance})))
    good = {"auc": facts.Interval(0.95, 0.93, 0.97), "accuracy": facts.Interval(0.95, 0.93, 0.97)}
    sure = dataclasses.replace(document().operating["test"], figures=good)
    found = " ".join(caveats.limits(document(operating={"test": sure})))
    assert "Always answering" not in found
    assert "uncertain" not in found

    provenance = {**manifest()["provenance"], "validated_on_test": True, "dataset": "phantom-vessel3d"}
    kth = document(manifest=manifest(provenance=provenance))
    assert caveats.limits(kth)[0].startswith(
        "The weights, the temperature and the thresholds were chosen on the test scans"
    )
    assert "synthetic" in caveats.limits(kth)[1]
    assert "chosen on test scans" in model_card(kth)
    assert "Validation (the test scans)" in Page(audit_html(kth)).text


@pytest.mark.parametrize(
    ("wired", "dense"),
    [(AutoNCP(21, 1), False), (AutoNCP(32, 14), False), (FullyConnected(7, 1), True), (AutoNCP(152, 4), True)],
)
def test_wirings_are_lines_or_a_matrix_with_every_synapse(wired, dense):
    drawn = layer(wired)
    picture = str(drawing_wiring.wiring(drawn))
    assert drawing_wiring.dense(drawn) == dense
    signs = "".join(drawn.recurrent)
    if dense:
        paths = re.findall(r'd="(.*?)" class="cell (\w+)"', picture)
        assert {kind: path.count("z") for path, kind in paths} == {
            "excites": signs.count("+"),
            "inhibits": signs.count("-"),
        }
    else:
        assert picture.count('class="synapse excites"') == signs.count("+")
        assert picture.count('class="synapse inhibits"') == signs.count("-")
        assert picture.count("<circle") == len(drawn.neurons)
        assert picture.count('class="sensory"') == sum(n > 0 for n in drawn.sensory_fan_in)
        # Everything is inside the picture.
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', picture).groups())
        for x, y in re.findall(r'cx="(\S+)" cy="(\S+)"', picture):
            assert 0 < float(x) < width
            assert 0 < float(y) < height


def test_synapses_of_a_cfc_are_not_called_excitatory():
    cfc = layer(AutoNCP(21, 1)).model_copy(update={"cell": "CfC"})
    text = Page(audit_html(audit(synapses=(cfc,)))).text
    assert "without sign" in text
    assert "excite" not in text


def test_charts_place_dots_by_value():
    one = facts.Reliability(0.1, 0.1, (facts.Bin(0.0, 0.0, 9), facts.Bin(1.0, 1.0, 1), facts.Bin(0.5, 0.0, 0)))
    chart = str(drawing.reliability(one, None, "p", "share"))
    dots = [tuple(map(float, found)) for found in re.findall(r'cx="(\S+)" cy="(\S+)" r="(\S+)"', chart)]
    (frame,) = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" class="frame"', chart)
    x, y, width, height = map(float, frame)
    assert [dot[:2] for dot in dots] == [(x, y + height), (x + width, y)], "empty bins have no dot"
    assert dots[0][2] > dots[1][2], "more scans, a larger dot"

    chart = str(drawing.latency(variants(), 1))
    places = {
        kind: tuple(map(float, xy)) for *xy, kind in re.findall(r'cx="(\S+)" cy="(\S+)" .*?class="dot (\w+)"', chart)
    }
    assert places["recommended"][0] > places["rejected"][0], "fp32 is the largest"
    assert places["recommended"][1] > places["rejected"][1], "and the fastest, which is further down"
    assert drawing.latency(variants()[:1], 1) is None
    assert drawing.interval(facts.Interval(math.nan, math.nan, math.nan)) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (numbers.size(512), "512 B"),
        (numbers.size(113_325), "113 kB"),
        (numbers.size(999_499), "999 kB"),
        (numbers.size(999_500), "1.00 MB"),
        (numbers.milliseconds(1.2149), "1.21 ms"),
        (numbers.milliseconds(0.0412), "0.0412 ms"),
        (numbers.milliseconds(1234.5), "1,234 ms"),
        (numbers.difference(3.14e-6), f"3.1{numbers.TIMES}10⁻⁶"),
        (numbers.difference(0.0083), "0.0083"),
        (numbers.difference(0), "0"),
        (numbers.number("Infinity"), "∞"),
        (numbers.number(math.nan), DASH),
        (numbers.rule("0.5"), "fixed beforehand"),
        (
            numbers.rule("sensitivity=0.95"),
            "the highest threshold that finds at least 95.0 % of the positive validation scans",
        ),
    ],
)
def test_numbers_as_people_read_them(found, expected):
    assert found.replace("\N{NO-BREAK SPACE}", " ") == expected
