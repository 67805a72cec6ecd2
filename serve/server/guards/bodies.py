"""How much is sent, in what time, and how much work its JSON is."""

import json
import re
import time

import anyio
import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liquidlens.serve.server.guards.refusal import refuse
from liquidlens.serve.server.guards.routes import GRADIO, NAME, NAME_LETTERS, found
from liquidlens.serve.settings import Settings

#: How long a body may take to arrive: so many seconds, and a second more for every so many bytes that did; of those
#: seconds never more than so many are left.
BODY_SECONDS, BODY_RATE, BODY_CREDIT = 10, 2**16, 60
#: Bytes, and values, of the JSON that Gradio reads: each value takes microseconds, in which all other requests wait.
#: Two thousand slices that are uploaded as single files have eighteen thousand.
JSON_BYTES, JSON_VALUES = 2**20, 20_000


class Bodies:
    """Passes no more of a body on than the route takes, and for no longer than it may take to arrive: 413 and 408,
    whatever the application makes of that.  What Gradio reads as JSON is read here first, and refused if it would be
    too much work: Gradio reads it where all other requests wait."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.upload_bytes = app, settings.upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = found(scope["method"], scope["path"])
        small = route is None or route.takes == "small"
        limit = min(JSON_BYTES, self.upload_bytes) if small else self.upload_bytes
        body, started = _Body(receive, limit), False

        async def send_unless_refused(message: Message) -> None:
            nonlocal started
            if body.refusal is None:  # otherwise it is the application's complaint about the refusal
                started = True
                await send(message)

        try:
            body.check_length(Headers(scope=scope).get("content-length", ""))
            if small and scope["method"] == "POST" and scope["path"].startswith(GRADIO):
                await body.read_whole()
            await self.app(scope, body.receive, send_unless_refused)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None and not started:
            await body.refusal(scope, receive, send)


def _names_its_session(content: bytes) -> bool:
    """Whether the session of a JSON text has a name that may be kept; what is no JSON is left to the application."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return True
    name = found.get("session_hash") if isinstance(found, dict) else None
    return name is None or (isinstance(name, str) and re.fullmatch(NAME, name) is not None)


class _RefusedError(Exception):
    """Stops whoever reads a body that is refused."""


class _Body:
    """The body of one request.  refusal: the answer, once it is refused."""

    def __init__(self, receive: Receive, limit: int):
        self._receive, self._limit = receive, limit
        self._arrived, self._left, self._more = 0, float(BODY_SECONDS), True
        self._read: list[Message] = []  # messages that are to be received again
        self.refusal: JSONResponse | None = None

    def check_length(self, length: str) -> None:
        """Refuse a body that is announced as too large."""
        # Python does not read numbers of thousands of digits.
        if length.isdecimal() and (len(length) > 18 or int(length) > self._limit):
            self._refuse_size()

    async def receive(self) -> Message:
        if self._read:
            return self._read.pop(0)
        return await (self._arriving() if self._more else self._receive())

    async def read_whole(self) -> None:
        """Read the body, to be received again as one message, if its JSON has not too many values."""
        content = bytearray()
        while self._more:
            message = await self._arriving()
            if message["type"] != "http.request":  # the client went away
                self._read.append(message)
                return
            content += message.get("body", b"")
        # Commas and brackets in strings count as well: never too few.
        if sum(map(content.count, (b",", b"[", b"{"))) >= JSON_VALUES:
            self._refuse(413, f"This JSON has more than the {JSON_VALUES:,} values that a request may have.")
        if not await anyio.to_thread.run_sync(_names_its_session, bytes(content)):
            self._refuse(400, f"A session is named by up to {NAME_LETTERS} letters and digits.")
        self._read.append({"type": "http.request", "body": bytes(content), "more_body": False})

    async def _arriving(self) -> Message:
        """The next part, if it comes in time."""
        began = time.monotonic()
        message: Message | None = None
        with anyio.move_on_after(self._left):
            message = await self._receive()
        if message is None:
            self._refuse(408, f"The request did not arrive in time; {self._arrived:,} bytes of it did.")
            raise AssertionError  # never: a refusal is raised
        part = len(message.get("body", b""))
        self._arrived += part
        self._left = min(self._left - (time.monotonic() - began) + part / BODY_RATE, BODY_CREDIT)
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        if self._arrived > self._limit:
            self._refuse_size()
        return message

    def _refuse_size(self) -> None:
        hint = "see --max-upload" if self._limit > JSON_BYTES else "that is enough for what the page sends"
        self._refuse(413, f"The request is larger than this server takes here ({self._limit:,} bytes); {hint}.")

    def _refuse(self, status: int, sentence: str) -> None:
        self.refusal = refuse(status, sentence)
        raise _RefusedError
