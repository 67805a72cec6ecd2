"""Every attack of the corpus ends as it is stated to end, in little memory, and leaves nothing behind.

`python -m tests.attacks` prints the same with the exact times.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from liquidlens.imaging import Scan
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.explain.page import page
from liquidlens.serve.predict.predictor import Predictor
from tests.attacks.attack import SECRET, Attack, corpus
from tests.attacks.corpus import model_manifest
from tests.attacks.harness import Harness

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

#: No attack needs a tenth of these seconds on an idle machine.  The memory is firm.
SECONDS, MEGABYTES = 60, 1000


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def everything_in(folder: Path) -> dict[str, int]:
    """All that lies in a folder, by name, with the time of its last change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("attack", list(corpus()), ids=str)
def test_an_attack_ends_as_stated(attack: Attack, harness: Harness, tmp_path: Path):
    source = attack.make(tmp_path)
    before = everything_in(tmp_path)
    outcome = harness.open(attack.opener, source)
    assert outcome.died is None
    assert attack.ends.problem(outcome.answers) is None
    assert outcome.seconds < SECONDS
    assert outcome.megabytes < MEGABYTES
    assert everything_in(tmp_path) == before, "something was written, by a pickle perhaps"
    for answer in outcome.answers:
        words = " ".join((answer.error or "", *answer.rest)).replace(str(tmp_path), "")
        assert SECRET not in words, "that is a patient's name"
    for error in (answer.error for answer in outcome.answers if answer.error is not None):
        assert not any(ord(letter) < 32 for letter in error), "a sentence has one line, and no commands to a terminal"
        assert error.rstrip().endswith(".")


def test_attacks_have_names_of_their_own():
    names = [attack.name for attack in corpus()]
    assert len(set(names)) == len(names) > 200


def test_labels_and_names_that_are_scripts_are_escaped_on_a_page(tmp_path):
    """The page of `liquidlens explain`; those of the demo are tested with the demo."""
    (attack,) = (attack for attack in model_manifest.ATTACKS if "scripts" in attack.name)
    predictor = Predictor(attack.make(tmp_path), "cpu", threads=1)
    vessel = Scan(vessel3d(splits={"test": 1})["test_images"][0].astype(np.float32))
    shown = page(predictor, vessel, f"{model_manifest.SCRIPT}.npy")
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script" not in shown
