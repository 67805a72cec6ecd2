"""The model zoo: ``models.build("LiqExp4N2")`` returns a torch module, ``models.names()`` lists them all."""

from models.decision import Classifier, Decision
from models.entry import Entry
from models.registry import build, entry, names, parameters

__all__ = ["Classifier", "Decision", "Entry", "build", "entry", "names", "parameters"]
