"""What to train on one's own scans if nobody says: model, recipe and size, by rules that are printed with them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets.dataset import Dataset
from liquidlens.train.recipes import training

#: From so many training scans on, the larger of two networks is taken.
MANY = 400
#: Images whose shorter side has fewer pixels are read at half the size.
SMALL = 96
#: A class that is rarer than the most frequent one by this factor is given more weight.
RARE = 4
#: Names to offer by kind, the first one of a kind being the usual one.
FITTING = {
    "volumes": ("LiqExp4N2", "CNNExp4N1", "LiqExp1N2", "CfCExp4N2"),
    "masks": ("LiquidLens-M", "LiquidLens-S", "LiquidLens-CNN", "LiqExp4N2"),
    "images": ("CRNet-NCP-z", "CRNet-FC", "ResNet-8", "MNIST-CNN"),
}


@dataclass(frozen=True)
class Advice:
    """What to train; changes: other values for fields of the recipe; why: sentences."""

    model: str
    recipe: str
    size: tuple[int, ...] | None
    changes: dict[str, Any] = field(default_factory=dict)
    why: tuple[str, ...] = ()


def kind_of(dataset: Dataset) -> str:
    if not dataset.volumes:
        return "images"
    return "masks" if dataset.values == "mask" else "volumes"


def advise(dataset: Dataset, recipe: str | None = None) -> Advice:
    """A model of the kind that the scans are, in a size that they fill, trained by the recipe or else by one for
    minutes."""
    kind, count = kind_of(dataset), len(dataset.labels["train"])
    recipe = recipe or ("liquidlens" if kind == "masks" else "quick")
    changes, weights = _weights(dataset) if training(recipe).loss == "cross-entropy" else ({}, ())
    if kind == "masks":
        name = "LiquidLens-M" if count >= MANY else "LiquidLens-S"
        size = f"{name}, recipe {recipe}: segmented shapes, which it erodes to see how thick they are"
        which = "the larger one" if count >= MANY else f"the smaller one, for fewer than {MANY}"
        return Advice(name, recipe, None, changes, (f"{size}; {count} training scans: {which}.", *weights))
    if kind == "volumes":
        why = (
            f"LiqExp4N2, recipe {recipe}: volumes that a liquid layer reads slice by slice; its 18,475 parameters suit "
            f"{count} training scans, and 28 x 28 x 28 is the size it was made for."
        )
        return Advice("LiqExp4N2", recipe, None, changes, (why, *weights))
    side = int(np.median([min(origin.facts.shape[:2]) for origin in dataset.origins["train"]]))
    pixels = 112 if side >= SMALL else 64
    why = (
        f"CRNet-NCP-z, recipe {recipe}: images; {pixels} x {pixels} pixels, as their shorter sides have {side} in the "
        f"median; {count} training scans."
    )
    return Advice("CRNet-NCP-z", recipe, (pixels, pixels), changes, (why, *weights))


def _weights(dataset: Dataset) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Class weights, if a class is rare."""
    labels = dataset.labels["train"]
    if dataset.task == "multi-label":
        shares = labels.mean(0)
        rare = float(np.max((1 - shares) / np.maximum(shares, 1e-9)))
    else:
        counts = np.bincount(labels, minlength=len(dataset.label_names))
        rare = float(counts.max() / max(counts.min(), 1))
    if rare < RARE:
        return {}, ()
    why = (
        f"Class weights: the rarest class is {rare:.0f} times rarer than the rest, and weighs as much; probabilities "
        "say more of it than there is."
    )
    return {"class_weights": "balanced"}, (why,)


def unknown_model(name: str, dataset: Dataset) -> LiquidLensError:
    """The error for a name that no model has: the models that read such scans."""
    kind = kind_of(dataset)
    return LiquidLensError(
        f"There is no model named {name!r}. For {kind} there are {', '.join(FITTING[kind])}; `liquidlens train DATA` "
        f"alone takes {advise(dataset).model}, and `liquidlens models` lists all."
    )
