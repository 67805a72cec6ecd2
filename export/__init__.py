"""Export: ``export.export("runs/...")`` turns a run folder into a bundle with one self-describing ONNX file."""

from export.bundle import Bundle, export

__all__ = ["Bundle", "export"]
