"""Run folders from a stranger: JSON of wrong types, giant numbers and endless depth, and pickles for weights.

They hope that a recipe builds a network larger than the machine, that a name in it leads to another file, or that
weights are unpickled.  A pickle here writes a file beside itself, which nothing may do.
"""

import json
import pickle
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any

from liquidlens.serve.predict import pretrained
from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.corpus.absurd_array import Payload

RUN = pretrained.find("vessel").parents[1] / "runs" / "vessel"


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(RUN, folder / "run"))


def saying(changes: dict[str, Any], folder: Path, name: str = "recipe.json") -> Path:
    """A run whose recipe says something else; fields of parts as ``input.size``."""
    run = copied(folder)
    content = json.loads((run / name).read_text())
    for where, value in changes.items():
        part, _, field = where.rpartition(".")
        (content[part] if part else content)[field] = value
    (run / name).write_text(json.dumps(content))
    return run


def text(content: str, name: str, folder: Path) -> Path:
    """A run with other text in one of its files."""
    run = copied(folder)
    (run / name).write_text(content)
    return run


def pickled(name: str, folder: Path) -> Path:
    """A pickle, as torch wrote weights for years."""
    run = copied(folder)
    (run / name).write_bytes(pickle.dumps(Payload(folder / "ran")))
    return run


def header(content: Any, folder: Path, length: int | None = None) -> Path:
    """Weights whose header is other JSON, and says another length."""
    run = copied(folder)
    told = content if isinstance(content, bytes) else json.dumps(content).encode()
    (run / "weights.safetensors").write_bytes(struct.pack("<Q", length or len(told)) + told + bytes(64))
    return run


def linked(folder: Path) -> Path:
    """Weights that are a link to a device."""
    run = copied(folder)
    (run / "weights.safetensors").unlink()
    (run / "weights.safetensors").symlink_to("/dev/zero")
    return run


def tensor(shape: list[int], offsets: list[int]) -> dict[str, Any]:
    return {"trunk.0.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}


DAMAGED = Refused(r"recipe\.json is damaged: [^\n]+\.$")
WEIGHTS = Refused(r"weights\.safetensors does not hold the weights of [\w-]+ \([^\n]+\)\.$")
SAYING: dict[str, dict[str, Any]] = {
    "a model that is a number": {"model": 7},
    "a model of nobody": {"model": "../../etc/passwd"},
    "a model that is a script": {"model": "<script>alert(1)</script>"},
    "flags of nobody": {"flags": ["__class__"]},
    "labels that are numbers": {"labels": [1, 2]},
    "1e12 outputs": {"outputs": 10**12},
    "-1 outputs": {"outputs": -1},
    "an input of 1e18 voxels": {"input.size": [10**6] * 3},
    "an input of no voxels": {"input.size": [0, 0, 0]},
    "an input of negative size": {"input.size": [-28, 28, 28]},
    "an input of 1,000 axes": {"input.size": [2] * 1_000},
    "1e9 channels": {"input.channels": 10**9},
    "a field of nobody": {"run": "rm -rf ~"},
}
ATTACKS = (
    *(Attack(f"recipe: {name}", "run", partial(saying, changes), DAMAGED) for name, changes in SAYING.items()),
    Attack(
        "recipe: a seed of 10,000 digits",
        "run",
        partial(text, '{"seed": ' + "9" * 10_000 + "}", "recipe.json"),
        DAMAGED,
    ),
    Attack("recipe: 100,000 brackets", "run", partial(text, "[" * 100_000, "recipe.json"), DAMAGED),
    Attack("recipe: not even text", "run", partial(text, "\0\x01", "recipe.json"), DAMAGED),
    Attack("recipe: a list", "run", partial(text, "[]", "recipe.json"), DAMAGED),
    Attack(
        "recipe: a dataset that climbs",
        "run",
        partial(saying, {"dataset": "../../../../etc/passwd"}),
        Reads(("LiquidLens-S",)),
    ),
    Attack(
        "metrics: words for numbers",
        "run",
        partial(saying, {"epochs": "many"}, name="metrics.json"),
        Refused("metrics.json is damaged"),
    ),
    Attack(
        "metrics: an epoch of 1e400",
        "run",
        partial(text, '{"epochs": 1e400}', "metrics.json"),
        Refused("metrics.json is damaged"),
    ),
    Attack(
        "metrics: 100,000 brackets",
        "run",
        partial(text, '{"best":' * 100_000, "metrics.json"),
        Refused("metrics.json is damaged"),
    ),
    Attack("weights: a pickle", "run", partial(pickled, "weights.safetensors"), WEIGHTS),
    Attack("weights: a pickle beside them", "run", partial(pickled, "unfinished.ckpt"), Reads(("LiquidLens-S",))),
    Attack("weights: a header of 2^63 bytes", "run", partial(header, {}, length=2**63), WEIGHTS),
    Attack("weights: 100,000 brackets", "run", partial(header, b"[" * 100_000), WEIGHTS),
    Attack("weights: a tensor of 2^62 numbers", "run", partial(header, tensor([2**31, 2**31], [0, 64])), WEIGHTS),
    Attack("weights: a tensor behind the file", "run", partial(header, tensor([16], [2**40, 2**40 + 64])), WEIGHTS),
    Attack("weights: of another network", "run", partial(header, tensor([16], [0, 64])), WEIGHTS),
    Attack("weights: a link to /dev/zero", "run", linked, Refused("not a finished run")),
)
