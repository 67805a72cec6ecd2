"""`export_onnx`: what people build with ncps, as files that give the same answers."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ncps.torch import CfC, CfCCell
from ncps.wirings import AutoNCP
from onnx.reference import ReferenceEvaluator
from torch import nn

import liquidlens
from liquidlens import LiquidLensError, export_onnx
from liquidlens.export.checks.audit import audit
from liquidlens.export.checks.module_report import KEY, ModuleReport
from liquidlens.export.pages.console import print_audit
from liquidlens.export.pages.report import audit_html
from tests.export.module_configurations import (
    CONFIGURATIONS,
    FEATURES,
    TIME,
    Beside,
    Sequence,
    Stateful,
    Timed,
    make,
)

NODE = Path(__file__).parents[1] / "node"
TOLERANCE = 1e-5
_files: dict[str, liquidlens.Exported] = {}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The file of a configuration, written once."""
    folder = tmp_path_factory.mktemp("modules")

    def get(name: str) -> liquidlens.Exported:
        if name not in _files:
            configuration = CONFIGURATIONS[name]
            example = configuration.inputs(2, TIME)
            path = folder / f"{len(_files)}.onnx"
            options = {"state": configuration.state, "unroll": configuration.unroll}
            _files[name] = export_onnx(make(name), example, path, **options)
        return _files[name]

    return get


def flat(value, name: str = "") -> dict:
    """Nested tensors by name, as files call them."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, part in parts for k, v in flat(part, f"{name}_{key}" if name else str(key)).items()}


def truth(module: nn.Module, inputs: dict) -> list:
    """What ncps says: one sample at a time where time spans are given, since it is wrong for more."""
    with torch.no_grad():
        if "timespans" not in inputs:
            return list(flat(module(**inputs)).values())
        samples = [
            list(flat(module(**_map(lambda tensor, i=i: tensor[i : i + 1], inputs))).values())
            for i in range(len(inputs["x"]))
        ]
    return [torch.cat(parts) for parts in zip(*samples, strict=True)]


def _map(change, value):
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _map(change, part) for name, part in value.items()}
    return tuple(_map(change, part) for part in value)


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def feeds(session: onnxruntime.InferenceSession, inputs: dict, states: dict | None = None) -> dict:
    """The inputs of a file: what is given, and zeros for states that are not."""
    given = {name: tensor.numpy() for name, tensor in flat(inputs).items()} | (states or {})
    batch = next(iter(given.values())).shape[0]
    for value in session.get_inputs():
        if value.name not in given:
            given[value.name] = np.zeros([n if isinstance(n, int) else batch for n in value.shape], np.float32)
    return given


def gap(found: np.ndarray, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected.numpy()).max())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_file_gives_the_answers_of_ncps(name, exported):
    """For batches and lengths far from the example's; in ONNX Runtime and in ONNX's own reference."""
    configuration, module, file = CONFIGURATIONS[name], make(name), exported(name)
    session = session_of(file.path)
    lengths = (1, 7, 28, 100) if configuration.sequence and configuration.unroll is None else (TIME,)
    for length in lengths:
        for batch in (1, 4, 32) if configuration.batched and length < 100 else (2,):
            inputs = configuration.inputs(batch, length)
            found = session.run(None, feeds(session, inputs))
            expected = truth(module, inputs)
            assert max(map(gap, found, expected)) <= TOLERANCE
    inputs = configuration.inputs(2, TIME)
    given = feeds(session, inputs)
    for a, b in zip(ReferenceEvaluator(str(file.path)).run(None, given), session.run(None, given), strict=True):
        assert np.abs(a - b).max() <= TOLERANCE


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_pieces_and_steps_are_the_whole_and_every_number_is_explained(name, exported):
    configuration, file = CONFIGURATIONS[name], exported(name)
    checks, report = file.report.checks, file.report
    assert checks.torch <= TOLERANCE
    mixes = name in ("both ways by hand", "our bidirectional layer") or configuration.unroll is not None
    if configuration.sequence and not mixes:
        assert checks.pieces <= TOLERANCE
        assert checks.steps <= TOLERANCE
    else:
        assert checks.pieces is checks.steps is None
    assert [one.how for one in report.initializers.values() if one.kind == "unexplained"] == []
    found = audit(file.path)
    assert found.problems == ()
    assert found.model == report.module
    assert found.cost is not None
    counts = report.parameters
    assert (found.parameters.trainable, found.parameters.stored) == (counts.trainable, counts.stored)
    assert counts.effective <= counts.trainable == sum(p.numel() for p in make(name).parameters() if p.requires_grad)
    assert all(dim for value in session_of(file.path).get_inputs() for dim in value.shape)


def test_inputs_keep_their_names_and_states_are_shown(exported):
    def interface(name):
        session = session_of(exported(name).path)
        return {v.name: v.shape for v in session.get_inputs()}, {v.name: v.shape for v in session.get_outputs()}

    assert interface("ltc, time spans") == (
        {"x": ["batch", "time", 5], "hx": ["batch", 10], "timespans": ["batch", "time"]},
        {"output": ["batch", "time", 3], "hx_out": ["batch", 10]},
    )
    assert interface("ltc, sparse") == (
        {"x": ["batch", "time", 5], "h_in": ["batch", 10]},
        {"output": ["batch", "time", 3], "h_out": ["batch", 10]},
    )
    assert interface("two layers, hidden states") == (
        {
            "x": ["batch", "time", 5],
            "first.h_in": ["batch", 8],
            "second.h_in": ["batch", 6],
            "second.c_in": ["batch", 6],
        },
        {
            "answer": ["batch", "time", 6],
            "first.h_out": ["batch", 8],
            "second.h_out": ["batch", 6],
            "second.c_out": ["batch", 6],
        },
    )
    assert interface("layer by itself") == (
        {"input": ["batch", "time", 5], "h_in": ["batch", 10], "c_in": ["batch", 10]},
        {"output": ["batch", "time", 3], "h_out": ["batch", 10], "c_out": ["batch", 10]},
    )
    assert interface("no batch axis")[0] == {"x": ["time", 5], "hx": [10]}
    assert exported("ltc, mixed").report.states == {"h": "h_out", "c": "c_out"}
    assert exported("mixed with time spans").report.states == {"hx_0": "hx_0_out", "hx_1": "hx_1_out"}


@pytest.mark.parametrize("name", ["ltc, time spans", "two layers, hidden states", "images into cfc", "no batch axis"])
def test_a_step_form_has_no_loop_and_adds_up_to_the_whole(name, tmp_path):
    configuration, module = CONFIGURATIONS[name], make(name)
    file = export_onnx(module, configuration.inputs(2, TIME), tmp_path / "step.onnx", step=True)
    assert file.report.form == "step"
    session = session_of(file.path)
    assert not {"Scan", "Loop", "If"} & {node.op_type for node in onnx.load(file.path).graph.node}
    inputs = configuration.inputs(3, 6)
    axis = 1 if configuration.batched else 0
    timed = {n: t for n, t in inputs.items() if n in ("x", "timespans")}
    states = feeds(session, {n: t for n, t in inputs.items() if n not in timed} | {"x": inputs["x"].select(axis, 0)})
    names = [output.name for output in session.get_outputs()]
    outputs = []
    for t in range(6):
        given = states | {n: tensor.select(axis, t).numpy() for n, tensor in timed.items()}
        found = dict(
            zip(names, session.run(names, {k: v for k, v in given.items() if k in _names(session)}), strict=True)
        )
        states |= {n: found[out] for n, out in file.report.states.items()}
        outputs.append(found[names[0]])
    assert gap(np.stack(outputs, axis), truth(module, inputs)[0]) <= TOLERANCE


def _names(session):
    return {value.name for value in session.get_inputs()}


def test_an_unrolled_file_has_no_loop(tmp_path):
    module = make("ltc, mixed")
    file = export_onnx(module, CONFIGURATIONS["ltc, mixed"].inputs(2, TIME), tmp_path / "unrolled.onnx", unroll=4)
    assert "Scan" not in {node.op_type for node in onnx.load(file.path).graph.node}
    session = session_of(file.path)
    assert session.get_inputs()[0].shape == ["batch", 4, FEATURES]
    inputs = CONFIGURATIONS["ltc, mixed"].inputs(5, 4)
    assert max(map(gap, session.run(None, feeds(session, inputs)), truth(module, inputs))) <= TOLERANCE
    assert audit(file.path).problems == ()


def test_the_same_module_gives_the_same_bytes_and_stays_as_it_is(tmp_path, exported):
    name = "cfc, wired"
    module = make(name).train()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    again = export_onnx(module, CONFIGURATIONS[name].inputs(3, 5), tmp_path / "again.onnx")
    assert module.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    ours, theirs = (onnx.load(file.path) for file in (again, exported(name)))
    assert ours.graph == theirs.graph


def test_an_audit_notices_a_changed_weight(tmp_path, exported):
    proto = onnx.load(exported("cfc, pure").path)
    tensor = next(t for t in proto.graph.initializer if t.name.endswith("state_0"))
    tensor.raw_data = tensor.raw_data[:-4] + b"\0\0\0\1"
    onnx.save(proto, tmp_path / "changed.onnx")
    assert audit(tmp_path / "changed.onnx").problems == (
        f"{tensor.name}: its values are not those that were exported.",
    )
    report = json.loads({entry.key: entry.value for entry in proto.metadata_props}[KEY])
    assert report["states"] == {"h_in": "h_out"}
    entry = next(one for one in proto.metadata_props if one.key == KEY)
    entry.value = entry.value.replace("h_out", "c_out")
    with pytest.raises(LiquidLensError, match="checksum differs"):
        ModuleReport.from_metadata({one.key: one.value for one in proto.metadata_props})


class Reset(nn.Module):
    """Starts from a part of the state that it is given."""

    def __init__(self):
        super().__init__()
        self.layer = CfC(FEATURES, 6)

    def forward(self, x, hx, keep):
        return self.layer(x, hx * keep[:, None])


class Pair(nn.Module):
    """Two layers start from the same state."""

    def __init__(self):
        super().__init__()
        self.first, self.second = CfC(FEATURES, FEATURES), CfC(FEATURES, FEATURES)

    def forward(self, x, hx):
        y, one = self.first(x, hx)
        y, other = self.second(y, hx)
        return y, one, other


class Episodes(nn.Module):
    """Starts anew where an episode starts."""

    def __init__(self):
        super().__init__()
        self.layer = CfC(FEATURES, 6)

    def forward(self, x, hx, starts):
        return self.layer(x, torch.where(starts[:, None], torch.zeros_like(hx), hx))


@pytest.mark.parametrize(
    ("module", "others"),
    [
        (Reset, {"hx": torch.zeros(2, 6), "keep": torch.ones(2)}),
        (Pair, {"hx": torch.zeros(2, FEATURES)}),
        (Episodes, {"hx": torch.zeros(2, 6), "starts": torch.ones(2, dtype=torch.bool)}),
    ],
)
def test_a_state_that_is_no_plain_input_of_one_layer_stays_forwards_own(module, others, tmp_path):
    """An example of zeros, as one gives for states, does not hide it."""
    module = module().eval()
    found = export_onnx(module, {"x": torch.randn(2, TIME, FEATURES), **others}, tmp_path / "model.onnx")
    assert found.report.states == {}
    session = session_of(found.path)
    assert {value.name for value in session.get_inputs()} == {"x", *others}
    inputs = {"x": torch.randn(2, TIME, FEATURES)}
    for name, tensor in others.items():
        inputs[name] = torch.rand_like(tensor) if tensor.is_floating_point() else ~tensor
    expected = truth(module, inputs)
    answers = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    assert len(answers) == len(expected)
    assert max(map(gap, answers, expected)) < TOLERANCE


class Named(nn.Module):
    """Two layers, of which forward takes and gives one state, and returns another thing by the name of the other's."""

    def __init__(self):
        super().__init__()
        self.first, self.second = CfC(FEATURES, 6), CfC(6, 6)

    def forward(self, x, h_in):
        y, h = self.first(x, h_in)
        z, _ = self.second(y)
        return {"z": z, "h": h, "h_out": torch.tanh(z[:, -1])}


def test_a_hidden_state_has_a_name_of_its_own(tmp_path):
    module = Named().eval()
    found = export_onnx(
        module, {"x": torch.randn(2, TIME, FEATURES), "h_in": torch.zeros(2, 6)}, tmp_path / "model.onnx"
    )
    assert found.report.states == {"h_in": "h_in_out", "second.h_in": "second.h_out"}
    inputs = {"x": torch.randn(2, TIME, FEATURES), "h_in": torch.randn(2, 6)}
    feeds = {name: tensor.numpy() for name, tensor in inputs.items()} | {"second.h_in": np.zeros((2, 6), np.float32)}
    answers = session_of(found.path).run(["z", "h_in_out", "h_out"], feeds)
    with torch.no_grad():
        expected = module(**inputs).values()
    assert max(map(gap, answers, expected)) < TOLERANCE


class Clash(Named):
    def forward(self, x, h_in):
        return {**super().forward(x, h_in), "h_in_out": x}


def test_names_that_would_be_there_twice_are_refused(tmp_path):
    example = {"x": torch.randn(2, TIME, FEATURES), "h_in": torch.zeros(2, 6)}
    with pytest.raises(LiquidLensError, match="would be called h_in_out; rename forward's own"):
        export_onnx(Clash(), example, tmp_path / "model.onnx")


class Long(nn.Module):
    """Does something else with long sequences, or large batches."""

    def __init__(self, axis: int, length: int):
        super().__init__()
        self.layer, self.axis, self.length = CfC(FEATURES, 6), axis, length

    def forward(self, x):
        if x.shape[self.axis] > self.length:
            x = x - x.mean(self.axis, keepdim=True)
        return self.layer(x)[0]


@pytest.mark.parametrize(
    ("axis", "length", "where"), [(1, 50, "batch 2 and time 51"), (0, 8, f"batch 9 and time {TIME}")]
)
def test_a_file_that_is_right_for_some_lengths_only_is_refused(tmp_path, axis, length, where):
    with pytest.raises(LiquidLensError, match=rf"disagrees with torch: .* with {where}: forward does something else"):
        export_onnx(Long(axis, length), {"x": torch.randn(2, TIME, FEATURES)}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


class Limited(Sequence):
    """Takes no long sequences at all."""

    def forward(self, x):
        if x.shape[1] > 50:
            raise ValueError("too long")
        return super().forward(x)


def test_lengths_that_the_module_refuses_are_not_compared(tmp_path):
    found = export_onnx(Limited(CfC(FEATURES, 6)), {"x": torch.randn(2, TIME, FEATURES)}, tmp_path / "model.onnx")
    assert max(sizes["time"] for sizes in found.report.checks.sizes) == 33


class Cameras(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = CfC(FEATURES, 6)

    def forward(self, x):
        return self.layer(x.flatten(0, 1))[0].unflatten(0, x.shape[:2]).mean(1)


def test_a_layer_that_reads_more_sequences_than_the_batch_has_no_states_in_the_file(tmp_path):
    example, dynamic = {"x": torch.randn(2, 3, TIME, FEATURES)}, {"x": {0: "batch", 2: "time"}}
    with pytest.raises(LiquidLensError, match=r'reads 6 sequences for a batch of 2, .* export with state="zeros"'):
        export_onnx(Cameras(), example, tmp_path / "model.onnx", dynamic=dynamic)
    found = export_onnx(Cameras(), example, tmp_path / "model.onnx", dynamic=dynamic, state="zeros")
    assert found.report.inputs == dynamic


class Keeping(Sequence):
    """Keeps the state of its last call, and a weight that torch computes."""

    def __init__(self, layer):
        super().__init__(layer)
        self.before = torch.nn.utils.weight_norm(nn.Linear(FEATURES, FEATURES))
        self.last = None

    def forward(self, x):
        outputs, state = self.layer(self.before(x))
        self.last = {"state": state}
        return outputs


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_module_that_keeps_what_torch_computed_is_exported(tmp_path):
    module, example = Keeping(CfC(FEATURES, 6)), {"x": torch.randn(2, TIME, FEATURES)}
    kept = module(**example).sum()
    found = export_onnx(module, example, tmp_path / "model.onnx")
    assert found.report.checks.torch < TOLERANCE
    kept.backward()  # what the module keeps is as it was


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = CfCCell(FEATURES, 6)

    def forward(self, x, h):
        return self.cell(x, h, ts=0.5)


def test_cells_may_be_called_by_the_names_that_ncps_gives(tmp_path):
    example = {"x": torch.randn(2, FEATURES), "h": torch.zeros(2, 6)}
    assert export_onnx(Half(), example, tmp_path / "model.onnx").report.checks.torch < TOLERANCE


class Headed(Sequence):
    def __init__(self, layer):
        super().__init__(layer)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.layer(x)[0])


def test_counts_of_a_wired_layer_are_those_of_its_masks(tmp_path):
    layer = CfC(FEATURES, AutoNCP(16, 2, seed=1)).requires_grad_(False)
    report = export_onnx(Headed(layer), {"x": torch.randn(2, TIME, FEATURES)}, tmp_path / "model.onnx").report
    masks = [part.sparsity_mask for part in layer.rnn_cell.children() if hasattr(part, "sparsity_mask")]
    (found,) = report.layers
    assert found.synapses + found.sensory_synapses == sum(int(mask.sum()) for mask in masks)
    assert report.parameters.trainable == report.parameters.effective == 6


@pytest.mark.parametrize(
    "others",
    [
        (nn.GRU(FEATURES, FEATURES, bias=False, batch_first=True),),
        (nn.Conv2d(FEATURES, FEATURES, 1), nn.BatchNorm2d(FEATURES, track_running_stats=False)),
    ],
    ids=["GRU without bias", "batch norm without statistics"],
)
def test_layers_beside_those_of_ncps_may_lack_parameters(others, tmp_path):
    example = {"x": torch.randn(2, TIME, FEATURES)}
    found = export_onnx(Beside(*others).eval(), example, tmp_path / "model.onnx", unroll=TIME)
    assert audit(found.path).problems == ()


@pytest.mark.parametrize("shape", [(FEATURES, FEATURES), (FEATURES,)])
def test_numbers_that_come_from_no_parameter_are_named_by_an_audit(tmp_path, capsys, shape):
    module = Beside(scale=torch.randn(shape))
    found = audit(export_onnx(module, {"x": torch.randn(2, TIME, FEATURES)}, tmp_path / "model.onnx").path)
    (name,) = found.unexplained
    assert found.problems == ()
    assert any(f"What is in {name} comes from no parameter" in note for note in found.notes)
    print_audit(found)
    assert capsys.readouterr().out.startswith("Sound: nothing was changed, and but for 1 tensor, every number")
    assert ">unchanged<" in audit_html(found)


def test_a_file_with_wrong_numbers_names_its_layer(tmp_path, monkeypatch):
    """A fold that is wrong, as if it had a bug."""
    from liquidlens.models.layers import cfc

    right = cfc._heads
    monkeypatch.setattr(cfc, "_heads", lambda cell, span: right(cell, span)._replace(bias=right(cell, span).bias + 0.1))
    with pytest.raises(LiquidLensError, match=r"disagrees with torch: .* The layer layer alone differs by"):
        export_onnx(Sequence(CfC(FEATURES, 6)), {"x": torch.randn(2, TIME, FEATURES)}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_other_axes_can_be_named(tmp_path):
    """A batch that the example does not tell from time, in a module that turns its input around."""

    class Turned(Timed):
        def forward(self, rows, timespans):
            return self.layer(rows.permute(2, 0, 1), None, timespans.T)[0]

    torch.manual_seed(0)
    module = Turned(CfC(FEATURES, 6))
    example = {"rows": torch.randn(7, FEATURES, 2), "timespans": 0.5 + torch.rand(7, 2)}
    dynamic = {"rows": {0: "time", 2: "batch"}, "timespans": {0: "time", 1: "batch"}}
    file = export_onnx(module, example, tmp_path / "turned.onnx", dynamic=dynamic)
    assert session_of(file.path).get_inputs()[0].shape == ["time", FEATURES, "batch"]
    assert file.report.outputs["output"] == {0: "batch", 1: "time"}


def test_a_state_of_as_many_units_as_there_are_steps_has_no_axis_of_time(tmp_path):
    example = {"x": torch.randn(2, TIME, FEATURES), "hx": torch.rand(2, TIME)}
    export_onnx(Stateful(CfC(FEATURES, TIME)), example, tmp_path / "model.onnx")
    shapes = {one.name: one.shape for one in onnxruntime.InferenceSession(tmp_path / "model.onnx").get_inputs()}
    assert shapes == {"x": ["batch", "time", FEATURES], "hx": ["batch", TIME]}


def test_the_command_writes_what_a_function_of_a_file_builds(tmp_path, capsys):
    from liquidlens.commands import app

    (tmp_path / "mine.py").write_text(
        "import torch\nfrom ncps.torch import CfC\n\n"
        "def build():\n    return CfC(5, 8), {'input': torch.randn(2, 6, 5)}\n"
    )
    app(["onnx", f"{tmp_path / 'mine.py'}:build", str(tmp_path / "mine.onnx"), "--step"], standalone_mode=False)
    assert {value.name for value in session_of(tmp_path / "mine.onnx").get_inputs()} == {"input", "h_in"}
    assert "h_in -> h_out" in capsys.readouterr().out
    with pytest.raises(LiquidLensError, match=r"mine.py: it has no function make"):
        app(["onnx", f"{tmp_path / 'mine.py'}:make", str(tmp_path / "mine.onnx")], standalone_mode=False)


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node, with onnxruntime-node installed beside `module.mjs`."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        pytest.skip("needs Node.js: node and npm")
    if not (NODE / "node_modules" / "onnxruntime-node").is_dir():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return found


def test_onnxruntime_node_gives_the_same(node, exported, tmp_path):
    """Every configuration: what ONNX Runtime says in Python and what it says in Node."""
    cases = []
    for name, configuration in CONFIGURATIONS.items():
        session = session_of(exported(name).path)
        given = feeds(session, configuration.inputs(2, TIME))
        found = dict(zip((o.name for o in session.get_outputs()), session.run(None, given), strict=True))
        cases.append(
            {"name": name, "file": str(exported(name).path), "inputs": _plain(given), "outputs": _plain(found)}
        )
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run([node, NODE / "module.mjs", tmp_path / "cases.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == set(CONFIGURATIONS)
    assert max(report.values()) <= TOLERANCE


def _plain(tensors):
    return {name: {"shape": list(t.shape), "data": t.ravel().tolist()} for name, t in tensors.items()}
