"""A function of a Python file that builds a module: what the command line is given."""

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquidlens.errors import LiquidLensError

if TYPE_CHECKING:
    from torch import nn


def build(source: str) -> "tuple[nn.Module, Mapping[str, Any]]":
    """Run ``FILE:FUNCTION`` and return the module and the example that the function returns.

    Raises LiquidLensError if it does not, with the reason.
    """
    name, _, function = source.rpartition(":")
    if not name or not function.isidentifier():
        raise LiquidLensError(f"Name a Python file and a function in it, as in model.py:build, not {source!r}.")
    path = Path(name)
    if not path.is_file():
        raise LiquidLensError(f"{path}: there is no such file.")
    from torch import nn

    try:
        named = runpy.run_path(str(path))
        if not callable(named.get(function)):
            raise LiquidLensError(f"{path}: it has no function {function}.")
        built = named[function]()
    except LiquidLensError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise LiquidLensError(f"{source} fails: {reason} ({type(error).__name__}).") from error
    if not (
        isinstance(built, tuple)
        and len(built) == 2
        and isinstance(built[0], nn.Module)
        and isinstance(built[1], Mapping)
    ):
        raise LiquidLensError(f"{source} returns no pair of a torch module and a dict of example tensors.")
    return built
