"""Files of modules with ncps layers against what the exporters of torch.onnx make of them, and against PyTorch.

``make bench-ncps`` runs this, an hour or so: exporting an LTC naively takes minutes.  One CPU thread; times are medians
of alternating runs in one process, and ratios matter more than milliseconds, which depend on the machine.  The naive
files know one length; a naive batch of time spans is wrong in ncps, so that those are measured for one sample.
"""

import argparse
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from ncps.torch import LTC, CfC, LTCCell, WiredCfCCell
from ncps.wirings import NCP, AutoNCP
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.liquid import alternate
from liquidlens import export_onnx

FEATURES, STEPS, BATCHES = 8, 28, (1, 32)


class WithState(nn.Module):
    """A layer or a cell: all that it takes in, all that it gives out."""

    def __init__(self, layer: nn.Module, head: nn.Module | None = None):
        super().__init__()
        self.layer, self.head = layer, head or nn.Identity()

    def forward(self, x: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:
        y, hx = self.layer(x, hx)
        return self.head(y), hx


class OfCell(WithState):
    def forward(self, x: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x, hx, 1.0)


class Timed(WithState):
    def forward(self, x: Tensor, hx: Tensor, timespans: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.layer(x, hx, timespans)


class Mixed(WithState):
    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        y, (h, c) = self.layer(x, (h, c))
        return self.head(y), h, c


class Images(WithState):
    """The convolutions of ncps's Atari example, in our words, in front of a CfC."""

    def __init__(self) -> None:
        super().__init__(CfC(64, 64, proj_size=4))
        layers: list[nn.Module] = []
        for inputs, outputs in ((4, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(inputs, outputs, 5, 2, 2), nn.ReLU(), nn.BatchNorm2d(outputs)]
        self.maps = nn.Sequential(*layers)

    def forward(self, x: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:
        features = self.maps(x.flatten(0, 1)).mean((-1, -2))
        return self.layer(features.reshape(x.shape[0], x.shape[1], 64), hx)


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    units: int
    shape: tuple[int, ...] = (STEPS, FEATURES)
    kind: str = ""


def wiring() -> AutoNCP:
    return AutoNCP(32, 4, seed=22222)


CASES = {
    "LTC, AutoNCP(32, 4)": Case(lambda: WithState(LTC(FEATURES, wiring())), 32),
    "LTC, NCP of 28": Case(lambda: WithState(LTC(FEATURES, NCP(10, 10, 8, 6, 6, 4, 6))), 28),
    "LTC, 32 units": Case(lambda: WithState(LTC(FEATURES, 32)), 32),
    "LTC, 64 units": Case(lambda: WithState(LTC(FEATURES, 64)), 64),
    "LTC, AutoNCP(128, 8)": Case(lambda: WithState(LTC(FEATURES, AutoNCP(128, 8, seed=22222))), 128),
    "LTC, mixed": Case(lambda: Mixed(LTC(FEATURES, wiring(), mixed_memory=True)), 32, kind="mixed"),
    "LTC, time spans": Case(lambda: Timed(LTC(FEATURES, wiring())), 32, kind="timed"),
    "LTCCell": Case(lambda: OfCell(LTCCell(wiring(), FEATURES)), 32, (FEATURES,)),
    "CfC, 64 units": Case(lambda: WithState(CfC(FEATURES, 64, proj_size=4)), 64),
    "CfC, AutoNCP(32, 4)": Case(lambda: WithState(CfC(FEATURES, wiring())), 32),
    "CfC, pure": Case(lambda: WithState(CfC(FEATURES, 64, mode="pure")), 64),
    "CfC, mixed": Case(lambda: Mixed(CfC(FEATURES, 64, mixed_memory=True)), 64, kind="mixed"),
    "CfC, images": Case(Images, 64, (16, 4, 42, 42)),
    "WiredCfCCell": Case(lambda: OfCell(WiredCfCCell(FEATURES, wiring())), 32, (FEATURES,)),
}


class Made(NamedTuple):
    content: bytes
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("torch.onnx", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(name).setLevel(logging.ERROR)
    console = Console(width=150)  # wide tables, wherever they are printed to
    warm_up()
    columns = ("", "export", "nodes", "bytes", "load", *(f"batch {n}" for n in BATCHES))
    for name, case in CASES.items():
        if arguments.only in name:
            table = Table(*columns, title=name, title_justify="left", width=120)
            for row in measure(case, arguments.repeats):
                table.add_row(*row)
            console.print(table)


def warm_up() -> None:
    """The first export of a process pays for imports."""
    ours(WithState(CfC(2, 2, backbone_layers=0)), {"x": torch.randn(2, 3, 2), "hx": torch.rand(2, 2)})


def measure(case: Case, repeats: int) -> list[tuple[str, ...]]:
    """Rows of one case: ours, dynamo, TorchScript, eager, and how much better ours is than each."""
    torch.manual_seed(0)
    np.random.seed(0)
    module = case.make().eval()
    timed = case.kind == "timed"
    example = inputs(case, 1 if timed else 2)
    made = {
        "ours": ours(module, inputs(case, 2)),
        "dynamo": naive(module, example, dynamo=True),
        "TorchScript": naive(module, example, dynamo=False),
    }
    rows: dict[str, list[float]] = {}
    for name, (content, seconds) in made.items():
        nodes = sum(len(graph.node) for graph in graphs(onnx.load_from_string(content).graph))
        rows[name] = [seconds, nodes, len(content), load(content, 1 if seconds > 30 and name == "TorchScript" else 9)]
    rows["eager"] = [float("nan")] * 4
    sessions = {name: session_of(content) for name, (content, _) in made.items()}
    for batch in BATCHES:
        given = inputs(case, batch)
        feeds = {name: tensor.numpy() for name, tensor in given.items()}
        alone = timed and batch > 1  # the naive files would be wrong
        running = {"ours": sessions["ours"]} if alone else sessions
        actions: list[Callable[[], object]] = [partial(run, session, feeds) for session in running.values()]
        actions += [] if alone else [partial(eager, module, given)]
        if not alone:
            agree(sessions, feeds)
        times = alternate(actions, repeats if batch == 1 else max(5, repeats // 4))
        by_name = dict(zip([*running, *([] if alone else ["eager"])], times, strict=True))
        for name, row in rows.items():
            row.append(by_name.get(name, float("nan")))
    shown = [(name, *map(said, row, FORMATS)) for name, row in rows.items()]
    for name in ("dynamo", "TorchScript", "eager"):
        ratios = (theirs / mine for theirs, mine in zip(rows[name], rows["ours"], strict=True))
        shown.append((f"{name} / ours", *(said(ratio, "{:.1f}x") for ratio in ratios)))
    return shown


FORMATS = ("{:.1f} s", "{:,.0f}", "{:,.0f}", "{:.1f} ms", "{:.3f} ms", "{:.3f} ms")


def said(value: float, how: str) -> str:
    return "" if value != value else how.format(value)


def inputs(case: Case, batch: int) -> dict[str, Tensor]:
    given = {"x": torch.randn(batch, *case.shape)}
    states = ("h", "c") if case.kind == "mixed" else ("hx",)
    given |= {name: torch.rand(batch, case.units) / 2 for name in states}
    return given | ({"timespans": 0.1 + torch.rand(batch, STEPS)} if case.kind == "timed" else {})


def ours(module: nn.Module, example: dict[str, Tensor]) -> Made:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        path = export_onnx(module, example, Path(folder) / "ours.onnx").path
        return Made(path.read_bytes(), time.perf_counter() - started)


def naive(module: nn.Module, example: dict[str, Tensor], dynamo: bool) -> Made:
    """The file as the exporter writes it, with a free batch where one sample is not all that ncps can."""
    content: Any = io.BytesIO()
    free = {} if "timespans" in example else {name: {0: "batch"} for name in example}
    names: Any = {"input_names": list(example), "output_names": [f"out_{i}" for i in range(3 if "c" in example else 2)]}
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = tuple(free.values()) or None
            program = torch.onnx.export(
                module, tuple(example.values()), dynamo=True, dynamic_shapes=shapes, verbose=False, **names
            )
            assert program is not None
            program.save(content, external_data=False)
        else:
            torch.onnx.export(
                module, tuple(example.values()), content, dynamo=False, opset_version=17, dynamic_axes=free, **names
            )
    return Made(content.getvalue(), time.perf_counter() - started)


def graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [graph, *(inner for body in bodies for inner in graphs(body))]


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def load(content: bytes, repeats: int) -> float:
    """Median milliseconds of a session's start."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        session_of(content)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def run(session: onnxruntime.InferenceSession, feeds: dict[str, Any]) -> list[Any]:
    return session.run(None, feeds)


@torch.no_grad()
def eager(module: nn.Module, given: dict[str, Tensor]) -> object:
    return module(**given)


def agree(sessions: dict[str, onnxruntime.InferenceSession], feeds: dict[str, Any]) -> None:
    """All files give the same answer, or there is nothing to compare."""
    first, *others = (run(session, feeds) for session in sessions.values())
    for other in others:
        assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(first, other, strict=True))


if __name__ == "__main__":
    main()
