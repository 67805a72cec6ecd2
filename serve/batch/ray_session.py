"""A session with Ray: silent, and with no more than it needs."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from liquidlens.errors import LiquidLensError, first_line

#: Seconds in which the head of a cluster has to answer.
_KNOCK = 10.0


def import_ray(address: str | None) -> Any:
    """Ray, silent, and sending nothing.  Raises LiquidLensError if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or Ray announces that this will be its default
    if address is None:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as there, it is to listen at 127.0.0.1 only
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise LiquidLensError(
            f"--engine ray needs Ray: pip install 'liquidlens[ray]' ({first_line(error)})."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return ray


@contextmanager
def session(ray: Any, address: str | None) -> Iterator[None]:
    """Join a cluster, or start one that ends with the session; a session that is there already is used, and stays."""
    if ray.is_initialized():
        yield
        return
    with _quiet():
        try:
            _join(ray, address)
            yield
        finally:
            ray.shutdown()


def _join(ray: Any, address: str | None) -> None:
    what = "Ray cannot be started" if address is None else f"{address}: there is no Ray cluster that can be joined"
    try:
        host, colon, port = (address or "").rpartition(":")
        if colon and port.isdecimal() and "://" not in host:  # Ray would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()
        settings = {"include_dashboard": False} if address is None else {}
        ray.init(address or "local", log_to_driver=False, logging_level="CRITICAL", **settings)
    except Exception as error:  # Ray raises half a dozen unrelated types
        raise LiquidLensError(f"{what} ({first_line(error)}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray's compiled part writes to standard error, which no setting does, off the terminal; what is written
    to `sys.stderr` still gets there."""
    shown, terminal = sys.stderr, os.dup(2)
    shown.flush()
    with suppress(OSError):  # it is no file
        if shown.fileno() == 2:
            sys.stderr = open(terminal, "w", 1, shown.encoding, "backslashreplace", closefd=False)  # noqa: SIM115
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        sys.stderr = shown
        os.dup2(terminal, 2)
        os.close(terminal)


def cause_of(error: BaseException) -> str:
    """What is at the bottom of an error of Ray's, in a line: its own text may be an actor's traceback."""
    while (deeper := getattr(error, "cause", None) or error.__cause__) is not None:
        error = deeper
    return f"{type(error).__name__}: {first_line(error)}"
