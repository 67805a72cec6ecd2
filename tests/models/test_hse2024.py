"""The details of hse-2024 that a parameter count cannot show."""

import pytest
import torch

from liquidlens import models
from liquidlens.models.layers.cfc import CfC
from liquidlens.models.layers.liquid import LTC
from liquidlens.models.papers import hse2024

LSTM_ROWS = [name for name in models.names() if "source_layout" in models.entry(name).flags]


def test_slices_run_along_the_first_spatial_axis():
    model = models.build("CNNExp1N1").eval()
    volume = torch.rand(1, 1, 28, 28, 28)
    with torch.no_grad():
        slices = model.decide(volume).slice_logits
        backwards = model.decide(volume.flip(2)).slice_logits
    assert torch.allclose(slices.flip(1), backwards, atol=1e-6)


def test_trunk_features_as_in_the_paper():
    assert [hse2024.features_of(layers) for layers in (hse2024.T2, hse2024.T4, hse2024.T4_ONE_POOL)] == [400, 144, 576]


def test_batch_norm_of_3n3_uses_the_statistics_of_each_slice():
    torch.manual_seed(0)
    norm = hse2024.SliceBatchNorm(5)
    features = torch.randn(16, 28, 5) * torch.linspace(1, 4, 28)[:, None]
    assert torch.allclose(norm(features).var(0, unbiased=False), torch.ones(28, 5), atol=1e-3)
    assert norm.norm.num_batches_tracked == 28


@pytest.mark.parametrize(
    ("name", "sensory", "internal"),
    [
        ("LiqExp1N2", [2400], [63]),
        ("LiqExp1N5", [800, 28], [21, 8]),
        ("LiqExp1N6", [3600], [112]),
        ("LiqExp2N2", [8400], [441]),
        ("LiqExp2N5", [8400, 98], [441, 49]),
        ("LiqExp3N2", [1536], [62]),
        ("LiqExp4N2", [864], [63]),
        ("LiqExp4N6", [3456], [63]),
        ("LiqExp5N1", [400], [5]),
    ],
)
def test_wirings_have_the_synapses_of_the_published_source(name, sensory, internal):
    """Parameter counts cannot tell "Auto" from "Full" in Table 1; the synapses that exist do."""
    layers = [module for module in models.build(name).modules() if isinstance(module, LTC)]
    assert [int(layer.wires().sensory.exists.sum()) for layer in layers] == sensory
    assert [len(layer.wires().source) for layer in layers] == internal


def test_the_source_layout_recurs_over_the_batch():
    assert len(LSTM_ROWS) == 5
    volumes = torch.rand(3, 1, 28, 28, 28)
    for name in LSTM_ROWS:
        torch.manual_seed(0)
        described = models.build(name).eval()
        torch.manual_seed(0)
        source = models.build(name, flags=["source_layout"]).eval()
        source.load_state_dict(described.state_dict())
        with torch.no_grad():
            whole, alone = source(volumes), source(volumes[1:2])
            assert not torch.allclose(whole[1:2], alone, atol=1e-6), "the second scan's logit depends on the first scan"
            assert torch.allclose(whole[:1], source(volumes[:1]), atol=1e-6), "the first one's does not"
            backwards = volumes.flip(2)
            assert torch.allclose(source(backwards), whole, atol=1e-5), "the order of the slices means nothing to it"
            assert not torch.allclose(described(backwards), described(volumes), atol=1e-6)


def test_cfc_twins_have_the_wiring_of_their_liquid_row():
    twins = [name for name in models.names() if name.startswith("CfC")]
    assert len(twins) == 14
    for name in ("CfCExp1N5", "CfCExp2N6"):
        ours = [module for module in models.build(name).modules() if isinstance(module, CfC)]
        theirs = [m for m in models.build(name.replace("CfC", "Liq")).modules() if isinstance(m, LTC)]
        for cfc, ltc in zip(ours, theirs, strict=True):
            assert (cfc.wiring.adjacency_matrix == ltc._wiring.adjacency_matrix).all()
            assert (cfc.wiring.sensory_adjacency_matrix == ltc._wiring.sensory_adjacency_matrix).all()
            assert cfc(torch.rand(2, 3, cfc.input_size))[0].shape == (2, 3, ltc.motor_size)


@pytest.mark.parametrize("name", ["CNNExp4N1", "LiqExp1N2", "LiqExp3N3"])
def test_empty_slices_that_share_a_pass_change_nothing(name):
    torch.manual_seed(0)
    volumes = torch.rand(6, 1, 28, 28, 28).double()
    volumes[:, :, :12] = 0
    volumes[3] = 0  # nothing but empty slices
    model = models.build(name).double().train()
    for plain in (False, True):
        if plain:
            model._maps_of_distinct = model._maps
        model.zero_grad()
        torch.manual_seed(1)  # of dropout
        logits = model(volumes)
        logits.square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        if not plain:
            shared = logits.detach(), gradients
    assert torch.allclose(shared[0], logits, atol=1e-12)
    for ours, theirs in zip(shared[1], gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_what_counts_as_empty_is_the_darkest_value():
    """Normalised scans have no zeros in their background.  One empty slice stands for all, even for none."""
    model = models.build("CNNExp1N1").train()
    seen: list[int] = []
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    volumes = torch.rand(2, 1, 28, 28, 28)
    model(volumes)
    volumes[:, :, :10] = -1.5
    model(volumes)
    model.eval()(volumes)
    assert seen == [57, 37, 56]
