"""The trained models that come with the checkout: ``models/pretrained/NAME/model.onnx``."""

from pathlib import Path

from imaging import LiquidLensError
from imaging.errors import unknown

FOLDER = Path(__file__).parents[1] / "models" / "pretrained"


def names() -> list[str]:
    """The names of the models that are there, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/model.onnx"))


def find(model: str | Path) -> Path:
    """The ``.onnx`` file that a person means: the path of one, the path of a bundle, or the name of a pretrained model.

    What looks like a path is one, whether there is such a file or not.  Raises LiquidLensError for an unknown name, and
    for a folder that is no bundle.
    """
    path = Path(model)
    if (path / "model.onnx").is_file():
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
