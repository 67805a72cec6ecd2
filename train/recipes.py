"""Recipes: how a model is trained.  A recipe and a seed determine a run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imaging.errors import LiquidLensError, unknown


class Training(BaseModel):
    """The training settings of a recipe.  Adam and binary cross entropy throughout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    learning_rate: float = Field(gt=0)
    #: The learning rate over time: constant, or one cycle (Smith, 2018) up to `learning_rate` and down to nothing.
    schedule: Literal["constant", "one-cycle"] = "constant"
    batch_size: int = Field(gt=0)
    max_epochs: int = Field(gt=0)
    #: Stop after this many epochs whose validation loss exceeds the best by more than `tolerance`; None: never.
    patience: int | None = None
    tolerance: float = 0.001
    #: Augmentation, see `train.augment.jitter`: largest shift in pixels, and largest relative change of size.
    shift: float = Field(default=0.0, ge=0)
    scale: float = Field(default=0.0, ge=0, lt=1)
    #: Start liquid models at the share of each class: see `train.initialise`.
    initialise_from_labels: bool = False
    #: Largest norm of the gradient; None: not clipped.
    clip_gradient: float | None = None


RECIPES = {
    # hse-2024, "Training setup", and the published source: early stopping counts only clear rises of the loss.
    "hse-2024": Training(recipe="hse-2024", learning_rate=5e-4, batch_size=64, max_epochs=500, patience=10),
    # Our own: a useful liquid model in minutes.
    "quick": Training(
        recipe="quick",
        learning_rate=3e-3,
        schedule="one-cycle",
        batch_size=32,
        max_epochs=60,
        shift=2.0,
        scale=0.1,
        initialise_from_labels=True,
        clip_gradient=1.0,
    ),
}


def training(recipe: str, epochs: int | None = None) -> Training:
    """The settings of a recipe, with another limit of epochs if given.  Raises LiquidLensError for an unknown name."""
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    settings = RECIPES[recipe].model_dump()
    try:
        return Training(**settings if epochs is None else {**settings, "max_epochs": epochs})
    except ValidationError as error:
        raise LiquidLensError(f"A run has at least one epoch, not {epochs}.") from error
