"""Export: ``export.export("runs/...")`` turns a run folder into a bundle of audited, self-describing ONNX files."""

import serve  # noqa: F401  # first: it keeps ONNX Runtime from reporting usage
from export.bundle import Bundle
from export.options import Options
from export.pipeline import export

__all__ = ["Bundle", "Options", "export"]
