"""What a file of a module says about itself, under the metadata key ``liquidlens.module``."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic

from liquidlens.errors import LiquidLensError
from liquidlens.export.facts import Kind
from liquidlens.manifest import Parameters, Stored

KEY, CHECKSUM = "liquidlens.module", "liquidlens.module.sha256"


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Layer(_Part):
    """A layer of ncps: its path in the module, its class, neurons, synapses, and seconds between steps (None: the
    caller gives them)."""

    path: str
    kind: str
    neurons: int
    synapses: int | None
    sensory_synapses: int | None
    span: float | None


class Checks(_Part):
    """The largest differences, relative where values exceed 1; None: not checked, or it does not apply.

    torch: the file from the module as ncps runs it, for `sizes`; with time spans sample by sample.
    pieces: a sequence in pieces, states passed on, from the whole one.  steps: likewise, one step at a time.
    """

    tolerance: float
    sizes: tuple[dict[str, int], ...]
    torch: float
    pieces: float | None = None
    steps: float | None = None


class Recorded(Stored):
    """One initializer; of a module it may be "unexplained"."""

    kind: Kind  # type: ignore[assignment]  # a manifest records no unexplained one


class ModuleReport(_Part):
    """The whole report.

    form: how time is written: ``loop``, ``unrolled``, ``step`` (one step a call) or ``plain`` (no axis of time).
    inputs, outputs: name -> its axes that may vary -> what they are called.  states: input -> the output that is its
    next value; the first one is zeros.  initializers, graph_digest: as in `liquidlens.manifest.Manifest`.
    """

    format: Literal[1] = 1
    module: str
    form: Literal["loop", "unrolled", "step", "plain"]
    inputs: dict[str, dict[int, str]]
    outputs: dict[str, dict[int, str]]
    states: dict[str, str]
    layers: tuple[Layer, ...]
    parameters: Parameters
    checks: Checks
    versions: dict[str, str]
    initializers: dict[str, Recorded]
    graph_digest: str

    def to_metadata(self) -> dict[str, str]:
        """The metadata of an ONNX file with this report."""
        text = self.model_dump_json(exclude_defaults=True)
        return {KEY: text, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "ModuleReport":
        """Read the report.  Raises LiquidLensError if it is damaged, or not the one that was exported."""
        if metadata.get(CHECKSUM) != hashlib.sha256(metadata[KEY].encode()).hexdigest():
            raise LiquidLensError("the file's report is not the one that was exported: its checksum differs.")
        try:
            return cls.model_validate_json(metadata[KEY])
        except pydantic.ValidationError as error:
            raise LiquidLensError(f"the file's report is damaged: {error.errors()[0]['msg']}.") from error


@dataclass(frozen=True)
class Exported:
    """A written file, and what it says about itself."""

    path: Path
    bytes: int
    report: ModuleReport
