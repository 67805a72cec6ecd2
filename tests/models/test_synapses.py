"""models.layers.synapses: derivatives worked out by hand against autograd's of the plain form, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liquidlens.models.layers import synapses
from liquidlens.models.layers.bidirectional import BidirectionalLTC
from liquidlens.models.layers.cfc import CfC
from liquidlens.models.layers.liquid import LTC
from tests.models.test_liquid import FEATURES, WIRINGS, gap


def gradients(layer, x, hx, spans, plainly: bool):
    """Outputs, and the gradients of all that has one, in float64."""
    inputs = [x, spans, *(hx if isinstance(hx, tuple) else (hx,)), *(p for p in layer.parameters() if p.requires_grad)]
    with pytest.MonkeyPatch.context() as patch:
        if plainly:
            patch.setattr(synapses, "_by_hand", lambda: False)
        output, state = layer(x, hx, spans)
    states = state if isinstance(state, tuple) else (state,)
    loss = output.square().sum() + sum(
        (s.sin() * torch.linspace(-1, 1, s.numel()).reshape(s.shape)).sum() for s in states
    )
    return output, torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("wiring", WIRINGS)
@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 5),
    length=st.integers(1, 7),
    sequences=st.booleans(),
    batch_first=st.booleans(),
    mixed=st.booleans(),
    piece=st.sampled_from([1, 50, synapses.PIECE]),
    seed=st.integers(0, 2**31),
)
def test_gradients_equal_those_of_autograd(wiring, batch, length, sequences, batch_first, mixed, piece, seed):
    torch.manual_seed(seed)
    layer = LTC(
        FEATURES, WIRINGS[wiring](), return_sequences=sequences, batch_first=batch_first, mixed_memory=mixed
    ).double()
    layout = (batch, length) if batch_first else (length, batch)
    x = torch.randn(*layout, FEATURES, dtype=torch.float64, requires_grad=True)
    spans = (0.2 + torch.rand(layout, dtype=torch.float64)).requires_grad_()
    hx = tuple(torch.rand(batch, layer.state_size, dtype=torch.float64, requires_grad=True) for _ in range(1 + mixed))
    hx = hx if mixed else hx[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synapses, "PIECE", piece)
        ours, by_hand = gradients(layer, x, hx, spans, plainly=False)
    plain, by_autograd = gradients(layer, x, hx, spans, plainly=True)
    assert gap(ours, plain) <= 1e-12
    for one, other in zip(by_hand, by_autograd, strict=True):
        assert gap(one, other) <= 1e-9 * (1e-6 + float(other.abs().max()))


def test_inputs_without_a_gradient_get_none():
    layer = LTC(FEATURES, WIRINGS["auto"]())
    x = torch.randn(2, 3, FEATURES)
    layer(x)[0].sum().backward()
    assert x.grad is None
    assert float(layer.rnn_cell.sigma.grad.abs().max()) > 0


@pytest.mark.parametrize("wiring", ["auto", "full"])
def test_an_empty_batch_has_gradients_of_nothing(wiring):
    layer = LTC(FEATURES, WIRINGS[wiring]())
    x = torch.zeros(0, 5, FEATURES, requires_grad=True)
    layer(x)[0].sum().backward()
    assert x.grad.shape == x.shape
    assert float(layer.rnn_cell.sigma.grad.abs().max()) == 0


@pytest.mark.parametrize("wiring", ["auto", "full"])
def test_there_are_second_derivatives(wiring):
    layer = LTC(FEATURES, WIRINGS[wiring]()).double()
    x = torch.randn(2, 2, FEATURES, dtype=torch.float64, requires_grad=True)
    state = torch.rand(2, layer.state_size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *inputs: layer(*inputs)[0], (x, state))


def test_gradients_of_single_samples():
    """`torch.func` transforms the plain form: its vmap knows no functions of ours."""
    layer = LTC(FEATURES, WIRINGS["auto"]()).double()
    x = torch.randn(3, 4, FEATURES, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(given, one):
        return torch.func.functional_call(layer, given, (one[None],))[0].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)["rnn_cell.sigma"]
    layer(x)[0].square().sum().backward()
    assert gap(each.sum(0), layer.rnn_cell.sigma.grad) <= 1e-10


def test_two_directions_may_be_pruned_apart():
    """Their synapses are brought together, also where one has fewer for each neuron, or none."""
    torch.manual_seed(0)
    both = BidirectionalLTC(5, WIRINGS["auto"]()).double()
    both.ahead.rnn_cell.sparsity_mask.data[1:] = 0
    both.back.rnn_cell.sensory_sparsity_mask.data[3:] = 0
    x = torch.rand(3, 6, 5, dtype=torch.float64)
    apart = torch.cat([both.ahead(x)[0], both.back(x.flip(1))[0].flip(1)], 2)
    assert gap(both(x)[0], apart) <= 1e-12
    both.ahead.rnn_cell.sparsity_mask.data.zero_()
    apart = torch.cat([both.ahead(x)[0], both.back(x.flip(1))[0].flip(1)], 2)
    assert gap(both(x)[0], apart) <= 1e-12


@pytest.mark.parametrize("layer", [LTC, CfC])
def test_autocast_leaves_liquid_layers_in_float32(layer):
    layer = layer(FEATURES, WIRINGS["auto"]())
    x = torch.randn(2, 5, FEATURES).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output, state = layer(x)
        assert torch.is_autocast_enabled("cpu")
    assert output.dtype == state.dtype == torch.float32
    assert gap(output, layer(x.float())[0]) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("wiring", ["auto", "full"])
def test_gradients_on_a_gpu(wiring):
    layer = LTC(FEATURES, WIRINGS[wiring]()).double()
    x, spans = torch.randn(3, 4, FEATURES, dtype=torch.float64), 0.2 + torch.rand(3, 4, dtype=torch.float64)
    hx = torch.rand(3, layer.state_size, dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        moved = [tensor.to(device).requires_grad_() for tensor in (x, hx, spans)]
        output, state = layer.to(device)(*moved)
        parameters = [p for p in layer.parameters() if p.requires_grad]
        grads = torch.autograd.grad(output.square().sum() + state.sum(), [*moved, *parameters])
        found.append([output, *grads])
    assert max(gap(one, other.cpu()) for one, other in zip(*found, strict=True)) <= 1e-9
