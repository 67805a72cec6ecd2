"""Our own models: what their parts do, and what they do with volumes that hold little or nothing."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from liquidlens import models
from liquidlens.imaging import phantoms
from liquidlens.models.layers.erosions import Erosions, PooledErosions
from liquidlens.models.layers.slices import without_empty
from liquidlens.models.papers.liquidlens import _with_a_third_missing

NAMES = ("LiquidLens-S", "LiquidLens-M", "LiquidLens-CNN")


@pytest.fixture(scope="module")
def vessels() -> torch.Tensor:
    """(6, 1, 28, 28, 28), 0 or 1."""
    scans = phantoms.vessel3d(splits={"train": 6})["train_images"]
    return torch.from_numpy((scans > 127).astype(np.float32))[:, None]


def test_sizes():
    assert models.parameters("LiquidLens-CNN") < models.parameters("LiquidLens-S") <= 20_000
    assert models.parameters("LiquidLens-S") < models.parameters("LiquidLens-M") <= 60_000


def test_erosions_are_those_of_scipy(vessels):
    """By 6, 18 and 26 neighbours, also of grey volumes and at the border."""
    for volumes in (vessels, torch.rand(2, 1, 9, 10, 11)):
        found = Erosions(rounds=2)(volumes)
        assert torch.equal(found, PooledErosions(Erosions(rounds=2))(volumes))
        assert found.shape[2] == 7
        for scan, left in zip(volumes.numpy(), found.numpy(), strict=True):
            expected = [scan[0]]
            for _ in range(2):
                start = expected[-1]
                for connectivity in (1, 2, 3):
                    shape = ndimage.generate_binary_structure(3, connectivity)
                    expected.append(ndimage.grey_erosion(start, footprint=shape, mode="constant", cval=np.inf))
            assert np.array_equal(left, np.stack(expected, 1))


@pytest.mark.parametrize("empty", [(), (0,), (0, 1, 2, 5, 8), (3, 4, 5, 6), (7, 8), tuple(range(9))])
def test_empty_slices_are_left_out_and_found_again(empty):
    volumes = torch.rand(2, 1, 9, 10, 11)
    volumes[:, :, list(empty)] = 0
    left, place = without_empty(volumes)
    assert left.shape[2] == {0: 9, 1: 9, 2: 8, 4: 7, 5: 8, 9: 1}[len(empty)]
    assert torch.equal(left[:, :, place], volumes)
    erosions = Erosions(rounds=3)
    assert torch.equal(erosions(left)[:, place], erosions(volumes))


@pytest.mark.parametrize("name", NAMES)
def test_a_volume_without_a_structure_has_an_answer(name):
    torch.manual_seed(0)
    model = models.build(name).eval()
    for empty in (torch.zeros(2, 1, 28, 28, 28), torch.ones(2, 1, 28, 28, 28)):
        decision = model.decide(empty)
        assert torch.isfinite(decision.logits).all()
        assert torch.allclose(decision.logits[0], decision.logits[1])


@pytest.mark.parametrize("name", NAMES)
def test_slices_without_structure_count_for_nothing(name, vessels):
    torch.manual_seed(0)
    volumes = vessels.clone()
    volumes[:, :, :5] = 0
    slice_logits = models.build(name).eval().decide(volumes).slice_logits
    assert slice_logits[:, :5].abs().max() < 1e-3
    assert slice_logits[:, 5:].abs().amax((1, 2)).min() > 1e-2


def test_what_comes_later_changes_what_came_before(vessels):
    """The liquid layers pass a volume in both directions, so the first slice's logit knows of the last slice."""
    torch.manual_seed(0)
    model = models.build("LiquidLens-S").eval()
    states: list[torch.Tensor] = []
    model.liquid.register_forward_hook(lambda _layer, _inputs, outputs: states.append(outputs[1]))
    sharper = vessels.clone()
    sharper[:, :, 20] = vessels[:, :, 20].flip(2)  # the same voxels, elsewhere in their slice
    with torch.no_grad():
        model(vessels)
        model(sharper)
    changed = (states[0] - states[1]).abs().amax(0)
    forwards, backwards = (half.amax(1) for half in changed.chunk(2, 1))
    assert forwards[21:].max() > 1e-4
    assert backwards[:20].max() > 1e-4


def test_uneven_slices(vessels):
    """A third of the slices is missing, others in every pass of training, the same ones in every evaluation; liquid
    layers that know how far apart the others are answer differently."""
    torch.manual_seed(0)
    blind = models.build("LiquidLens-S", flags=["uneven"])
    informed = models.build("LiquidLens-S", flags=["uneven", "timespans"])
    informed.load_state_dict(blind.state_dict())
    blind, informed = blind.eval(), informed.eval()
    assert blind.decide(vessels).slice_logits.shape == (6, 19, 1)
    assert torch.equal(blind(vessels), blind(vessels))
    torch.testing.assert_close(blind(vessels.flip(0)), blind(vessels).flip(0), msg="not by its place in the batch")
    assert (blind(vessels) - informed(vessels)).abs().max() > 1e-4
    whole = models.build("LiquidLens-S").eval()
    whole.load_state_dict(blind.state_dict())
    kept, spans = _with_a_third_missing(vessels, training=False)
    assert torch.equal(whole(kept), blind(vessels))
    for volume, left, gaps in zip(vessels[:, 0], kept[:, 0], spans, strict=True):
        positions = gaps[:, 0].cumsum(0).long() - 1  # from the first slice that is left
        assert torch.equal(gaps[1:, 0], gaps[:-1, 1])
        starts = range(28 - int(positions[-1]))
        assert any(torch.equal(volume[positions + start], left) for start in starts)
    draws = [_with_a_third_missing(vessels, training=True)[1] for _ in range(2)]
    assert not torch.equal(*draws)
    with pytest.raises(ValueError, match="the flag `uneven`"):
        models.build("LiquidLens-S", flags=["timespans"])


def test_other_sizes_and_classes(vessels):
    torch.manual_seed(0)
    model = models.build("LiquidLens-S", (1, 20, 40, 36), 3).eval()
    decision = model.decide(F.interpolate(vessels, (20, 40, 36)))
    assert decision.logits.shape == (6, 3)
    assert decision.slice_logits.shape == (6, 20, 3)
    with pytest.raises(ValueError, match="read grey volumes, not 3 channels"):
        models.build("LiquidLens-S", (3, 28, 28, 28))
    with pytest.raises(ValueError, match="slices of 3 x 28 pixels are too small"):
        models.build("LiquidLens-S", (1, 28, 3, 28))
