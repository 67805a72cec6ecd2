"""The layer in four directions against an explicit one, the equal-parameter rule, and the heads of PoseNet."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from liquidlens.models.layers.four_directions import FourDirections, Sweep
from liquidlens.models.papers import tum2018
from liquidlens.models.papers.tum2018 import (
    MNIST,
    Network,
    Spatial,
    equal_parameters,
    exact_pairs,
    fully_connected,
    parameters,
)

ENTRIES = {entry.name: entry for entry in tum2018.ENTRIES}
CELLS = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}


def build(name, input_shape=None, outputs=None, **flags):
    entry = ENTRIES[name]
    return entry.make(input_shape or entry.input_shape, outputs or entry.outputs, **flags)


def read(layer: nn.RNNBase, sequence: torch.Tensor, direction: str) -> torch.Tensor:
    """One direction of a layer, step by step from a zero state: its states in the order in which they arise."""
    cell = CELLS[type(layer)](layer.input_size, layer.hidden_size)
    cell.load_state_dict({name: getattr(layer, f"{name}_l0{direction}") for name in cell.state_dict()})
    state, states = None, []
    for step in sequence.unbind(1):
        state = cell(step, state)
        states.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(states, 1)


@pytest.mark.parametrize("cell", CELLS)
def test_each_direction_gives_the_state_it_ends_with(cell):
    torch.manual_seed(0)
    layer = FourDirections(cell, (2, 4, 3), hidden=5)
    maps = torch.randn(6, 2, 4, 3)
    expected = []
    for plane in range(2):
        rows, columns = maps[:, plane], maps[:, plane].transpose(1, 2)
        for sweep, sequence in ((layer.over_rows[plane], rows), (layer.over_columns[plane], columns)):
            expected.append(read(sweep.cell, sequence, "")[:, -1])
            expected.append(read(sweep.cell, sequence.flip(1), "_reverse")[:, -1])
    assert layer.width == 2 * 4 * 5
    assert torch.allclose(layer(maps), torch.cat(expected, 1), atol=1e-6)


def test_the_full_output_is_all_states_of_all_directions():
    layer = FourDirections(nn.GRU, (1, 4, 3), hidden=5, full=True)
    maps = torch.randn(2, 1, 4, 3)
    onwards = read(layer.over_rows[0].cell, maps[:, 0], "")
    backwards = read(layer.over_rows[0].cell, maps[:, 0].flip(1), "_reverse").flip(1)
    output = layer(maps)
    assert output.shape == (2, layer.width) == (2, 2 * 5 * (4 + 3))
    assert torch.allclose(output[:, : 4 * 2 * 5], torch.cat([onwards, backwards], 2).flatten(1), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_stacked_layers_give_the_states_of_the_last(cell):
    sweep = Sweep(cell, 3, hidden=5, layers=2)
    sequence = torch.randn(4, 6, 3)
    _, states = sweep.cell(sequence)
    last = (states[0] if cell is nn.LSTM else states)[2:]  # (direction, batch, hidden) of the second layer
    assert torch.allclose(sweep(sequence), torch.cat([*last], 1), atol=1e-6)


@pytest.mark.parametrize("name", ["2MLP-LSTM", "1MLP-GRU", "CNN-RNN", "biLSTM-rows", "LSTM-biLSTM"])
def test_initial_states_are_random_in_evaluation_too_unless_switched_off(name):
    image = torch.randn(2, *MNIST)
    for zero_states in (False, True):
        model = build(name, zero_states=zero_states).eval()
        sweeps = [module for module in model.modules() if isinstance(module, Sweep)]
        short = [torch.randn(3, 2, sweep.cell.input_size) for sweep in sweeps]  # long ones forget how they started
        same = [torch.equal(sweep(sequence), sweep(sequence)) for sweep, sequence in zip(sweeps, short, strict=True)]
        assert same == [zero_states] * len(sweeps)
    assert torch.equal(model(image), model(image))


def test_random_states_are_normal_and_differ_between_directions():
    sweep = Sweep(nn.RNN, 2, hidden=500, layers=2, random_states=True)
    states = sweep._draw_states(torch.zeros(40, 3, 2))
    assert states.shape == (4, 40, 500)
    assert abs(states.mean()) < 0.02
    assert abs(states.std() - 1) < 0.02
    assert not torch.equal(states[0], states[1])
    hidden, memory = Sweep(nn.LSTM, 2, hidden=5, random_states=True)._draw_states(torch.zeros(4, 3, 2))
    assert hidden.shape == memory.shape == (2, 4, 5)
    assert not torch.equal(hidden, memory)


def test_a_view_fills_its_rows_first():
    model = build("2MLP-LSTM-54x24")
    vector = torch.arange(54 * 24.0).reshape(1, -1)
    view = model.features.view(vector)
    assert view.shape == (1, 1, 54, 24)
    assert view[0, 0, 1, 0] == 24


@pytest.mark.parametrize("name", ["2MLP-LSTM", "3MLP-LSTM-1934-16x16", "2MLP-FC-for-LSTM", "CNN-GRU", "CNN-FC-for-GRU"])
def test_modules_are_found_by_name(name):
    """Table 4.8 gives the recurrent layer, and the last Linear, learning rates of their own."""
    model = build(name)
    modules = dict(model.named_modules())
    part = "head" if name.startswith("CNN") else "features"
    assert isinstance(modules["head.output"], nn.Linear)
    assert isinstance(modules[f"{part}.first"], nn.Linear)
    assert isinstance(modules.get(f"{part}.recurrent"), FourDirections) == ("FC" not in name)
    width = 40 if part == "head" else modules["head.output"].in_features
    assert model.decide(torch.randn(2, *MNIST)).activations.shape == (2, 1, width)


def test_no_activation_follows_the_recurrent_layer():
    assert build("2MLP-LSTM").decide(torch.randn(2, *MNIST)).activations.min() < 0
    assert build("2MLP-FC-for-LSTM").decide(torch.randn(2, *MNIST)).activations.min() == 0


# --- Equal parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "input_shape", "outputs"),
    [("2MLP-LSTM", MNIST, 10), ("CNN-GRU-CIFAR10", (3, 32, 32), 10), ("1MLP-RNN", (2, 20, 30), 3)],
)
def test_partners_have_as_many_parameters_as_whole_units_allow(name, input_shape, outputs):
    counts = {
        model: sum(p.numel() for p in build(model, input_shape, outputs).parameters())
        for model in (name, name.replace("-", "-FC-for-", 1))
    }
    recurrent, partner = counts.values()
    first = build(name.replace("-", "-FC-for-", 1), input_shape, outputs).get_submodule(
        "head.first" if name.startswith("CNN") else "features.first"
    )
    following = outputs if name.startswith("1MLP") else build(name, input_shape, outputs).head.output.in_features
    assert abs(partner - recurrent) <= (first.in_features + 1 + following) / 2


def test_widths_and_remainders():
    def solve(network):
        return equal_parameters(fully_connected(network), parameters(network, MNIST, 10), MNIST, 10)

    assert solve(Network((), Spatial(nn.LSTM, 32, (36, 36)))) == ((1153, 128), -383)
    assert solve(Network((), Spatial(nn.LSTM, 32))) == ((42,), 366)
    assert solve(Network((), Spatial(nn.RNN, 16, (32, 32)), (5, 3))) == ((965, 64), -435)
    budget = parameters(tum2018.BUDGET_OF_HIDDEN_SIZES, MNIST, 10)
    assert equal_parameters(Network((1, 128)), budget, MNIST, 10)[0] == (2206, 128)
    assert equal_parameters(Network((1, 1024, 128)), budget, MNIST, 10)[0] == (1040, 1024, 128)


def test_hidden_sizes_share_one_budget():
    widths = [build(f"3MLP-LSTM-h{hidden}").features.first.out_features for hidden in tum2018.HIDDEN_SIZES]
    assert widths == [1112, 1110, 1106, 1056, 927, 451]


def test_square_maps_and_another_place_make_networks_of_one_size():
    budget = parameters(dict(tum2018.SINGLE)["2MLP-LSTM-54x24"], MNIST, 10) - 1_536  # 2MLP-LSTM: 36 x 36

    def off(network: Network) -> int:
        return abs(parameters(network, MNIST, 10) - budget)

    assert off(Network((), Spatial(nn.LSTM, 32, (36, 36)))) == 0
    for hidden, side in tum2018.SIDES.items():
        squares = [Network((), Spatial(nn.LSTM, hidden, (n, n))) for n in (side - 1, side, side + 1)]
        assert min(squares, key=off) == squares[1]
    first = dict(tum2018.SINGLE)["2MLP-LSTM-first"]
    assert off(first) == 26 == min(off(replace(first, after=width)) for width in range(7350, 7370))


def test_an_lstm_in_front_reads_the_image_itself():
    model = build("2MLP-LSTM-first", zero_states=True)
    assert [name for name, _ in model.features.named_children()] == ["recurrent", "after", "after_relu"]


def test_batch_norm_stands_before_each_relu():
    model = build("CNN-FC-for-LSTM", batch_norm=True)
    names = [name for name, _ in model.head.named_children()]
    assert names == ["flatten", "first", "first_norm", "first_relu", "second", "second_norm", "second_relu", "output"]


def test_exact_pairs():
    assert (734, 642) in exact_pairs(1_054_490, 784, 10)
    assert (874, 174) in exact_pairs(1_036_634 - 7_760, 1000, 10)
    assert (1250, 166) in exact_pairs(
        parameters(Network((), Spatial(nn.LSTM, 48, (36, 36))), (3, 32, 32), 10), 3072, 10
    )
    small = [(f, s) for f in range(1, 80) for s in range(1, 80) if 6 * f + (f + 1) * s + (s + 1) * 2 == 160]
    assert exact_pairs(160, 5, 2) == small != []
    for first, second in exact_pairs(1_054_490, 784, 10):
        assert parameters(Network((first, second)), MNIST, 10) == 1_054_490


# --- Other shapes, PoseNet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "input_shape", "outputs", "sentence"),
    [
        ("CNN-LSTM", (1, 9, 40), 10, "9 x 40 pixels are too small"),
        ("biLSTM-rows", MNIST, 3, "3 outputs"),
        ("LSTM-biLSTM", (1, 9, 9), 10, "9 x 9 pixels"),
        ("PoseNet-final", (1024, 6, 7), 7, "6 x 7 are too small"),
        ("PoseNet-LSTM-aux1", (512, 14, 14), 10, "a pose has 7 values"),
    ],
)
def test_impossible_inputs_are_refused_in_a_sentence(name, input_shape, outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(name, input_shape, outputs)


@pytest.mark.parametrize("name", ["1MLP-LSTM", "2MLP-FC-for-RNN", "CNN-LSTM-32x8-full", "LSTM-biLSTM"])
def test_other_images_and_classes(name):
    assert build(name, (2, 20, 30), 4)(torch.randn(3, 2, 20, 30)).shape == (3, 4)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("PoseNet")])
def test_poses_end_in_a_unit_quaternion(name):
    model = build(name).eval()
    maps = torch.randn(3, *ENTRIES[name].input_shape)
    pose = model(maps)
    assert torch.allclose(pose[:, 3:].norm(dim=1), torch.ones(3), atol=1e-6)
    assert not torch.allclose(pose[:, :3].norm(dim=1), torch.ones(3), atol=1e-3)
    assert torch.equal(model(maps), pose), "the LSTMs start from zeros"
    assert ("recurrent" in dict(model.head.named_children())) == ("LSTM" in name)
