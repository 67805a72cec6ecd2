"""The audit: every number explained, and everything that was changed named."""

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import from_array, to_array

from liquidlens import export, models
from liquidlens.errors import LiquidLensError
from liquidlens.export.checks.audit import audit
from liquidlens.export.checks.cost import cost, full_scan
from liquidlens.export.checks.parity import AuditError
from liquidlens.export.complete.synapses import pairs, synapses
from liquidlens.export.complete.wiring import wirings
from liquidlens.export.facts import FileAudit
from liquidlens.export.graph import provenance
from liquidlens.manifest import KEY, Wiring
from liquidlens.models.layers import folded_ltc
from liquidlens.models.papers.hse2024 import TABLE_1
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.train.run import RunFolder

LAYER = "network.head.steps.0.layer"


def changed(bundle: export.Bundle, tmp_path, change) -> FileAudit:
    """The audit of the bundle's model after `change` was done to it."""
    proto = onnx.load(bundle.model)
    change(proto.graph)
    path = tmp_path / "changed.onnx"
    onnx.save(proto, path)
    return audit(path)


def replace(graph: onnx.GraphProto, name: str, change) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(from_array(change(to_array(tensor).copy()), name))


def test_a_sound_file(liquid_bundle):
    found = audit(liquid_bundle.model)
    assert found.problems == ()
    assert {i.kind for i in found.initializers} == {"weights", "masks", "constants"}
    assert sum(found.bytes_by_class.values()) == found.bytes == liquid_bundle.model.stat().st_size
    assert found.bytes_by_class["unexplained"] == 0
    counts = found.parameters
    assert (counts.published, counts.trainable) == (37265, 37265)
    assert counts.effective == 11753 < counts.stored
    assert sum(found.synapses[0].by_type.values()) == 2400 + 63
    gain = next(i for i in found.initializers if i.name == f"{LAYER}.sensory_gain")
    assert gain.sources == (f"{LAYER}.rnn_cell.sensory_sigma", f"{LAYER}.rnn_cell.input_w")
    assert gain.how == "sigma * input_w, by sensory synapse"


def test_an_extra_initializer_is_named(liquid_bundle, tmp_path):
    found = changed(liquid_bundle, tmp_path, lambda g: g.initializer.append(from_array(np.ones(9), "stowaway")))
    assert [problem for problem in found.problems if problem.startswith("stowaway: an initializer that")]
    assert next(i for i in found.initializers if i.name == "stowaway").kind == "unexplained"


def test_a_changed_weight_is_named(liquid_bundle, tmp_path):
    def one_ulp_more(weight):
        weight.flat[0] = np.nextafter(weight.flat[0], np.float32(1))
        return weight

    found = changed(liquid_bundle, tmp_path, lambda g: replace(g, "network.trunk.0.weight", one_ulp_more))
    assert found.problems == ("network.trunk.0.weight: its values are not those that were exported.",)


@pytest.mark.parametrize("table", ["gain", "weight", "sensory_weight"])
def test_a_table_that_was_cut_is_named(liquid_bundle, tmp_path, table):
    found = changed(liquid_bundle, tmp_path, lambda g: replace(g, f"{LAYER}.{table}", lambda values: values[..., :-1]))
    assert f"{LAYER}.{table}: its values are not those that were exported." in found.problems
    assert [problem for problem in found.problems if problem.startswith(f"{LAYER}: ")]


@pytest.mark.parametrize(
    "change", [{"neurons": "x" * 21}, {"neurons": "m"}, {"sensory_fan_in": [1]}, {"recurrent": ["?" * 21] * 21}]
)
def test_a_wiring_that_is_none_is_a_problem(liquid_bundle, tmp_path, change):
    """Also where its checksum was made anew."""
    proto = onnx.load(liquid_bundle.model)
    entry = next(entry for entry in proto.metadata_props if entry.key == KEY)
    stated = json.loads(entry.value)
    stated["wiring"][0] |= change
    entry.value = json.dumps(stated)
    onnx.helper.set_model_props(proto, {e.key: e.value for e in proto.metadata_props})
    path = tmp_path / "changed.onnx"
    onnx.save(proto, path)
    assert audit(path).problems
    with pytest.raises(ValueError, match="is not one of"):
        Wiring(**liquid_bundle.manifest.wiring[0].model_dump() | change)


def test_a_dropped_synapse_is_named(liquid_bundle, tmp_path):
    wiring = liquid_bundle.manifest.wiring[0]
    source, target = pairs(wiring)[5]

    def drop(weight):
        gain = to_array(next(i for i in onnx.load(liquid_bundle.model).graph.initializer if i.name == f"{LAYER}.gain"))
        units = len(wiring.neurons)
        [row] = [k for k in np.flatnonzero(gain[source]) if weight[k, units + target]]
        weight[row] = 0
        return weight

    found = changed(liquid_bundle, tmp_path, lambda g: replace(g, f"{LAYER}.weight", drop))
    assert len(found.problems) == 2, "changed values, and the synapse"
    assert f"the synapse from neuron {source} (" in found.problems[1]
    assert f"to neuron {target} (" in found.problems[1]

    found = changed(
        liquid_bundle, tmp_path, lambda g: replace(g, f"{LAYER}.sensory_weight", lambda w: w * (np.arange(218) < 217))
    )
    assert any("sensory synapses, its wiring has 2400" in problem for problem in found.problems)


def test_a_dropped_synapse_of_all_pairs_is_named(liquid_run, tmp_path, monkeypatch):
    """As layers of many synapses are stored."""
    monkeypatch.setattr(folded_ltc, "DENSE", 0)
    bundle = export.export(liquid_run.path, tmp_path / "bundle", export.Options(profiles=("step",), precisions=()))
    assert audit(bundle.model).problems == ()
    wiring = bundle.manifest.wiring[0]
    source, target = pairs(wiring)[5]

    def drop(weight):
        assert weight.shape == (2, 21, 21)
        assert np.count_nonzero(weight[1]) == len(pairs(wiring))
        weight[1, source, target] = 0
        return weight

    found = changed(bundle, tmp_path, lambda g: replace(g, f"{LAYER}.weight", drop))
    assert f"the synapse from neuron {source} (" in found.problems[1]
    assert f"to neuron {target} (" in found.problems[1]
    found = changed(bundle, tmp_path, lambda g: replace(g, f"{LAYER}.weight", lambda weight: weight[:, :20]))
    assert f"{LAYER}: its tables are cut." in found.problems


def test_missing_initializers_and_other_nodes_are_named(liquid_bundle, tmp_path):
    def remove(graph):
        kept = [tensor for tensor in graph.initializer if tensor.name != "ood.center"]
        graph.initializer[0].CopyFrom(graph.initializer[0])
        del graph.initializer[:]
        graph.initializer.extend(kept)
        graph.input.append(onnx.helper.make_tensor_value_info("ood.center", onnx.TensorProto.FLOAT, [32]))

    problems = changed(liquid_bundle, tmp_path, remove).problems
    assert "ood.center: the manifest lists this initializer, and the file lacks it." in problems
    assert any(problem.startswith("The graph") for problem in problems)


def test_a_changed_manifest_is_a_problem(liquid_bundle, tmp_path):
    proto = onnx.load(liquid_bundle.model)
    threshold = f'"threshold":{liquid_bundle.manifest.operating.threshold}'
    assert threshold in proto.metadata_props[0].value
    proto.metadata_props[0].value = proto.metadata_props[0].value.replace(threshold, '"threshold":0.9')
    onnx.save(proto, tmp_path / "model.onnx")
    assert "manifest is not the one that was exported" in audit(tmp_path / "model.onnx").problems[0]
    with pytest.raises(LiquidLensError, match="manifest is not the one that was exported"):
        Predictor(tmp_path / "model.onnx")


def test_a_checksum_that_differs_is_a_problem(liquid_bundle, tmp_path):
    copy = tmp_path / "model.onnx"
    copy.write_bytes(liquid_bundle.model.read_bytes())
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(b'else').hexdigest()}  model.onnx\n")
    assert "is not the file that was exported" in audit(copy).problems[0]


def test_foreign_files_are_audited_as_far_as_it_goes(tmp_path):
    path = tmp_path / "foreign.onnx"
    torch.onnx.export(torch.nn.Linear(4, 3).eval(), (torch.zeros(2, 4),), path, dynamo=True, verbose=False)
    found = audit(path)
    assert found.model is None
    assert found.problems == ()
    assert "no LiquidLens manifest" in found.notes[0]
    assert found.stored == 15
    assert found.cost is not None
    assert found.cost.macs == 2 * 12


@pytest.mark.parametrize("content", [b"", b"not ONNX", b"\x08\x01"])
def test_what_is_no_onnx_file(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(LiquidLensError, match=r"bad\.onnx: not a readable ONNX file"):
        audit(path)


def test_weights_in_other_files_are_refused(liquid_bundle, tmp_path):
    proto = onnx.load(liquid_bundle.model)
    path = tmp_path / "external.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(LiquidLensError, match="its weights lie in other files"):
        audit(path)


def test_costs_are_those_of_arithmetic(liquid_bundle):
    """LiqExp1N2 by hand: two convolutions over 28 slices, and one sigmoid per synapse and ODE unfold."""
    content = liquid_bundle.model.read_bytes()
    found = cost(content, full_scan(content, (28, 28, 28)))
    assert found.by_operator["Conv"] == (2, 28 * (24 * 24 * 6 * 25 + 10 * 10 * 16 * 54))
    table = 12 * 218  # sensory synapses with their padding
    assert found.sigmoids == 28 * table + 28 * 6 * 63 + 1
    assert found.by_operator["Gemm"] == (28 * 6 * 2, 28 * 6 * (21 * 63 + 63 * 42))


@pytest.mark.parametrize(("kind", "gates"), [(torch.nn.LSTM, 4), (torch.nn.GRU, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.filterwarnings("ignore:The tensor attributes self._flat_weights:UserWarning")
def test_costs_of_recurrent_layers_are_those_of_arithmetic(kind, gates, bias, tmp_path):
    layer, path = kind(5, 7, bias=bias).eval(), str(tmp_path / "layer.onnx")
    torch.onnx.export(layer, (torch.zeros(3, 2, 5),), path, dynamo=True, external_data=False, input_names=["x"])
    found = cost((tmp_path / "layer.onnx").read_bytes(), {"x": np.zeros((3, 2, 5), np.float32)})
    assert found.by_operator[kind.__name__] == (1, 3 * 2 * gates * 7 * (5 + 7))


def test_costs_are_those_of_a_scan_without_empty_slices():
    """Empty slices share one pass through the convolutions, which all other slices have for themselves."""
    content = pretrained.find("vessel-cnn").read_bytes()
    found = cost(content, full_scan(content, (28, 28, 28)))
    assert found.by_operator["Conv"] == (2, (28 + 1) * 9 * (28 * 28 * 10 * 12 + 14 * 14 * 12 * 24))


@pytest.mark.parametrize("row", TABLE_1, ids=lambda row: row.name)
def test_effective_parameters_of_table_1(row):
    network = models.build(row.name)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == row.parameters
    missing = 0
    for wiring in wirings(network):
        units = len(wiring.neurons)
        missing += 4 * (units * units - len(pairs(wiring)))
        missing += 4 * (units * wiring.features - sum(wiring.sensory_fan_in))
        assert sum(synapses(wiring).by_type.values()) == len(pairs(wiring)) + sum(wiring.sensory_fan_in)
    unread = sum(
        2 * int((module.sensory_sparsity_mask == 0).all(1).sum())
        for module in network.modules()
        if hasattr(module, "sensory_sparsity_mask")
    )
    assert provenance.effective_parameters(network) == trainable - missing - unread


def test_a_run_whose_wiring_was_changed_is_not_exported(liquid_run, tmp_path):
    copy = RunFolder(tmp_path / "run")
    copy.path.mkdir()
    for path in liquid_run.path.iterdir():
        (copy.path / path.name).write_bytes(path.read_bytes())
    network = copy.load_model()
    mask = network.head.steps[0].layer.rnn_cell.sparsity_mask
    source, target = mask.nonzero()[7].tolist()
    with torch.no_grad():
        mask[source, target] = 0
    copy.save_weights(network, "best")
    with pytest.raises(AuditError, match=f"the synapse {source} -> {target} differs from the wiring"):
        export.export(copy.path, tmp_path / "out", export.Options(precisions=()))
    assert not (tmp_path / "out").exists()


def test_audit_json_says_the_same(liquid_bundle):
    document = json.loads((liquid_bundle.path / "audit.json").read_text())
    assert document["audit"]["problems"] == []
    assert document["audit"]["bytes"] == liquid_bundle.model.stat().st_size
    assert document["audit"]["parameters"]["trainable"] == 37265
    assert document["choice"]["recommended"] == "fp32"
