"""The model zoo: ``models.build("LiqExp4N2")`` returns a torch module, ``models.names()`` lists them all."""

from liquidlens.models.decision import Classifier, Decision
from liquidlens.models.entry import Entry
from liquidlens.models.registry import build, check, entry, names, parameters

__all__ = ["Classifier", "Decision", "Entry", "build", "check", "entry", "names", "parameters"]
