"""models.layers.liquid against ncps, which defines what is right."""

import copy

import ncps.torch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ncps.wirings import NCP, AutoNCP, FullyConnected, Random

from liquidlens.models.layers.bidirectional import BidirectionalLTC, FoldedBidirectionalLTC
from liquidlens.models.layers.liquid import LTC

WIRINGS = {
    "auto": lambda: AutoNCP(12, 3),
    "ncp": lambda: NCP(6, 4, 2, sensory_fanout=3, inter_fanout=2, recurrent_command_synapses=3, motor_fanin=2),
    "full": lambda: FullyConnected(8, 2),
    "full without self-connections": lambda: FullyConnected(8, 2, self_connections=False),
    "random": lambda: Random(10, output_dim=4, sparsity_level=0.6),
}
FEATURES = 9


def pair(wiring: str, dtype=torch.float32, **options) -> tuple[ncps.torch.LTC, LTC]:
    """The same layer twice, theirs and ours, with every parameter away from its special initial value."""
    theirs = ncps.torch.LTC(FEATURES, WIRINGS[wiring](), **options).to(dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.rand_like(parameter))
    ours = LTC(FEATURES, WIRINGS[wiring](), **options).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def run(layer, x, hx, dtype):
    """Output, final states, and the gradients of a loss that depends on all of them, by name."""
    x = x.detach().to(dtype).requires_grad_()
    output, state = layer(x, hx)
    states = state if isinstance(state, tuple) else (state,)
    loss = output.square().sum() + sum((s * torch.linspace(-1, 1, s.numel()).reshape(s.shape)).sum() for s in states)
    layer.zero_grad()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    return [output, *states], {**gradients, "input": x.grad}


def gap(a, b):
    return float((a - b).detach().abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("wiring", WIRINGS)
@settings(max_examples=12, deadline=None)
@given(
    batch=st.integers(1, 7),
    length=st.integers(1, 28),
    sequences=st.booleans(),
    batch_first=st.booleans(),
    mixed=st.booleans(),
    implicit=st.booleans(),
    initial=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_outputs_and_gradients_equal_those_of_ncps(
    wiring, dtype, batch, length, sequences, batch_first, mixed, implicit, initial, seed
):
    torch.manual_seed(seed)
    theirs, ours = pair(
        wiring,
        dtype,
        return_sequences=sequences,
        batch_first=batch_first,
        mixed_memory=mixed,
        implicit_param_constraints=implicit,
    )
    x = torch.randn(*((batch, length) if batch_first else (length, batch)), FEATURES)
    hx = None
    if initial or dtype == torch.float64:  # ncps's own initial state is always float32
        hx = torch.rand(batch, theirs.state_size, dtype=dtype)
        hx = (hx, torch.rand_like(hx)) if mixed else hx
    their_values, their_gradients = run(theirs, x, hx, dtype)
    our_values, our_gradients = run(ours, x, hx, dtype)
    for a, b in zip(their_values, our_values, strict=True):
        assert a.shape == b.shape
        assert gap(a, b) <= 1e-5
    assert their_gradients.keys() == our_gradients.keys()
    if dtype == torch.float64:
        for name, a in their_gradients.items():
            assert gap(a, our_gradients[name]) <= 1e-9 * (1e-6 + float(a.abs().max())), name
        return
    # In float32 the measure is the float64 gradient: ncps itself strays from it where a gradient is a small
    # difference of large sums (the capacity's), so we must be within 1e-5 of the truth or as close as ncps is.
    _, exact = run(copy.deepcopy(ours).double(), x, _double(hx), torch.float64)
    for name, truth in exact.items():
        allowed = max(1e-5 * float(truth.abs().max()), 2 * gap(truth, their_gradients[name]), 1e-8)
        assert gap(truth, our_gradients[name]) <= allowed, name


def _double(hx):
    if hx is None:
        return None
    return tuple(h.double() for h in hx) if isinstance(hx, tuple) else hx.double()


@pytest.mark.parametrize("mixed", [False, True])
def test_without_a_batch_axis(mixed):
    theirs, ours = pair("auto", mixed_memory=mixed)
    x = torch.randn(5, FEATURES)
    hx = torch.rand(12)
    hx = (hx, torch.rand(12)) if mixed else hx
    a, b = theirs(x, hx), ours(x, hx)
    assert a[0].shape == b[0].shape == (5, 3)
    assert gap(a[0], b[0]) <= 1e-5
    for s, t in zip(a[1], b[1], strict=True):
        assert gap(s, t) <= 1e-5


def test_units_as_a_number_and_maps_left_out():
    for mapping in (None, "linear", "affine"):
        theirs = ncps.torch.LTC(FEATURES, 6, input_mapping=mapping, output_mapping=mapping)
        ours = LTC(FEATURES, 6, input_mapping=mapping, output_mapping=mapping)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 4, FEATURES)
        assert gap(theirs(x)[0], ours(x)[0]) <= 1e-5


@pytest.mark.parametrize("assign", [False, True])
def test_state_dict_goes_to_ncps_and_back(assign):
    theirs, ours = pair("auto")
    fresh = LTC(FEATURES, WIRINGS["auto"]())
    x = torch.randn(2, 4, FEATURES)
    ours(x)  # tables of the old parameters must not survive
    ours.load_state_dict(fresh.state_dict(), assign=assign)
    assert gap(ours(x)[0], fresh(x)[0]) == 0
    theirs.load_state_dict(ours.state_dict())
    assert gap(theirs(x)[0], ours(x)[0]) <= 1e-5


def test_other_wiring_through_the_state_dict():
    _, ours = pair("auto")
    x = torch.randn(2, 4, FEATURES)
    ours(x)
    other = LTC(FEATURES, AutoNCP(12, 3, seed=1))
    ours.load_state_dict(other.state_dict())
    assert gap(ours(x)[0], other(x)[0]) == 0


def test_functional_call_uses_the_given_parameters():
    _, ours = pair("auto")
    x = torch.randn(2, 4, FEATURES)
    other = LTC(FEATURES, WIRINGS["auto"]())
    assert gap(torch.func.functional_call(ours, dict(other.named_parameters()), (x,))[0], other(x)[0]) == 0


@pytest.mark.parametrize("name", ["sparsity_mask", "sensory_sparsity_mask"])
def test_pruning_a_synapse_takes_effect(name):
    theirs, ours = pair("auto")
    x = torch.randn(2, 6, FEATURES)
    before = ours(x)[1]
    mask = getattr(ours.rnn_cell, name)
    source, target = (int(i) for i in mask.nonzero()[0])
    mask.data[source, target] = 0
    getattr(theirs.rnn_cell, name).data[source, target] = 0
    assert gap(ours(x)[1], before) > 1e-6
    assert gap(ours(x)[1], theirs(x)[1]) <= 1e-5


def test_all_sensory_synapses_can_be_pruned():
    _, ours = pair("auto")
    ours.rnn_cell.sensory_sparsity_mask.data.zero_()
    a, b = ours(torch.randn(2, 6, FEATURES))[0], ours(torch.randn(2, 6, FEATURES))[0]
    assert gap(a, b) == 0


def test_time_spans_for_batches_equal_one_by_one_in_ncps():
    theirs, ours = pair("ncp")
    x = torch.randn(6, 5, FEATURES)
    spans = 0.2 + torch.rand(6, 5)
    together = ours(x, timespans=spans)[0]
    for i in range(6):
        assert gap(together[i], theirs(x[i : i + 1], timespans=spans[i : i + 1])[0][0]) <= 1e-5
    assert gap(ours(x, timespans=spans[..., None])[0], together) == 0


def test_wrong_time_spans_and_states_are_refused():
    _, ours = pair("ncp")
    with pytest.raises(RuntimeError, match="timespans"):
        ours(torch.randn(2, 5, FEATURES), timespans=torch.ones(2, 4))
    with pytest.raises(RuntimeError, match="initial state"):
        ours(torch.randn(2, 5, FEATURES), torch.zeros(3, 6))
    _, mixed = pair("ncp", mixed_memory=True)
    with pytest.raises(RuntimeError, match="pair"):
        mixed(torch.randn(2, 5, FEATURES), torch.zeros(2, 6))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("motor", [1, 3])
def test_the_last_output_without_a_batch_axis_has_the_shape_of_ncps(batch_first, motor):
    theirs = ncps.torch.LTC(FEATURES, AutoNCP(12, motor), return_sequences=False, batch_first=batch_first)
    ours = LTC(FEATURES, AutoNCP(12, motor), return_sequences=False, batch_first=batch_first)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, FEATURES)
    assert ours(x)[0].shape == theirs(x)[0].shape
    assert gap(ours(x)[0], theirs(x)[0]) <= 1e-5


def test_a_batch_may_be_empty():
    output, state = pair("auto")[1](torch.zeros(0, 5, FEATURES))
    assert (output.shape, state.shape) == ((0, 5, 3), (0, 12))


@pytest.mark.parametrize("wiring", [AutoNCP(8, 2), FullyConnected(34, 2)], ids=["few synapses", "many"])
def test_a_bidirectional_layer_is_two_layers(wiring):
    """In one loop, with the same results and gradients; the second reads from the end, and all stands in order."""
    torch.manual_seed(0)
    both = BidirectionalLTC(5, wiring)
    sequence = torch.rand(3, 6, 5, requires_grad=True)
    outputs, states = both(sequence)
    apart = torch.cat([both.ahead(sequence)[0], both.back(sequence.flip(1))[0].flip(1)], 2)
    assert gap(outputs, apart) <= 1e-6
    assert states.shape == (3, 6, 2 * both.ahead.state_size)
    inputs = [sequence, *(parameter for parameter in both.parameters() if parameter.requires_grad)]
    one, other = (torch.autograd.grad(result.square().sum(), inputs) for result in (outputs, apart))
    assert max(map(gap, one, other)) <= 1e-5
    folded = FoldedBidirectionalLTC(both)
    assert gap(folded(sequence)[0], outputs) <= 1e-6
    assert gap(folded(sequence)[1], states) <= 1e-6


@pytest.mark.parametrize("wiring", [AutoNCP(8, 2), FullyConnected(34, 2)], ids=["few synapses", "many"])
def test_a_bidirectional_layer_reads_uneven_steps(wiring):
    """Read from the end, the time since the step before is the time to the step after."""
    torch.manual_seed(0)
    both = BidirectionalLTC(5, wiring)
    sequence, spans = torch.rand(3, 6, 5), 0.5 + torch.rand(3, 6, 2)
    before, after = spans.unbind(2)
    apart = both.ahead(sequence, timespans=before)[0], both.back(sequence.flip(1), timespans=after.flip(1))[0].flip(1)
    assert gap(both(sequence, spans)[0], torch.cat(apart, 2)) <= 1e-6
    assert gap(both(sequence, torch.ones_like(spans))[0], both(sequence)[0]) == 0
    assert gap(both(sequence, spans)[0], both(sequence)[0]) > 1e-4
    with pytest.raises(ValueError, match="do not fit"):
        both(sequence, before)


def test_a_bidirectional_layer_reads_from_both_ends():
    torch.manual_seed(0)
    folded = FoldedBidirectionalLTC(BidirectionalLTC(5, AutoNCP(8, 2)))
    sequence = torch.rand(3, 6, 5)
    later = sequence.clone()
    later[:, 4] += 1
    changed = (folded(later)[1] - folded(sequence)[1]).abs().amax(0) > 0
    assert changed[:, :8].any(1).tolist() == [False] * 4 + [True] * 2
    assert changed[:, 8:].any(1).tolist() == [True] * 5 + [False]
