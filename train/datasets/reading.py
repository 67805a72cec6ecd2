"""How a person wants a table of scans, or a folder of them, to be read: part of every run's recipe."""

import math
from typing import Literal, Self

import pydantic

#: What a person may say that the pixels mean; "colour" is grey values of three colours.
ValuesChoice = Literal["hu", "grey", "mask", "relative", "colour"]


class Reading(pydantic.BaseModel):
    """What is said about a table or a folder beside its name; nothing of it is needed.

    columns: meaning -> the table's own name for that column, {"label": "diagnosis"}.
    labels: the classes, in their order; scans of other labels are left out.  Of a table with a column of 0 and 1 for
        each finding: those columns.
    positive: the class that sensitivity is about, the last one of two.
    values, window: what the pixels mean, and of "hu" which Hounsfield units become 0 and 1.
    spacing: millimetres between the voxels of the network's input: of volumes, what lies in a field of view of this
        scale around the row's point, its mask, or the middle of the scan.  None: whole scans are resized.
    folds, fold: cross-validation, and which of its folds is tested, from 0; without a fold all scans are in every
        split: what the final model is trained on.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = {}
    labels: tuple[str, ...] = ()
    positive: str = ""
    values: ValuesChoice | None = None
    window: tuple[float, float] | None = None
    spacing: tuple[float, float, float] | None = None
    folds: int | None = pydantic.Field(default=None, ge=2, le=20)
    fold: int | None = pydantic.Field(default=None, ge=0)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fold is not None and (self.folds is None or self.fold >= self.folds):
            raise ValueError(f"there is no fold {self.fold}")
        if self.spacing is not None and not all(0 < step < math.inf for step in self.spacing):
            raise ValueError("a spacing is one length in millimetres, or three, above 0")
        if self.window is not None:
            if self.values not in (None, "hu"):
                raise ValueError(f"a window is of Hounsfield units, and the values are {self.values}")
            if not self.window[0] < self.window[1]:
                raise ValueError(f"a window goes up, from {self.window[0]:g} to more")
        return self

    @property
    def whole(self) -> bool:
        """Whether it is that of a final model: trained on all scans."""
        return self.folds is not None and self.fold is None


#: Nothing was said.
PLAIN = Reading()
