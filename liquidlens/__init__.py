"""LiquidLens: compact liquid neural networks for medical images, as audited ONNX files that run anywhere.

    from liquidlens import Predictor

    prediction = Predictor("vessel").predict("scan.nii.gz")

Everything named here is loaded when it is first touched: importing `liquidlens` itself loads no library.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from liquidlens.errors import LiquidLensError

if TYPE_CHECKING:
    from liquidlens import export, imaging, models, serve, train
    from liquidlens.imaging import Scan, read
    from liquidlens.serve.predict import Prediction, Predictor

# ONNX Runtime's own builds report usage to Microsoft unless they are told not to before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "LiquidLensError", "Prediction", "Predictor", "Scan", "export", "imaging", "models", "read", "serve", "train",
]  # fmt: skip

#: Where the names of other modules come from.
_NAMES = {
    "Scan": "liquidlens.imaging",
    "read": "liquidlens.imaging",
    "Prediction": "liquidlens.serve.predict",
    "Predictor": "liquidlens.serve.predict",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
