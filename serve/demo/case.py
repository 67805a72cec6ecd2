"""What one visitor has on the table: a scan, a model's answer to it, and its explanation."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan, read_safely
from liquidlens.imaging.budget import Budget
from liquidlens.imaging.field_of_view import FieldOfView
from liquidlens.manifest import Manifest
from liquidlens.serve import explain
from liquidlens.serve.demo.viewer import Window, presets
from liquidlens.serve.predict import Prediction, Predictor, fitting
from liquidlens.serve.predict.presentation import view_of

NOTICE = "Research use only. Not a medical device."
#: Letters of an item's name.
LONGEST_ITEM = 1_000
#: Values along each axis of the occlusion map that the result holds, at most.
MAP_LENGTH = 32


@dataclass(frozen=True, eq=False)
class Case:
    """`name` is what the person calls the scan; `windows` suit it; `model` is the name under which it is served.

    The last three are None until they are asked for (`explained`).
    """

    scan: Scan
    name: str
    model: str
    predictor: Predictor
    prediction: Prediction
    windows: dict[str, Window] = field(default_factory=dict)
    occlusion: explain.Occlusion | None = None
    slices: explain.SliceContribution | None = None
    traces: Sequence[explain.NeuronTrace] = ()

    @classmethod
    def judged(cls, scan: Scan, name: str, model: str, predictor: Predictor, hint: str = "") -> "Case":
        """Raises LiquidLensError if the model does not read the scan.  hint: what its sentence ends with."""
        if (why := fitting.refusal(predictor.manifest, scan)) is not None:
            raise LiquidLensError(f"{name}: {why}{hint and f' {hint}'}")
        return cls(scan, name, model, predictor, predictor.predict(scan, name), presets(scan))

    @property
    def view(self) -> FieldOfView | None:
        """Where the model looks in the scan; None if it reads scans as wholes."""
        return view_of(self.predictor.manifest, self.scan)

    def pointed(self, place: Sequence[float]) -> "Case":
        """The case judged once more, around another voxel (slice, row, column), and not explained.  Raises
        LiquidLensError if the model reads scans as wholes, and if the voxel lies outside."""
        if self.view is None:
            raise LiquidLensError(f"{self.model} reads scans as wholes, not around a point.")
        scan = self.scan.pointed(place)
        prediction = self.predictor.predict(scan, self.name)
        return replace(self, scan=scan, prediction=prediction, occlusion=None, slices=None, traces=())

    def explained(self, progress: Any = None) -> "Case":
        """The case with its explanation.  progress: is called with the patches done and to do."""
        return replace(
            self,
            occlusion=explain.occlusion(self.predictor, self.scan, say=progress),
            slices=explain.slices(self.predictor, self.scan),
            traces=explain.trace(self.predictor, self.scan),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is shown, as plain values."""
        manifest = self.predictor.manifest
        return {
            "notice": NOTICE,
            "model": {
                "name": self.model,
                "model": manifest.model,
                "dataset": manifest.provenance.dataset,
                "weights_sha256": manifest.provenance.weights_sha256,
                "graph_digest": manifest.graph_digest,
            },
            "scan": {
                "name": self.name,
                "shape": list(self.scan.pixels.shape),
                "spacing_mm": list(self.scan.spacing) if self.scan.spacing else None,
                "modality": self.scan.modality,
                "units": self.scan.units,
                "oriented": self.scan.oriented,
                "centre": self.view and list(self.view.centre),
                "notes": list(self.scan.notes),
            },
            # A model whose limit is infinite has none, and JSON has no infinity.
            "prediction": {
                name: None if value == math.inf else value for name, value in self.prediction.to_json().items()
            },
            "explanation": self._explanation() if self.occlusion else None,
        }

    def _explanation(self) -> dict[str, Any]:
        assert self.occlusion is not None  # noqa: S101  (for the type checker: to_json asks)
        found = self.occlusion
        coarse = thinned(found.map, MAP_LENGTH)
        return {
            "occlusion": {
                "label": found.label,
                "meaning": "by how much the label's log-odds fall if what is here is hidden",
                "probability": found.baseline,
                "lowest_probability": found.hidden,
                "map_shape": list(coarse.shape),
                "map": np.round(coarse, 4).tolist(),
            },
            "slices": self.slices
            and {
                "label": self.slices.label,
                "position": np.round(self.slices.positions, 2).tolist(),
                "contribution": np.round(self.slices.contribution, 5).tolist(),
                "probabilities": np.round(self.slices.probabilities, 5).tolist(),
            },
            "neurons": [
                {"layer": t.wiring.layer, "types": t.wiring.neurons, "states": np.round(t.states, 4).tolist()}
                for t in self.traces
            ],
        }

    @property
    def nbytes(self) -> int:
        """Bytes in memory, of the scan and of the map; the rest is little."""
        return self.scan.pixels.nbytes + (self.occlusion.map.nbytes if self.occlusion else 0)

    def to_text(self) -> str:
        return json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)


def hint(manifests: Mapping[str, Manifest], scan: Scan, model: str) -> str:
    """Where to open a scan that `model` does not read, or that fits others better, by the contracts of all models that
    are served; empty if it is fine where it is."""
    names = fitting.offered(manifests, scan)
    if not names:
        return "No model here reads it."
    doubts = {name: fitting.doubts(manifests[name], scan) for name in names}
    if doubts.get(model) == doubts[names[0]]:
        return ""
    tab = fitting.kind(manifests[names[0]])
    suited = ", ".join(name for name in names if fitting.kind(manifests[name]) == tab)
    return f"Models that {'it fits better' if model in doubts else 'read it'}, in the tab {tab}: {suited}."


def thinned(values: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Every n-th value along each axis, such that at most `length` remain."""
    return values[tuple(slice(step // 2, None, step) for step in (-(-n // length) for n in values.shape))]


def read_upload(files: Sequence[str], budget: Budget, colour: bool = False, item: str = "") -> tuple[Scan, str]:
    """The scan that uploaded files hold, and what to call it.  The files are deleted, whatever happens.

    Several files are the slices of one series.  They are first moved to a folder of this call alone, with the names
    that the person gave them.  item: which scan, if they hold several, as `imaging.read` takes it
    after a ``#``.  Raises LiquidLensError, which names files as the person does.
    """
    single = len(files) == 1
    item = item.strip().lstrip("#")
    if len(item) > LONGEST_ITEM or not item.isprintable():  # half a surrogate is not printable, too
        raise LiquidLensError(f"An item is one line of at most {LONGEST_ITEM} letters.")
    selection = f"#{item}" if item else ""
    name = Path(files[0]).name if single else f"the series of {len(files)} files"
    with tempfile.TemporaryDirectory(prefix="scan-", dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        source = Path(folder)
        names = {}  # what the person calls the files of the folder
        for number, file in enumerate(files):
            target = source / (Path(file).name if single else f"{number:05d}-{Path(file).name}")
            names[target.name] = Path(file).name
            try:
                shutil.move(file, target)
            except FileNotFoundError:
                raise LiquidLensError(f"{name}: this upload was read already; upload it again.") from None
        path = target if single else source
        try:
            return read_safely(f"{path}{selection}", budget, colour=colour), f"{name}{selection}"
        except LiquidLensError as error:
            sentence = str(error).replace(str(path), name)
            for ours, theirs in {source.name: name, **names}.items():
                sentence = sentence.replace(ours, theirs)
            raise LiquidLensError(sentence) from error
