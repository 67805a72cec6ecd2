"""The trained models that come with the checkout: ``models/pretrained/NAME/model.onnx``."""

import re
from importlib.util import find_spec
from pathlib import Path

from liquidlens.errors import LiquidLensError, unknown
from liquidlens.files import beside

#: Beside the zoo's modules, which import torch: it is found without them.
FOLDER = Path(find_spec("liquidlens.models").submodule_search_locations[0], "pretrained")  # type: ignore[union-attr,index]


def names() -> list[str]:
    """The names of the models that are there, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/model.onnx"))


def find(model: str | Path) -> Path:
    """The ``.onnx`` file that a person means: the path of one, the path of a bundle, or the name of a pretrained model.

    What looks like a path is one, whether there is such a file or not.  Raises LiquidLensError for an unknown name, for
    a folder that is no bundle, and for a bundle whose model is a link.
    """
    path = Path(model)
    if path.is_dir() and beside(path / "model.onnx", ("model.onnx",)):
        return path / "model.onnx"
    if path.is_dir():
        raise LiquidLensError(f"{path}: this folder holds no model.onnx; name a bundle or an .onnx file.")
    if path.exists() or path.suffix == ".onnx" or len(path.parts) != 1:
        return path
    known = names()
    if path.name in known:
        return FOLDER / path.name / "model.onnx"
    if not known:
        raise LiquidLensError(f"{model}: there is no such file, and no model in {FOLDER}.")
    raise unknown("file or pretrained model", str(model), known)


def name_of(path: Path) -> str:
    """What a file is called in addresses: ``bundles/vessel/model.onnx`` is vessel, its variant ``model-fp16.onnx``
    vessel-fp16, any other ``nodule.onnx`` nodule."""
    path = path.resolve()
    variant = re.fullmatch(r"model(-.+)?", path.stem)
    name = f"{path.parent.name}{variant[1] or ''}" if variant else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".") or "model"
