"""Export: ``export.export("runs/...")`` turns a run folder into a bundle of audited, self-describing ONNX files."""

from liquidlens.export.bundle import Bundle
from liquidlens.export.checks.audit import audit
from liquidlens.export.options import Options
from liquidlens.export.pipeline import export

__all__ = ["Bundle", "Options", "audit", "export"]
