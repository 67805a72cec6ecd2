"""Our networks for grey values: their sizes, what their parts do, and their twins."""

import pytest
import torch

from liquidlens import models
from liquidlens.models.layers.sequences import TWINS, both_ways, passed
from liquidlens.models.papers.liquidlens_grey import Contrast


def count(name, *flags):
    return sum(p.numel() for p in models.build(name, flags=flags).parameters() if p.requires_grad)


def test_sizes():
    assert models.parameters("LiquidLens-X") <= 150_000
    assert models.parameters("LiquidLens-V") <= 60_000


@pytest.mark.parametrize("name", ["LiquidLens-S", "LiquidLens-X", "LiquidLens-V"])
@pytest.mark.parametrize("twin", TWINS)
def test_twins_are_as_large(name, twin):
    assert count(name, twin) == pytest.approx(count(name), rel=0.01)


@pytest.mark.parametrize("twin", ["", *TWINS])
def test_all_but_the_mean_read_both_ways(twin):
    """What a step says depends on every other step, or on none."""
    torch.manual_seed(0)
    layer, width = both_ways(5, 8, twin)
    x = torch.rand(2, 6, 5)
    changed = x.clone()
    changed[:, 3] += 1
    before, after = passed(layer, x), passed(layer, changed)
    assert before.shape == (2, 6, width)
    moved = ((before - after).abs().amax((0, 2)) > 1e-6).tolist()
    assert moved == ([False] * 3 + [True] + [False] * 2 if twin == "mean" else [True] * 6)


def test_one_twin_at_a_time():
    with pytest.raises(ValueError, match="gru and rnn stand in for the same layers: name one"):
        models.build("LiquidLens-X", flags=["gru", "rnn"])
    with pytest.raises(ValueError, match="uneven"):
        models.build("LiquidLens-S", flags=["gru", "uneven", "timespans"])


def test_contrast_does_not_see_exposure():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 48, 40)
    shown = Contrast(48, 40)(images)
    other = Contrast(48, 40)(0.5 * images + 0.3)
    assert torch.equal(shown[:, :1], images)
    assert torch.allclose(shown[:, 1:], other[:, 1:], atol=0.1)
    assert shown[:, 1:].std() == pytest.approx(0.5, abs=0.05)
    assert torch.isfinite(Contrast(48, 40)(torch.zeros(1, 1, 48, 40))).all()


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (64, 96), (112, 112), (128, 128)])
def test_images_of_every_size(size):
    model = models.build("LiquidLens-X", (1, *size), 2).eval()
    rows = []
    model.head.of_step.register_forward_hook(lambda module, inputs, output: rows.append(output.shape[1]))
    assert model(torch.rand(2, 1, *size)).shape == (2, 2)
    assert 7 <= rows[0] <= 8


def test_volumes_are_seen_alike_from_all_directions():
    """Exchanging axes exchanges the three tracks, which one encoder reads and whose order counts for nothing."""
    torch.manual_seed(0)
    model = models.build("LiquidLens-V", (1, 24, 24, 24)).eval()
    volumes = torch.rand(2, 1, 24, 24, 24)
    _, first, second, third = model.decide(volumes).activations.split([0, 6, 6, 6], 1)
    _, *turned = model.decide(volumes.transpose(2, 3)).activations.split([0, 6, 6, 6], 1)
    assert torch.allclose(turned[0], second, atol=1e-5)
    assert torch.allclose(turned[1], first, atol=1e-5)
    assert not torch.allclose(first, third, atol=1e-3)


def test_shapes_that_do_not_fit():
    for shape in ((3, 64, 64), (1, 12, 64)):
        with pytest.raises(ValueError, match="LiquidLens-X reads grey images"):
            models.build("LiquidLens-X", shape)
    for shape in ((1, 24, 24, 20), (1, 30, 30, 30), (1, 12, 12, 12)):
        with pytest.raises(ValueError, match="LiquidLens-V reads grey cubes"):
            models.build("LiquidLens-V", shape)
