"""Exported liquid layers and models against what the exporters make of ncps as it is.

``make bench`` runs this.  One CPU thread; times are medians of alternating runs in one process, and ratios matter more
than milliseconds, which depend on the machine.  The baseline layer is ``ncps.torch.LTC``, traced by both exporters of
``torch.onnx``: tracing spells out every step, and dynamo takes minutes for it.
"""

import argparse
import copy
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import ncps.torch
import numpy as np
import onnx
import onnxruntime
import torch
from ncps.wirings import AutoNCP
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.liquid import alternate
from liquidlens import models
from liquidlens.export.complete import ood
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.export.graph.trace import clean, serialize, to_onnx
from liquidlens.export.graph.unroll import unroll
from liquidlens.imaging import phantoms
from liquidlens.manifest import InputContract
from liquidlens.models.front import Front
from liquidlens.models.layers.folded_ltc import FoldedLTC
from liquidlens.models.layers.liquid import LTC

M = TypeVar("M", bound=nn.Module)

UNITS, MOTOR, STEPS, FEATURES = 32, 10, 28, 28
BATCHES = (1, 32, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--layer", choices=["all", "skip"], default="all", help="skip the layer, which takes minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("torch.onnx", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(name).setLevel(logging.ERROR)
    console = Console(width=130)  # wide tables, wherever they are printed to
    if arguments.layer == "all":
        console.print(layer_table(arguments.repeats))
    for name in ("LiqExp4N2", "LiqExp1N2"):
        console.print(model_table(name, arguments.repeats))


def layer_table(repeats: int) -> Table:
    """The layer alone: AutoNCP(32, 10), 28 steps of 28 features."""
    torch.manual_seed(0)
    theirs = Sequence(ncps.torch.LTC(FEATURES, AutoNCP(UNITS, MOTOR))).eval()
    folded = LTC(FEATURES, AutoNCP(UNITS, MOTOR))
    folded.load_state_dict(theirs.layer.state_dict())
    ours = Sequence(FoldedLTC(folded)).eval()
    made = {
        "ours: loop": _timed(_dynamo, ours),
        "ncps, TorchScript": _timed(_torchscript, theirs),
        "ncps, dynamo": _timed(_dynamo, theirs),
    }
    started = time.perf_counter()
    unrolled = unroll(made["ours: loop"][0])
    made["ours: unrolled"] = unrolled, made["ours: loop"][1] + time.perf_counter() - started

    columns = ("LTC layer", "export", "file", "stripped", "load", *(f"batch {n}" for n in BATCHES))
    table = Table(*columns, title=f"AutoNCP({UNITS}, {MOTOR}), {STEPS} x {FEATURES}")
    measured = {}
    for name, (proto, seconds) in made.items():
        content = proto.SerializeToString()
        measured[name] = [seconds, len(content), len(_stripped(proto)), _load(content, 1 if "Script" in name else 5)]
    inputs = {n: np.random.default_rng(0).random((n, STEPS, FEATURES), np.float32) for n in BATCHES}
    sessions = {name: _session(proto.SerializeToString()) for name, (proto, _) in made.items()}
    expected = theirs(torch.from_numpy(inputs[32])).detach().numpy()
    for name, session in sessions.items():
        difference = np.abs(_run(session, inputs[32])[0] - expected).max()
        assert difference < 1e-5, f"{name} differs from ncps by {difference}"
    eager = []
    for n in BATCHES:
        actions = [partial(_run, session, inputs[n]) for session in sessions.values()]
        *times, torch_time = alternate([*actions, partial(_eager, theirs, torch.from_numpy(inputs[n]))], repeats)
        eager.append(torch_time)
        for name, milliseconds in zip(sessions, times, strict=True):
            measured[name].append(milliseconds)
    for name, row in measured.items():
        table.add_row(name, *_shown(row))
    table.add_row("ncps, PyTorch eager", "", "", "", "", *(f"{ms:.1f} ms" for ms in eager))
    ours_row = measured["ours: loop"]
    for name in ("ncps, TorchScript", "ncps, dynamo"):
        table.add_row(f"ratio to {name}", *(f"{a / b:.1f}x" for a, b in zip(measured[name], ours_row, strict=True)))
    return table


def model_table(name: str, repeats: int) -> Table:
    """A whole model, raw scan to probabilities, against PyTorch eager with ncps's own layer."""
    torch.manual_seed(0)
    network = models.build(name).eval()
    scans = phantoms.vessel3d(splits={"train": 64})["train_images"].astype(np.float32)
    front = Front(InputContract("mask", models.entry(name).input_shape[1:]))
    with torch.no_grad():
        score = ood.fit(network.decide(front(torch.from_numpy(scans))).activations)
    model = CompleteModel(front, network, temperature=1.0, ood=score).eval()
    started = time.perf_counter()
    loop = to_onnx(model)
    seconds = time.perf_counter() - started
    files = {"loop": serialize(loop, {}), "unrolled": serialize(unroll(loop), {})}
    theirs = with_ncps(model).eval()
    table = Table(name, "export", "file", "load", "batch 1", "batch 32", title="Whole model, raw scan to probabilities")
    sessions = {profile: _session(content) for profile, content in files.items()}
    rows = {
        profile: [f"{seconds:.1f} s", f"{len(c) / 1000:.0f} kB", f"{_load(c):.0f} ms"] for profile, c in files.items()
    }
    rows["PyTorch eager, ncps"] = ["", "", ""]
    rows["ratio to loop"] = ["", "", ""]
    for n in (1, 32):
        batch = scans[:n]
        actions: list[Callable[[], object]] = [partial(_run, session, batch) for session in sessions.values()]
        times = alternate([*actions, partial(_eager, theirs, torch.from_numpy(batch))], repeats)
        for row, ms in zip((*files, "PyTorch eager, ncps"), times, strict=True):
            rows[row].append(f"{ms:.1f} ms")
        rows["ratio to loop"].append(f"{times[-1] / times[0]:.1f}x")
    for row, cells in rows.items():
        table.add_row(row, *cells)
    return table


class Sequence(nn.Module):
    """A liquid layer without its states."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


def with_ncps(model: M) -> M:
    """The same model with ncps's own layers."""
    twin = copy.deepcopy(model)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, LTC):
                theirs = ncps.torch.LTC(child.input_size, child._wiring)
                theirs.load_state_dict(child.state_dict())
                setattr(module, name, theirs)
    return twin


def _dynamo(layer: nn.Module) -> onnx.ModelProto:
    example = torch.rand(2, STEPS, FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(layer, (example,), dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False)
    assert program is not None
    return program.model_proto


def _torchscript(layer: nn.Module) -> onnx.ModelProto:
    content: Any = io.BytesIO()  # which the old exporter takes, whatever its signature says
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            layer,
            (torch.rand(2, STEPS, FEATURES),),
            content,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        )
    return onnx.load_model_from_string(content.getvalue())


def _timed(make: Callable[[nn.Module], onnx.ModelProto], layer: nn.Module) -> tuple[onnx.ModelProto, float]:
    started = time.perf_counter()
    return make(layer), time.perf_counter() - started


def _stripped(proto: onnx.ModelProto) -> bytes:
    """The file without what the exporter notes about sources."""
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    clean(copied)
    return copied.SerializeToString()


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _load(content: bytes, repeats: int = 5) -> float:
    """Median milliseconds of a session's start."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        _session(content)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _run(session: onnxruntime.InferenceSession, batch: NDArray) -> list[NDArray]:
    return session.run(None, {session.get_inputs()[0].name: batch})


@torch.no_grad()
def _eager(module: nn.Module, batch: torch.Tensor) -> object:
    return module(batch)


def _shown(row: list[float]) -> list[str]:
    seconds, size, stripped, load, *times = row
    return [
        f"{seconds:.1f} s",
        f"{size / 1000:.0f} kB",
        f"{stripped / 1000:.0f} kB",
        f"{load:.0f} ms",
        *(f"{ms:.2f} ms" for ms in times),
    ]


if __name__ == "__main__":
    main()
