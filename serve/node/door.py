"""The door: who may connect, how many at once, how long they may be silent, and how much they may send.

pynetdicom knows titles and the number of associations.  It lets a connection wait for as long as it likes for the rest
of a PDU, of any length that it names, and makes everybody wait while one caller does not finish its TLS handshake; so
that happens here.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from liquidlens.serve.node.settings import Node

#: Bytes of a PDU.  Those with images have `PDU_BYTES`, requests for an association with many contexts some 60 kB.
MOST_BYTES = 2**20
#: What a sender is told that one of its PDUs with images may have.
PDU_BYTES = 2**16
#: Seconds for a TLS handshake, and for the request that a connection begins with.
HANDSHAKE_SECONDS = 10
#: Connections that the system keeps until they are accepted.
BACKLOG = 128
#: A connection that was silent for fewer seconds is not ended for another one.
_BUSY = 1.0


@dataclass(eq=False)
class _Line:
    """A connection.  heard: when it last sent a whole PDU.  bytes: of the message that is arriving."""

    socket: socket.socket
    heard: float = field(default_factory=time.monotonic)
    bytes: int = 0
    association: Association | None = None

    @property
    def is_over(self) -> bool:
        return self.socket.fileno() < 0 or (
            self.association is not None and self.association.ident is not None and not self.association.is_alive()
        )

    def cut(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Door(ThreadedAssociationServer):
    """node: the limits.  addresses: who may connect; others are hung up on before a byte of theirs is read.
    over: is told of an association that has ended, whatever ended it; pynetdicom has no event for some of that."""

    request_queue_size = BACKLOG
    daemon_threads = True
    server_address: Any

    def __init__(
        self, *args: Any, node: Node, addresses: frozenset[str], over: Callable[[Association], None], **more: Any
    ):
        self._node, self._addresses, self.over = node, addresses, over
        self._lines: list[_Line] = []
        self._guard = threading.Lock()
        super().__init__(*args, request_handler=_Handler, **more)
        self.bind(evt.EVT_DATA_RECV, self._on_data)
        self.bind(evt.EVT_DIMSE_RECV, self._on_message)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if plain(client_address[0]) not in self._addresses:
            return False
        with self._guard:
            self._lines = [line for line in self._lines if not line.is_over]
            while len(self._lines) >= self._node.associations:
                most_silent = min(self._lines, key=lambda line: line.heard)
                if time.monotonic() - most_silent.heard < _BUSY:
                    return False
                most_silent.cut()
                self._lines.remove(most_silent)
            self._lines.append(_Line(request))
        return True

    def get_request(self) -> tuple[socket.socket, Any]:
        return self.socket.accept()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        request.settimeout(HANDSHAKE_SECONDS)
        line = self._find(lambda line: line.socket is request) or _Line(request)  # else it was cut already
        try:
            if self.ssl_context is not None:
                request = self.ssl_context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                line.socket = request
                request.do_handshake()
        except OSError:  # a plain connection, a certificate of nobody we know, or none in time
            self.shutdown_request(request)
            return
        request.settimeout(self._node.silent_seconds)
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The base class prints it."""

    def meet(self, association: Association, request: socket.socket) -> None:
        """An association has begun on a connection."""
        if (line := self._find(lambda line: line.socket is request)) is not None:
            line.association = association

    def stop(self) -> None:
        """Take no more connections, and end those that have not become an association."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        with self._guard:
            for line in self._lines:
                if line.association is None or not line.association.is_established:
                    line.cut()

    def established(self) -> list[Association]:
        """Those that may be sending.  Of a caller who hung up at once a thread is left for `HANDSHAKE_SECONDS`."""
        return [association for association in self.active_associations if association.is_established]

    def _find(self, is_it: Callable[[_Line], bool]) -> _Line | None:
        with self._guard:
            return next(filter(is_it, self._lines), None)

    def _line_of(self, association: Association) -> _Line | None:
        return self._find(lambda line: line.association is association)

    def _on_data(self, event: evt.Event) -> None:
        if (line := self._line_of(event.assoc)) is not None:
            line.heard = time.monotonic()
            line.bytes += len(event.data)
            if line.bytes > self._node.image_bytes:
                line.cut()

    def _on_message(self, event: evt.Event) -> None:
        if (line := self._line_of(event.assoc)) is not None:
            line.bytes = 0


class _Handler(RequestHandler):
    server: Door

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = association.dul.socket
        connection.recv = _bounded(connection.recv)
        association.run = self._until_over(association, association.run)
        self.server.meet(association, self.request)
        return association

    def _until_over(self, association: Association, run: Callable[[], None]) -> Callable[[], None]:
        def run_and_tell() -> None:
            try:
                run()
            finally:
                self.server.over(association)

        return run_and_tell


def plain(address: str) -> str:
    """An address as the rules name it: a socket that takes both families has IPv4 callers in IPv6's notation."""
    return address.removeprefix("::ffff:")


def _bounded(recv: Callable[[int], bytearray]) -> Callable[[int], bytearray]:
    """Reading from a connection, but no PDU of any length that a stranger names."""

    def read(size: int) -> bytearray:
        if size > MOST_BYTES:
            raise OSError("the PDU is too long")
        return recv(size)

    return read
