"""Which rule is about which series, and what a file of rules is told that is wrong."""

import pydicom
import pytest
from pydicom.dataset import Dataset

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import DEFAULT
from liquidlens.serve.node import settings
from liquidlens.serve.node.rules import MAKER, facts, first_match, headers
from liquidlens.serve.node.settings import Rule
from tests.device.node import studies
from tests.device.node.conftest import rules


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> list[Dataset]:
    return headers(studies.ct(tmp_path_factory.mktemp("ct") / "ct"), DEFAULT)


def test_facts_are_those_of_the_series(ct):
    found = facts(ct)
    heights = sorted(float(image.ImagePositionPatient[2]) for image in ct)
    assert (found.modality, found.slices, found.own) == ("CT", len(ct), False)
    assert found.slice_spacing == pytest.approx(heights[1] - heights[0], abs=1e-5)
    assert found.pixel_spacing == pytest.approx(float(ct[0].PixelSpacing[0]))


@pytest.mark.parametrize(
    ("told", "fits"),
    [
        ({}, True),
        ({"modality": ("MR", "CT")}, True),
        ({"modality": ("MR",)}, False),
        ({"body_part": "chest"}, True),
        ({"body_part": "HEAD"}, False),
        ({"description": "*lung*"}, True),
        ({"description": "lung"}, False),
        ({"image_type": ("axial",)}, True),
        ({"image_type": ("LOCALIZER",)}, False),
        ({"slices": (8, 100)}, True),
        ({"slices": (100, 1000)}, False),
        ({"slice_spacing": (0.5, 3.1)}, True),
        ({"slice_spacing": (5, 10)}, False),
        ({"pixel_spacing": (0.5, 1)}, True),
        ({"pixel_spacing": (1, 2)}, False),
    ],
)
def test_a_rule_fits_if_all_that_it_says_is_so(ct, told, fits):
    for image in ct:
        image.BodyPartExamined, image.SeriesDescription = "CHEST", "Thorax LUNG 1.0"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    rule = Rule(name="one", model="nodule", **told)
    assert first_match([rule], facts(ct)) == (rule if fits else None)


def test_the_first_rule_counts_and_none_is_about_what_a_node_made(ct):
    one, two = (Rule(name=name, model="nodule") for name in ("one", "two"))
    assert first_match([one, two], facts(ct)) == one
    own = pydicom.Dataset(ct[0])
    own.Manufacturer = MAKER
    assert first_match([one, two], facts([own])) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[node]", "[node"), "cannot be read"),
        (('name = "chest"', 'name = "nodule"'), "two rules are called nodule"),
        (("idle_seconds = 1", "idle_second = 1"), "node.idle_second: Unexpected"),
        (("idle_seconds = 1", "idle_seconds = 0"), "node.idle_seconds: Input should be greater than 0"),
        (('title = "SCANNER"', 'title = "A TITLE OF MORE THAN SIXTEEN"'), "senders.1.title"),
        (('host = "127.0.0.1"', 'host = "127.0.0.1"\ntls = true'), r"a table \[tls\]"),
        (('[archive]\ntitle = "ARCHIVE"\nhost = "127.0.0.1"\nport = 4242', ""), "reports go either to"),
        (('model = "nodule"', "model = 7"), "rules.1.model"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path, change, sentence):
    path = rules(tmp_path, 0, 4242)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(LiquidLensError, match=sentence) as error:
        settings.read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path):
    (tmp_path / "bundle").mkdir()
    path = rules(tmp_path, 0, 4242)
    path.write_text(path.read_text().replace('model = "nodule"', 'model = "bundle"'))
    told = settings.read(path)
    assert told.node.folder == tmp_path / "node"
    assert [rule.model for rule in told.rules] == ["chest-xray", str(tmp_path / "bundle")]
