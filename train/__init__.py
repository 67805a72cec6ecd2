"""Training: ``train.train("LiqExp4N2", "vesselmnist3d", seed=0)`` leaves a run folder."""

from liquidlens.train.loop.fit import train
from liquidlens.train.run import RunFolder

__all__ = ["RunFolder", "train"]
