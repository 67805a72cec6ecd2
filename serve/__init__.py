"""Serving exported files.  Never imports torch, onnx, ncps or medmnist."""

import os

# ONNX Runtime's own builds report usage to Microsoft unless they are told not to before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
