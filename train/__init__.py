"""Training: ``train.train("LiqExp4N2", "vesselmnist3d", seed=0)`` leaves a run folder.

Every name is loaded when it is first touched: recipes, datasets and run folders need no torch.
"""

from typing import TYPE_CHECKING

from liquidlens.lazy import lazily

if TYPE_CHECKING:
    from liquidlens.train.loop.fit import train
    from liquidlens.train.run import RunFolder

__all__ = ["RunFolder", "Search", "search", "study", "sweep", "tables", "train"]
__getattr__ = lazily(
    __name__,
    {
        "RunFolder": "liquidlens.train.run:RunFolder",
        "Search": "liquidlens.train.studies.search:Search",
        "search": "liquidlens.train.studies.search:run",
        "study": "liquidlens.train.studies.study:study",
        "sweep": "liquidlens.train.studies.sweep:sweep",
        "tables": "liquidlens.train.studies.reports:write",
        "train": "liquidlens.train.loop.fit:train",
    },
)
