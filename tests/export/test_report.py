"""The pages for people: complete, self-contained, and safe whatever a dataset calls its labels."""

import dataclasses
import math
import re
from html.parser import HTMLParser

import pytest
import yaml
from ncps.wirings import AutoNCP, FullyConnected

from liquidlens.drawing import wiring as drawing_wiring
from liquidlens.export import facts
from liquidlens.export.pages import caveats, drawing, numbers
from liquidlens.export.pages.numbers import DASH
from liquidlens.export.pages.report import audit_html, model_card
from tests.export.documents import audit, document, initializer, layer, manifest, variants


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


def test_a_cross_validated_model_has_no_validation_scans():
    """Its card does not speak of any, and says what its figures were chosen on."""
    provenance = {**manifest()["provenance"], "cross_validated": True}
    found = document(manifest=manifest(provenance=provenance))
    before, after = ({"test": of["test"]} for of in (found.calibration.before, found.calibration.after))
    calibration = dataclasses.replace(found.calibration, before=before, after=after)
    whole = dataclasses.replace(found, operating={"test": found.operating["test"]}, calibration=calibration)
    for text in (model_card(whole), Page(audit_html(whole)).text):
        assert "validation scans" not in text.replace("cross-validation", "")
        assert "out-of-fold answers that its figures are of" in text
    assert "test scans" not in model_card(whole).partition("## Limits")[0]
    assert "all of its scans. Weights: those of the last epoch" in model_card(whole)
    few = manifest(provenance={**provenance, "changes": {"subset": 40}})
    assert "a subset of its scans." in model_card(dataclasses.replace(whole, manifest=few))


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
            "the highest threshold that finds at least 95.0 % of the positive scans",
        ),
    ],
)
def test_numbers_as_people_read_them(found, expected):
    assert found.replace("\N{NO-BREAK SPACE}", " ") == expected
