"""Names of a package that are loaded when they are first touched (PEP 562)."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
        with needing(f"{package}.{name}"), without_garbage():
            loaded = import_module(module)
        return getattr(loaded, attribute) if attribute else loaded

    return load


@contextmanager
def without_garbage() -> Iterator[None]:
    """Meanwhile nobody looks for garbage: among the million objects that torch makes when it is imported, and that
    stay, the search takes a fifth of the time."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()
