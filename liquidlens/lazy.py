"""Names of a package that are loaded when they are first touched (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from liquidlens.errors import needing


def lazily(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package.  names: each with what it stands for, ``module`` or ``module:attribute``.

    It raises MissingPackageError if something is not installed that the module needs.
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = names[name].partition(":")
        with needing(f"{package}.{name}"):
            loaded = import_module(module)
        return getattr(loaded, attribute) if attribute else loaded

    return load
