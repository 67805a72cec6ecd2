"""What the recurrent relatives of residual networks share, and what they do not."""

import pytest
import torch
from torch import nn

from liquidlens.models.papers import cmu

ENTRIES = {entry.name: entry for entry in cmu.ENTRIES}


def build(name, input_shape=None, outputs=None, **flags):
    entry = ENTRIES[name]
    return entry.make(input_shape or entry.input_shape, outputs or entry.outputs, **flags)


def residuals(model) -> list[cmu.Residual]:
    return [module for module in model.modules() if isinstance(module, cmu.Residual)]


def tie(unshared, blocks) -> None:
    """Gives each of the seven blocks of ResNet-8 the weights of one block, and of its batch norms of that step."""
    for step, block in enumerate(residuals(unshared)[1:]):
        norm = step % len(blocks.first_norms)
        block.first.load_state_dict(blocks.first.state_dict())
        block.second.load_state_dict(blocks.second.state_dict())
        block.first_norms[0].load_state_dict(blocks.first_norms[norm].state_dict())
        block.second_norms[0].load_state_dict(blocks.second_norms[norm].state_dict())


@pytest.mark.parametrize("name", ["RecNet", "RecNet-step-BN"])
def test_a_recurrent_network_is_the_deep_one_with_equal_weights(name):
    torch.manual_seed(0)
    recurrent, deep = build(name).eval(), build("ResNet-8").eval()
    for norm in recurrent.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_var.uniform_(0.5, 2)
    middle = residuals(recurrent)[1]
    tie(deep, middle)
    deep.load_state_dict(
        {k: v for k, v in recurrent.state_dict().items() if not k.startswith("features.4.")}, strict=False
    )
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(recurrent(images), deep(images), atol=1e-4)
    assert middle.steps == 7


def test_a_block_adds_its_input():
    block = cmu.Residual().eval()
    maps = torch.randn(2, 16, 4, 4)
    inner = block.second_norms[0](block.second(block.first_norms[0](block.first(maps)).relu()))
    assert torch.allclose(block(maps), (maps + inner).relu(), atol=1e-6)


def test_batch_norms_per_step_see_their_own_step():
    shared, separate = (residuals(build(name))[1] for name in ("RecNet", "RecNet-step-BN"))
    for block in (shared, separate):
        block(torch.randn(2, 16, 4, 4))
    assert [int(norm.num_batches_tracked) for norm in shared.first_norms] == [7]
    assert [int(norm.num_batches_tracked) for norm in separate.second_norms] == [1] * 7
    means = torch.stack([norm.running_mean for norm in separate.first_norms])
    assert len(means.unique(dim=0)) == 7


def test_repeated_input_is_seven_steps_of_a_simple_recurrent_layer():
    layer = cmu.RepeatedInput(5, 4)
    reference = nn.RNN(5, 4, batch_first=True)
    reference.load_state_dict(
        {
            "weight_ih_l0": layer.input.weight,
            "weight_hh_l0": layer.recurrent.weight,
            "bias_ih_l0": layer.input.bias,
            "bias_hh_l0": torch.zeros(4),
        }
    )
    features = torch.randn(3, 5)
    states, _ = reference(features.unsqueeze(1).expand(-1, 7, -1))
    assert torch.allclose(layer(features), states[:, -1], atol=1e-6)


@pytest.mark.parametrize("name", ["MNIST-CNN", "MNIST-CNN-valid"])
def test_softplus_in_place_of_relu(name):
    torch.manual_seed(0)
    relu, softplus = build(name), build(name, softplus=True)
    softplus.load_state_dict(relu.state_dict())
    images = torch.randn(2, 1, 28, 28)
    before = relu.features[:-1](images)
    assert torch.equal(relu.features(images), before.clamp(min=0))
    assert torch.allclose(softplus.features(images), (1 + before.exp()).log(), atol=1e-5)


@pytest.mark.parametrize("name", ENTRIES)
def test_other_images_and_classes(name):
    assert build(name, (2, 30, 45), 3)(torch.randn(2, 2, 30, 45)).shape == (2, 3)
    with pytest.raises(ValueError, match="3 x 3 pixels are too small"):
        build(name, (1, 3, 3), 10)
