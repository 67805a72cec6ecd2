"""Training: ``train.train("LiqExp4N2", "vesselmnist3d", seed=0)`` leaves a run folder.

What trains many models is loaded when it is first touched.
"""

from liquidlens.lazy import lazily
from liquidlens.train.loop.fit import train
from liquidlens.train.run import RunFolder

__all__ = ["RunFolder", "Search", "search", "study", "sweep", "tables", "train"]
__getattr__ = lazily(
    __name__,
    {
        "Search": "liquidlens.train.studies.search:Search",
        "search": "liquidlens.train.studies.search:run",
        "study": "liquidlens.train.studies.study:study",
        "sweep": "liquidlens.train.studies.sweep:sweep",
        "tables": "liquidlens.train.studies.reports:write",
    },
)
