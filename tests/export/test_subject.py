"""What is exported: its scores, and scans of one's own that are read once, as far as there is room for them."""

import numpy as np
import pytest
import torch

from liquidlens import models
from liquidlens.export import subject
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.subject import Kept
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.train.datasets.dataset import Decoded


def test_scores_are_those_that_the_file_gives_for_the_raw_scans():
    """Label maps hold more than 0 and their maximum, which adds to the score."""
    front = Front(InputContract("mask", (28, 28, 28)))
    network = models.build("CNNExp4N1").eval()
    scans = np.random.default_rng(0).integers(0, 3, (6, 28, 28, 28)).astype(np.uint8)
    scans[:3] = 2 * (scans[:3] > 1)
    with torch.no_grad():
        activations = network.decide(front(torch.from_numpy(scans.astype(np.float32)))).activations
        score = ood.fit(activations)
        expected = CompleteModel(front, network, 1.0, score)(torch.from_numpy(scans.astype(np.float32)))["ood"]
    found = subject._in_file(score(activations), scans, front)
    assert np.allclose(found, expected, atol=1e-5)
    assert found[3:].min() > found[:3].max() + 1


def test_scans_that_a_score_was_fitted_to_are_scored_by_others():
    """As new scans are, of which the quantile is to be true."""
    generator = torch.Generator().manual_seed(0)
    channels = torch.randn(16, 16, generator=generator)  # they go together, as those of a network do
    scans = 3 * torch.randn(480, 1, 16, generator=generator) + torch.randn(480, 4, 16, generator=generator)
    activations = (scans @ channels).relu()
    seen, new, patients = activations[:80], activations[80:], np.arange(80).astype(str)
    fitted = ood.fit(seen)
    flagged = {
        name: float((fitted(new) > np.quantile(scores, ood.QUANTILE)).float().mean())
        for name, scores in (("seen", fitted(seen)), ("others", subject._held_out(seen, patients)))
    }
    assert flagged["seen"] > 0.1
    assert flagged["others"] < 0.05
    doubled, twice = torch.cat([seen, seen]), np.concatenate([patients, patients])
    assert torch.equal(*subject._held_out(doubled, twice).chunk(2)), "both scans of a patient are held out together"


@pytest.mark.parametrize(("room", "reads"), [(2**30, [0, 1, 2]), (2 * 4 * 64, [0, 1, 2, 2])])
def test_scans_are_read_once_as_far_as_there_is_room(monkeypatch, room, reads):
    monkeypatch.setattr(subject, "KEPT", room)
    read = []

    def decode(number: int) -> np.ndarray:
        read.append(number)
        return np.full((8, 8), number, np.float32)

    scans = Kept(Decoded(range(3), decode))
    for _ in range(2):
        assert [int(scan.mean()) for scan in scans] == [0, 1, 2]
    assert read == reads
