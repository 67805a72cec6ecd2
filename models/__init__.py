"""The model zoo: ``models.build("LiqExp4N2")`` returns a torch module, ``models.names()`` lists them all."""

from models.decision import Classifier, Decision
from models.registry import Entry, build, entry, names

__all__ = ["Classifier", "Decision", "Entry", "build", "entry", "names"]
