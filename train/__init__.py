"""Training: ``train.train("LiqExp4N2", "vesselmnist3d", seed=0)`` leaves a run folder."""

from train.fit import train
from train.run import RunFolder

__all__ = ["RunFolder", "train"]
