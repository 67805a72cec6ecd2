"""What is known about exported files: plain data, which ``audit.json`` holds and the pages for people show."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic_core import to_json as to_json_bytes

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import Parameters, Stored, Wiring

Precision = Literal["fp32", "fp16", "int8-dynamic", "int8-static"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8-dynamic", "int8-static")

Profile = Literal["loop", "unrolled", "step"]
PROFILES: tuple[Profile, ...] = ("loop", "unrolled", "step")

#: Versions of ONNX's operator set that can be asked for.  18 is what the exporter speaks; ONNX Runtime 1.31 and the
#: older runtimes on devices understand the default.
OPSETS = range(18, 24)
OPSET = 20


def check_opset(opset: int) -> None:
    """Raise LiquidLensError for an operator set that files cannot be written in."""
    if opset not in OPSETS:
        age = "old" if opset < OPSETS[0] else "new"
        raise LiquidLensError(f"Operator set {opset} is too {age}: files are written for {OPSETS[0]} to {OPSETS[-1]}.")


#: What an initializer is for.  weights: comes from trained parameters.  masks: which synapses exist.
#: constants: shapes, axes, the front's grid, the temperature, and the statistics of the out-of-distribution score.
Kind = Literal["weights", "masks", "constants", "unexplained"]


class Initializer(Stored):
    """One tensor that a file stores: what its manifest records of it, and what the file itself shows.

    kind: "unexplained" where no manifest has it, or nothing gives its values.
    """

    name: str
    kind: Kind  # type: ignore[assignment]  # no manifest records an unexplained one
    sources: tuple[str, ...] = ()  # here written even if there are none
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def stored_parameters(initializers: Iterable[Initializer]) -> int:
    """Numbers in initializers that are weights."""
    return sum(math.prod(i.shape) for i in initializers if i.kind == "weights")


@dataclass(frozen=True)
class Cost:
    """What one scan of the input contract's size costs, counted while the file ran, without graph optimization.

    nodes: how many were executed, every pass through a loop counted.
    macs: multiplications that are added up in matrix products, convolutions and recurrent layers; not those by element,
        as of liquid layers whose tables are by pairs of neurons (their sigmoids tell how many).
    sigmoids, tanhs: elements that go through Sigmoid and Tanh; those inside LSTM, GRU and RNN operators too.
    by_operator: operator -> (nodes executed, MACs), the dearest first.
    """

    nodes: int
    macs: int
    sigmoids: int
    tanhs: int
    by_operator: dict[str, tuple[int, int]]


class Synapses(Wiring):
    """The wiring of one liquid layer, and how many synapses join which types of neurons.

    by_type: "sensory -> inter": 120, "inter -> command": 64, ...
    """

    by_type: dict[str, int]


@dataclass(frozen=True)
class FileAudit:
    """What one ONNX file holds.

    model: name and number of the model, None for a foreign file.
    operators: operator -> how often it is written, bodies of loops included.
    bytes_by_class: bytes of "weights", "masks", "constants", "unexplained", "metadata" (the manifest) and "graph" (all
        the rest).
    parameters: as the manifest counts them; None for a foreign file.
    problems: what is wrong, one sentence each; empty for a sound file.
    notes: what could not be checked, and why.
    """

    file: str
    bytes: int
    sha256: str
    model: str | None
    opset: dict[str, int]
    operators: dict[str, int]
    initializers: tuple[Initializer, ...]
    bytes_by_class: dict[str, int]
    parameters: Parameters | None
    cost: Cost | None
    synapses: tuple[Synapses, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The tensors that come from nowhere that is known."""
        return tuple(initializer.name for initializer in self.initializers if initializer.kind == "unexplained")

    @property
    def stored(self) -> int:
        """Numbers in tensors of weights; of a foreign file, in all tensors of fractions."""
        if self.model is not None:
            return stored_parameters(self.initializers)
        return sum(math.prod(i.shape) for i in self.initializers if "float" in i.dtype)


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability plot: mean probability, share of scans that are right (or positive), number of scans."""

    confidence: float
    share: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """Calibration of one split, with one temperature."""

    ece: float
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration:
    """The temperature, and what it does; it was fitted on validation.

    reason: "lowers the loss of scans that it was not fitted to", or why it is 1.
    before, after: split ("val", "test") -> at temperature 1, and at the file's.
    """

    temperature: float
    reason: str
    before: dict[str, Reliability]
    after: dict[str, Reliability]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Operating:
    """The figures at the operating point, on one split.

    figures: auc, accuracy; of binary models also sensitivity and specificity; each over all scans.
    coverage, accuracy_when_sure: share of scans on which the model does not abstain, and accuracy on those.
    """

    figures: dict[str, Interval]
    coverage: float
    accuracy_when_sure: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One precision variant, measured; what has a default here is not known of one without a file.

    file: its name in the bundle; None if it was rejected before a file was worth writing.
    converted: operator -> how many of them compute in int8 (fp16: "initializers" -> how many are stored in float16).
    left: operator -> (how many stayed as they were, why).
    rejected: the reason why this variant must not be used, or None.
    milliseconds: batch size -> median milliseconds of a run on one CPU thread.
    fastest_milliseconds: of batch size 1, the fastest run: what the choice goes by, since other work on the machine
        disturbs it least.
    figures: split ("val", "test") -> "auc", "accuracy".
    max_logit_difference: from torch, over validation and test scans.
    max_probability_difference, changed_labels: against fp32, over the same.
    ood_share: share of the validation scans that it calls unlike the training scans.
    """

    precision: Precision
    file: str | None = None
    bytes: int = 0
    converted: dict[str, int] = field(default_factory=dict)
    left: dict[str, tuple[int, str]]
    rejected: str | None
    recommended: bool = False
    load_milliseconds: float = math.nan
    milliseconds: dict[int, float] = field(default_factory=dict)
    fastest_milliseconds: float = math.nan
    figures: dict[str, dict[str, Interval]] = field(default_factory=dict)
    max_logit_difference: float = math.nan
    max_probability_difference: float = math.nan
    changed_labels: int = 0
    ood_share: float = math.nan


@dataclass(frozen=True)
class Choice:
    """Which variant ``model.onnx`` is, and why: the rule, applied."""

    recommended: Precision
    rule: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Parity:
    """The largest differences between an ONNX file and torch.

    scans: how many different scans were compared; sizes and batch_sizes: in which sizes and batches.
    max_difference: by output; that of ``ood`` is relative.
    """

    scans: int
    sizes: tuple[tuple[int, ...], ...]
    batch_sizes: tuple[int, ...]
    max_logit_difference: float
    max_difference: dict[str, float]
    changed_labels: int


@dataclass(frozen=True)
class Document:
    """``audit.json``.

    manifest: the manifest of ``model.onnx``, as JSON.
    parity: profile -> parity of its fp32 file.
    operating: split -> figures of the fp32 file.
    golden: file -> output -> how far it is from ``golden.npz``; that of ``ood`` is relative.
    environment: software that the timings were taken with, and number of threads; no host names.
    """

    manifest: dict
    parity: dict[str, Parity]
    calibration: Calibration | None
    operating: dict[str, Operating]
    variants: tuple[Variant, ...]
    choice: Choice
    golden: dict[str, dict[str, float]]
    audit: FileAudit
    environment: dict[str, str] = field(default_factory=dict)


def to_json(facts: Document | FileAudit) -> str:
    """Facts as JSON; figures that are not defined are the text "NaN": JSON has no such number."""
    return to_json_bytes(facts, indent=2, inf_nan_mode="strings").decode() + "\n"
