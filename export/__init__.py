"""Export: ``export.export("runs/...")`` turns a run folder into a bundle of audited, self-describing ONNX files.

Every name is loaded when it is first touched: the audit of a file needs no torch.
"""

from typing import TYPE_CHECKING

from liquidlens.lazy import lazily

if TYPE_CHECKING:
    from liquidlens.export.bundle import Bundle
    from liquidlens.export.checks.audit import audit
    from liquidlens.export.options import Options
    from liquidlens.export.pipeline import export

__all__ = ["Bundle", "Options", "audit", "export"]
_NAMES = {"Bundle": "bundle", "Options": "options", "audit": "checks.audit", "export": "pipeline"}
__getattr__ = lazily(__name__, {name: f"{__name__}.{place}:{name}" for name, place in _NAMES.items()})
