"""The zoo against Table 1 of hse-2024."""

import pytest
import torch

import models
from models import hse2024
from models.liquid import LTC


def test_parameter_counts_equal_table_1():
    mismatches = []
    for name in models.names():
        counted = sum(p.numel() for p in models.build(name).parameters() if p.requires_grad)
        if counted != models.entry(name).published_parameters:
            mismatches.append(f"{name}: {counted}, published {models.entry(name).published_parameters}")
    assert not mismatches, "\n".join(mismatches)
    assert len(models.names()) == 30


@pytest.mark.parametrize("name", models.names())
def test_every_model_learns_from_a_batch_and_explains_its_logits(name):
    torch.manual_seed(0)
    entry = models.entry(name)
    model = models.build(name)
    inputs = torch.rand(2, *entry.input_shape)
    model(inputs).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    model.eval()
    with torch.no_grad():
        decision = model.decide(inputs)
        assert decision.logits.shape == (2, entry.outputs)
        assert torch.equal(decision.logits, model(inputs))
        assert torch.allclose(model(inputs[:1]), decision.logits[:1], atol=1e-5), "scans of a batch must not mix"
        if decision.slice_logits is None:
            assert name == "CNNExp3N6"
        else:
            assert decision.slice_logits.shape == (2, 28, 1)
            assert torch.allclose(decision.slice_logits.mean(1), decision.logits, atol=1e-6)


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


def test_unknown_name_names_the_nearest():
    with pytest.raises(LookupError, match="LiqExp4N2"):
        models.build("LiqExp4N")


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
    assert [int(layer.wires().sensory_exists.sum()) for layer in layers] == sensory
    assert [len(layer.wires().source) for layer in layers] == internal
