"""LiquidLens: compact liquid neural networks for medical images, as audited ONNX files that run anywhere.

    from liquidlens import Predictor

    prediction = Predictor("vessel").predict("scan.nii.gz")

Everything named here is loaded when it is first touched: importing `liquidlens` itself loads no library.
"""

import os
from typing import TYPE_CHECKING

from liquidlens.errors import LiquidLensError
from liquidlens.lazy import lazily

if TYPE_CHECKING:
    from liquidlens import export, imaging, models, serve, signing, train
    from liquidlens.export.module.writing import Exported, export_onnx
    from liquidlens.imaging import Scan, read, read_safely
    from liquidlens.serve.predict import Prediction, Predictor

# ONNX Runtime's own builds report usage to Microsoft unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "Exported", "LiquidLensError", "Prediction", "Predictor", "Scan", "export", "export_onnx", "imaging", "models",
    "read", "read_safely", "serve", "signing", "train",
]  # fmt: skip

_ROOMS = {room: f"liquidlens.{room}" for room in ("export", "imaging", "models", "serve", "signing", "train")}
_IMAGING = {name: f"liquidlens.imaging:{name}" for name in ("Scan", "read", "read_safely")}
_PREDICT = {name: f"liquidlens.serve.predict:{name}" for name in ("Prediction", "Predictor")}
_MODULE = {name: f"liquidlens.export.module.writing:{name}" for name in ("Exported", "export_onnx")}
__getattr__ = lazily(__name__, _ROOMS | _IMAGING | _PREDICT | _MODULE)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
