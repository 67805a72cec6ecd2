"""ONNX files whose manifests are wrong, checksums included: types, sizes, numbers, and labels that are scripts.

They hope for errors that nobody foresaw where a manifest is believed, for scans of absurd sizes while a model warms up,
and for words that are shown as they are.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from liquidlens.manifest import KEY, metadata
from liquidlens.serve.predict import pretrained
from tests.attacks.attack import Attack, Reads, Refused

SCRIPT = "<script>alert(1)</script>"
WHOLE = pretrained.find("vessel").read_bytes()


def changed(change: Callable[[dict[str, Any]], Any], folder: Path) -> Path:
    """The model with another manifest: a text, or what is written as JSON."""
    model = onnx.load_from_string(WHOLE)
    told = change(json.loads({prop.key: prop.value for prop in model.metadata_props}[KEY]))
    onnx.helper.set_model_props(model, metadata(told if isinstance(told, str) else json.dumps(told)))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def fields(**values: Any) -> partial:
    """The manifest with other fields, those of parts as ``input__size``."""

    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            part, _, field = name.rpartition("__")
            (manifest[part] if part else manifest)[field] = value
        return manifest

    return partial(changed, change)


DAMAGED = Refused(r"model\.onnx: the file's manifest is damaged: [\w.]+: [^\n]+\.$")
CANNOT = Refused("the graph does not fit its manifest|ONNX Runtime cannot run|manifest is damaged")
ATTACKS = (
    Attack("manifest: no JSON", "model", partial(changed, lambda _: "{"), Refused("manifest is damaged: the text: ")),
    Attack(
        "manifest: 100,000 brackets", "model", partial(changed, lambda _: "[" * 100_000), Refused("damaged: the text")
    ),
    Attack(
        "manifest: a number of a million digits", "model", partial(changed, lambda _: "9" * 10**6), Refused("damaged")
    ),
    Attack("manifest: a list", "model", partial(changed, lambda _: []), Refused("damaged: the text")),
    Attack("manifest: labels that are numbers", "model", fields(labels=[1, 2]), DAMAGED),
    Attack("manifest: labels that are no list", "model", fields(labels={"a": 1}), DAMAGED),
    Attack("manifest: 100,000 labels", "model", fields(labels=["x"] * 100_000), CANNOT),
    Attack("manifest: labels of one name", "model", fields(labels=["vessel", "vessel"]), DAMAGED),
    Attack("manifest: a label of two lines", "model", fields(labels=["a\n\n[b](javascript:c)", "d"]), DAMAGED),
    Attack("manifest: a label that steers a terminal", "model", fields(labels=["a\x1b[2J", "d"]), DAMAGED),
    Attack("manifest: a name read backwards", "model", fields(model="a\u202eb"), DAMAGED),
    Attack("manifest: a change of two lines", "model", fields(provenance__changes={"a\nb": 1}), DAMAGED),
    Attack(
        "manifest: labels that are scripts",
        "model",
        fields(labels=[SCRIPT, f"b{SCRIPT}"]),
        Reads((SCRIPT, f"b{SCRIPT}")),
    ),
    Attack("manifest: an input of 1e12 voxels", "model", fields(input__size=[10**4] * 3), CANNOT),
    Attack("manifest: an input of 1e30 voxels", "model", fields(input__size=[10**10] * 3), CANNOT),
    Attack("manifest: an input of no voxels", "model", fields(input__size=[0, 0, 0]), CANNOT),
    Attack("manifest: an input of negative size", "model", fields(input__size=[-28, 28, 28]), CANNOT),
    Attack("manifest: an input of 30 axes", "model", fields(input__size=[2] * 30), DAMAGED),
    Attack("manifest: a threshold that is NaN", "model", fields(operating__threshold=float("nan")), DAMAGED),
    Attack("manifest: a threshold of 7", "model", fields(operating__threshold=7), DAMAGED),
    Attack("manifest: a temperature of 0", "model", fields(temperature=0), DAMAGED),
    Attack(
        "manifest: a limit of 1e999",
        "model",
        partial(changed, lambda m: json.dumps(m).replace('"threshold": ', '"threshold": 1e999, "x": ', 1)),
        DAMAGED,
    ),
    Attack("manifest: a field of nobody", "model", fields(run="rm -rf ~"), DAMAGED),
    Attack("manifest: another format", "model", fields(format=999), DAMAGED),
)
