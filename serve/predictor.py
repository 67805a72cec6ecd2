"""The predictor: one exported file, loaded and ready to judge scans.  No torch, no onnx."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from imaging import LiquidLensError, Scan
from serve.manifest import Manifest, abstains


@dataclass(frozen=True)
class Prediction:
    """What a model says about one scan."""

    label: str
    #: Calibrated probability per label; they sum to 1, except those of multi-label models.
    probabilities: dict[str, float]
    #: Whether the model is not sure: the scan lies within its abstain band.
    abstained: bool
    #: The out-of-distribution score, and whether it exceeds the model's threshold.
    ood_score: float
    ood: bool
    #: Wall time of the ONNX Runtime call.
    milliseconds: float


class Predictor:
    """Loads one ``.onnx`` file on the CPU.

    ``manifest`` says what the file is.  Raises LiquidLensError if the file is missing, is not ONNX, carries no
    manifest, or differs from the ``SHA256SUMS`` beside it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise LiquidLensError(f"{self.path}: there is no such file.")
        content = self.path.read_bytes()
        check_sum(self.path, hashlib.sha256(content).hexdigest())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: they arrive as exceptions anyway
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            raise LiquidLensError(f"{self.path}: not a readable ONNX file ({_first_line(error)}).") from error
        try:
            self.manifest = Manifest.from_metadata(self.session.get_modelmeta().custom_metadata_map)
            if self.manifest.profile == "step":
                raise LiquidLensError("it reads one slice at a time (profile step); give the bundle's model.onnx.")
            self._warm_up()
        except LiquidLensError as error:
            raise LiquidLensError(f"{self.path}: {error}") from error

    def predict(self, scan: Scan, name: str = "the scan") -> Prediction:
        """Judge one scan; `name` is what errors call it.

        Raises LiquidLensError if the model reads volumes and this is an image, or the reverse, and if the pixels are so
        large that the answer is not a number.
        """
        expected = len(self.manifest.input.size)
        if scan.pixels.ndim != expected:
            kinds = {2: "a 2D image", 3: "a volume"}
            raise LiquidLensError(
                f"{name}: {self.manifest.model} reads {kinds[expected]}, and this is {kinds[scan.pixels.ndim]}."
            )
        if self.manifest.input.channels == 3:
            raise LiquidLensError(
                f"{name}: {self.manifest.model} reads colour images, and scans are read as grey ones."
            )
        started = time.perf_counter()
        outputs = self.run(scan.pixels[None])
        milliseconds = 1000 * (time.perf_counter() - started)
        probabilities, score = outputs["probabilities"][0], float(outputs["ood"][0])
        if not np.isfinite([*probabilities, score]).all():
            raise LiquidLensError(f"{name}: the pixel values are too large, the model's answer is not a number.")
        return Prediction(
            label=self._label(probabilities),
            probabilities={label: float(p) for label, p in zip(self.manifest.labels, probabilities, strict=True)},
            abstained=bool(abstains(self.manifest.operating, probabilities[None])[0]),
            ood_score=score,
            ood=score > self.manifest.out_of_distribution.threshold,
            milliseconds=milliseconds,
        )

    def run(self, scans: NDArray) -> dict[str, NDArray[np.float32]]:
        """The outputs by name for raw scans of one size: (batch, slices, rows, columns), (batch, rows, columns), or
        (batch, rows, columns, 3) in colour."""
        names = [output.name for output in self.session.get_outputs()]
        try:
            values = self.session.run(names, {"scan": np.ascontiguousarray(scans, np.float32)})
        except Exception as error:
            raise LiquidLensError(f"ONNX Runtime cannot run {self.path} ({_first_line(error)}).") from error
        return dict(zip(names, values, strict=True))

    def _warm_up(self) -> None:
        """Run once, so that the first scan is not slower than the others; and see that graph and manifest agree."""
        expects = self.manifest.input
        colour = (3,) if expects.channels == 3 else ()
        outputs = self.run(np.zeros((1, *expects.size, *colour), np.float32))
        expected = {"probabilities": (1, len(self.manifest.labels)), "ood": (1,)}
        for name, shape in expected.items():
            found = outputs[name].shape if name in outputs else "missing"
            if found != shape:
                raise LiquidLensError(f"the graph does not fit its manifest: output {name} is {found}, not {shape}.")

    def _label(self, probabilities: NDArray[np.float32]) -> str:
        if self.manifest.task == "multi-label":
            above = (
                label
                for label, p in zip(self.manifest.labels, probabilities, strict=True)
                if p > self.manifest.operating.threshold
            )
            return ", ".join(above) or "none"
        if len(self.manifest.labels) == 2:
            return self.manifest.labels[int(probabilities[1] > self.manifest.operating.threshold)]
        return self.manifest.labels[int(probabilities.argmax())]


def check_sum(path: Path, found: str) -> None:
    """Raise LiquidLensError if the ``SHA256SUMS`` beside a file says another SHA-256 than `found`."""
    sums = path.with_name("SHA256SUMS")
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        if name == path.name and expected != found:
            raise LiquidLensError(f"{path} is not the file that was exported: its SHA-256 differs from {sums}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
