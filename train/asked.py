"""What a training is asked for, as far as names alone tell whether it can be: before torch, and before hours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.train import datasets
from liquidlens.train.recipes import settings_for


def check(
    model: str,
    data: str,
    recipe: str | None = None,
    changes: dict[str, Any] | None = None,
    flags: Sequence[str] = (),
    size: tuple[int, ...] | None = None,
    data_root: str | Path | None = None,
) -> None:
    """Raise LiquidLensError for names that do not exist, values that do not fit a recipe, a flag or a number of axes
    that the model has not, and data that cannot be had.  Arguments are those of `train.train`."""
    settings_for(model, recipe, changes)
    datasets.check(data, data_root)
    try:
        models.check(model, size and (1, *size), None, flags)
    except ValueError as error:
        raise LiquidLensError(f"{model} cannot be trained on {data}: {str(error).rstrip('.')}.") from error
