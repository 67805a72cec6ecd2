"""Connections: how many there may be, how long one may be silent, and the server that keeps to that.

All of this happens before any request is read, and so before any password is asked for.
"""

import asyncio
import errno
import logging
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from liquidlens.errors import LiquidLensError
from liquidlens.serve.server.capacity import CONNECTIONS, most_connections
from liquidlens.serve.server.log import origin
from liquidlens.serve.settings import Settings

#: Seconds for the head of a request, counted from the connection's beginning or the last answer; and for a client to
#: take some 64 KiB of an answer.
HEAD_SECONDS, READ_SECONDS = 10, 60
#: Connections that the system keeps until they are accepted.
BACKLOG = 128
#: How long requests that are being worked on when the server is told to stop are waited for.
SHUTDOWN_SECONDS = 3

logger = logging.getLogger(__name__)


class Connection(H11Protocol):
    """One connection, with its deadlines.  The body of a request has those of `guards.bodies`."""

    most = CONNECTIONS
    since = 0.0  # when it began, or was answered
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        if len(self.connections) >= self.most and not self._make_room():
            transport.abort()
            return
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._reading):
            if timer is not None:
                timer.cancel()
        if self.transport is not None:  # else it was not let in
            super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._wait_for_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    @property
    def idle(self) -> bool:
        """Whether it waits for a request, or for the rest of one that is answered already."""
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.since = self.loop.time()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.idle:
            self.transport.abort()

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest; False if all are at work."""
        idle = [other for other in self.connections if isinstance(other, Connection) and other.idle]
        if not idle:
            return False
        oldest = min(idle, key=lambda other: other.since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True


class Server(uvicorn.Server):
    """Serves the application and, when told to stop, hangs up on those who only listen: an open page never would."""

    def __init__(self, app: FastAPI):
        config = uvicorn.Config(
            app,
            access_log=False,  # addresses hold names of uploaded files, which may be names of patients
            backlog=BACKLOG,
            http=type("Connection", (Connection,), {"most": most_connections()}),
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=4 * SHUTDOWN_SECONDS,
            ws="none",
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_on_error)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._hang_up)
        await super().shutdown(sockets)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.close()


def _on_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio complains of, without the objects that it would show: those hold requests."""
    error = context.get("exception")
    logger.warning("the server's loop complains: %s", origin(error) if error else "no error was raised")


def listen(settings: Settings) -> socket.socket:
    """The server's socket.  Raises LiquidLensError, with a port that is free, if the port is taken."""
    try:
        return _bind(settings.host, settings.port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason = f"the port is taken; --port {_free_port(settings)} is free"
        raise LiquidLensError(f"cannot listen at {settings.host}, port {settings.port}: {reason}.") from error


def _bind(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _free_port(settings: Settings) -> int:
    for port in range(settings.port + 1, 65536):
        with suppress(OSError), _bind(settings.host, port):
            return port
    return 0  # which takes any
