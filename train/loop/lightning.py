"""PyTorch Lightning, without what it would bring along and nothing here uses.

Lightning imports torchmetrics, and that imports transformers and SciPy's signal processing wherever they are installed,
for metrics of texts and sounds: eight seconds (torchmetrics' issue 2242), and Matplotlib for plots of metrics: half a
second.  While Lightning is imported here, torchmetrics finds them not installed.  Afterwards it is told the truth
again: a program that uses its metrics of texts, too, takes them from their own modules, such as
``torchmetrics.text.bert``.  Only its plots stay off; who wants them imports torchmetrics first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from lightning_utilities.core import imports

PLOTS = "matplotlib"
HIDDEN = ("transformers", "scipy", PLOTS)


@contextmanager
def _hidden() -> Iterator[None]:
    """Meanwhile, who asks lightning_utilities for these packages is told that they are not installed."""
    look, available = imports.RequirementCache._check_available, imports.package_available
    told: list[Any] = []

    def check(self: Any) -> None:
        if (self.requirement or self.module).startswith(HIDDEN):
            self.available, self.message = False, "hidden by liquidlens"
            told.append(self)
        else:
            look(self)

    with (
        patch.object(imports.RequirementCache, "_check_available", check),
        patch.object(imports, "package_available", lambda name: name not in HIDDEN and available(name)),
    ):
        yield
    for requirement in told:
        if requirement.requirement != PLOTS:  # whose functions are defined without it by now
            vars(requirement).pop("available", None)  # it looks anew when it is asked


with _hidden():
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

__all__ = ["ProgressBar", "RichProgressBar", "pl"]
