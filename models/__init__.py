"""The model zoo: ``models.build("LiqExp4N2")`` returns a torch module, ``models.names()`` lists them all.

What lists models, or refuses a name, needs no torch; it is loaded when a model is built.
"""

from typing import TYPE_CHECKING

from liquidlens.lazy import lazily
from liquidlens.models.entry import Entry
from liquidlens.models.registry import build, check, entry, names, parameters

if TYPE_CHECKING:
    from liquidlens.models.decision import Classifier, Decision

__all__ = ["Classifier", "Decision", "Entry", "build", "check", "entry", "names", "parameters"]
__getattr__ = lazily(__name__, {name: f"{__name__}.decision:{name}" for name in ("Classifier", "Decision")})
