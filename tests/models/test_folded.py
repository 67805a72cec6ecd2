"""The layers that are exported against ncps, which defines what is right.

With time spans ncps is asked one sample at a time, since it fails or broadcasts wrongly for more.
"""

import copy
from itertools import product

import ncps.torch
import pytest
import torch
from ncps.wirings import NCP, AutoNCP, FullyConnected

from liquidlens.models.layers import cfc
from liquidlens.models.layers.cfc import FoldedCfC
from liquidlens.models.layers.folded_ltc import FoldedLTC, by_pairs

FEATURES, TIME = 5, 7
WIRINGS = {"auto": lambda: AutoNCP(12, 3), "full": lambda: FullyConnected(8, 2), "units": lambda: 8}
CALLS = list(product([True, False], [True, False], [True, False]))  # sequences, batch first, mixed memory
MODES = ("default", "pure", "no_gate")


@pytest.fixture(autouse=True)
def exact():
    """Seeded, and in double precision, so that rounding hides no wrong formula."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def stirred(layer):
    """The layer with every parameter away from its special initial value."""
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.rand_like(parameter))
    return layer.eval()


def states_of(layer, *batch):
    state = torch.rand(*batch, layer.state_size) / 2
    return (state, torch.rand_like(state)) if layer.use_mixed else state


def flat(result):
    output, state = result
    return [output, *(state if isinstance(state, tuple) else (state,))]


def compare(ours, theirs, tolerance=1e-12):
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert a.shape == b.shape
        assert float((a - b).detach().abs().max()) <= tolerance


def check(layer, folded_as):
    """With states and without, with and without a batch axis, with one step, and with time spans."""
    plain, timed = folded_as(layer), folded_as(layer, span=None)
    for time, hx in product((TIME, 1), (None, states_of(layer, 3))):
        x = torch.randn(3, time, FEATURES)
        x = x if layer.batch_first else x.transpose(0, 1)
        compare(plain(x, hx), layer(x, hx))
        spans = 0.2 + torch.rand(x.shape[:2])
        compare(timed(x, hx, spans), one_by_one(layer, x, hx, spans))
    x, hx, spans = torch.randn(TIME, FEATURES), states_of(layer), 0.2 + torch.rand(TIME)
    compare(plain(x, hx), layer(x, hx))
    compare(timed(x, hx, spans), layer(x, hx, spans))
    output, _ = plain(torch.zeros(*((0, TIME) if layer.batch_first else (TIME, 0)), FEATURES))
    assert 0 in output.shape


def one_by_one(layer, x, hx, spans):
    axis = 0 if layer.batch_first else 1
    results = []
    for i in range(x.shape[axis]):
        one = slice(i, i + 1)
        state = tuple(part[one] for part in hx) if isinstance(hx, tuple) else None if hx is None else hx[one]
        results.append(flat(layer(x.narrow(axis, i, 1), state, spans.narrow(axis, i, 1))))
    output, *states = zip(*results, strict=True)
    state = tuple(torch.cat(part) for part in states)
    return torch.cat(output, axis if layer.return_sequences else 0), state if layer.use_mixed else state[0]


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize(("sequences", "batch_first", "mixed"), CALLS)
def test_an_ltc(wiring, sequences, batch_first, mixed):
    options = {"return_sequences": sequences, "batch_first": batch_first, "mixed_memory": mixed}
    check(stirred(ncps.torch.LTC(FEATURES, WIRINGS[wiring](), **options)), FoldedLTC)


@pytest.mark.parametrize(("sequences", "batch_first", "mixed"), CALLS)
def test_an_ltc_by_pairs_of_neurons(sequences, batch_first, mixed):
    options = {"return_sequences": sequences, "batch_first": batch_first, "mixed_memory": mixed}
    layer = stirred(ncps.torch.LTC(FEATURES, AutoNCP(128, 3, seed=1), **options))
    assert FoldedLTC(layer).of_pairs
    check(layer, FoldedLTC)


def test_which_layers_are_by_pairs_of_neurons():
    """By measurement: all of 32 neurons on where all are joined, of sparse wirings large ones."""
    found = {units: by_pairs(units * fan_in, units) for units, fan_in in ((31, 31), (96, 15), (64, 26))}
    assert not any(found.values())
    found = {units: by_pairs(units * fan_in, units) for units, fan_in in ((32, 32), (96, 24), (128, 13))}
    assert all(found.values())


@pytest.mark.parametrize("mapping", [None, "linear", "affine"])
def test_an_ltc_without_maps_and_with_explicit_constraints(mapping):
    options = {"input_mapping": mapping, "output_mapping": mapping, "implicit_param_constraints": False}
    check(stirred(ncps.torch.LTC(FEATURES, AutoNCP(12, 3), **options)), FoldedLTC)


@pytest.mark.parametrize("wiring", [lambda: AutoNCP(12, 3), lambda: 34], ids=["few synapses", "many"])
def test_an_ltc_whose_capacity_is_clipped_to_0(wiring):
    """Explicit constraints clip ``cm`` to 0 now and then; that neuron then keeps nothing from step to step."""
    layer = stirred(ncps.torch.LTC(FEATURES, wiring(), implicit_param_constraints=False))
    layer.rnn_cell.cm.data[3] = -1
    layer.rnn_cell.apply_weight_constraints()
    check(layer, FoldedLTC)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize(("sequences", "batch_first", "mixed"), CALLS)
def test_a_cfc(wiring, mode, sequences, batch_first, mixed):
    options = {"return_sequences": sequences, "batch_first": batch_first, "mixed_memory": mixed, "mode": mode}
    check(stirred(ncps.torch.CfC(FEATURES, WIRINGS[wiring](), **options)), FoldedCfC)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("activation", ["lecun_tanh", "silu", "relu", "tanh", "gelu"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_cfc_with_any_backbone(mode, activation, depth):
    options = {"backbone_units": 6, "backbone_layers": depth, "backbone_dropout": 0.1, "activation": activation}
    check(stirred(ncps.torch.CfC(FEATURES, 8, proj_size=3, mode=mode, **options)), FoldedCfC)


@pytest.mark.parametrize("span", [0.25, 1.0, None])
@pytest.mark.parametrize("mode", MODES)
def test_cells_and_steps_of_another_length(mode, span):
    wiring = NCP(4, 3, 2, 3, 2, 2, 2)
    for cell, folded_as in (
        (ncps.torch.LTCCell(wiring, FEATURES), FoldedLTC),
        (ncps.torch.WiredCfCCell(FEATURES, wiring, mode), FoldedCfC),
        (ncps.torch.CfCCell(FEATURES, 9, mode), FoldedCfC),
    ):
        x, state = torch.randn(4, FEATURES), torch.rand(4, 9)
        spans = torch.full((4, 1), span) if span else 0.2 + torch.rand(4, 1)
        theirs = stirred(cell)(x, state, spans)
        compare(folded_as(cell, span)(x, state, spans), theirs)
        if span is None:
            compare(folded_as(cell, span)(x, state, spans[:, 0]), theirs)


def test_the_zoos_cfc_shows_motor_neurons_and_numbers_states_as_the_wiring_does():
    wiring = AutoNCP(12, 3)
    layer = stirred(cfc.CfC(FEATURES, wiring))
    x = torch.randn(2, TIME, FEATURES)
    folded, seen = FoldedCfC(layer), []
    compare(folded(x), layer(x))
    folded.on_states = seen.append
    output, state = folded(x)
    assert torch.equal(seen[0][..., :3], output)  # the wiring numbers motor neurons first
    assert torch.equal(seen[0][:, -1].sort().values, state.sort().values)


def test_a_folded_layer_is_one_of_its_own():
    """Training on does not change it."""
    layer = stirred(ncps.torch.LTC(FEATURES, 8))
    x, folded = torch.randn(2, TIME, FEATURES), FoldedLTC(copy.deepcopy(layer))
    before = folded(x)[0]
    stirred(layer)
    assert torch.equal(folded(x)[0], before)
