"""What an export may be asked for, and what it refuses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from liquidlens.errors import LiquidLensError
from liquidlens.export.facts import OPSET, PRECISIONS, Precision, Profile, check_opset
from liquidlens.export.measure.operating import Rule
from liquidlens.train.run import RunRecipe, Weights

if TYPE_CHECKING:
    from liquidlens.models import Classifier


@dataclass(frozen=True)
class Options:
    """What an export may be asked for.

    profiles: those besides ``loop``, which liquid models always have.
    precisions: variants besides ``fp32``, which is always there.
    calibration, calibration_scans: how ``int8-static`` finds the ranges of activations, and on how many training scans.
    threshold, abstain: how the threshold is chosen, and on which share of the validation scans the model abstains.
    auc_budget: by how much the recommended variant's validation AUC may lie below that of fp32.
    """

    weights: Weights = "best"
    profiles: Sequence[Profile] = ()
    precisions: Sequence[Precision] = PRECISIONS
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    calibration_scans: int = 128
    threshold: Rule = field(default_factory=lambda: Rule("youden"))
    abstain: float = 0.1
    auc_budget: float = 0.005
    opset: int = OPSET

    def check(self) -> None:
        """Raise LiquidLensError if a value makes no sense."""
        check_opset(self.opset)
        if self.calibration_scans < 1:
            raise LiquidLensError("The calibration set of int8-static is empty: give at least one scan.")
        if not 0 <= self.abstain < 1:
            raise LiquidLensError(f"The share to abstain on is a number from 0 to below 1, not {self.abstain}.")
        if not self.auc_budget >= 0:
            raise LiquidLensError(f"The AUC budget is a number from 0, not {self.auc_budget}.")


def is_liquid(network: "Classifier") -> bool:
    from liquidlens.models.layers.cfc import CfC
    from liquidlens.models.layers.liquid import LTC

    return any(isinstance(module, LTC | CfC) for module in network.modules())


def check_exportable(recipe: RunRecipe, network: "Classifier", options: Options) -> None:
    """Raise LiquidLensError for what cannot be a file.

    Some habits of the papers' sources have no meaning in a file that judges one scan.
    """
    reasons = {
        "source_layout": "it recurs over the scans of a batch, so its answer for a scan depends on the others",
        "dropout_always": "its dropout is at random in evaluation, too",
        "uneven": "it leaves out slices at random, to see what that costs",
    }
    for flag in recipe.flags:
        if flag in reasons:
            raise LiquidLensError(f"{recipe.model} with the flag {flag} cannot be exported: {reasons[flag]}.")
    if recipe.task == "pose":
        raise LiquidLensError(f"{recipe.model} cannot be exported: it reads another network's feature maps, not scans.")
    if options.profiles and not is_liquid(network):
        raise LiquidLensError(
            f"{recipe.model} has no liquid layer, so there is no loop that a profile could write in another way."
        )
