"""What stands in front of the whole server: who may call, how much they may send, what a browser may do with answers.

One layer around demo and protocol, so that no route can be forgotten.  Refusals are ``{"error": "one sentence"}``.
"""

import base64
import hmac
import logging
import traceback
from pathlib import Path
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liquidlens.serve.settings import Settings

#: For orchestrators, which have no password and call by address.  They say nothing but yes or no.
HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")

#: Files of Gradio's own page, named by their content: the only answers worth keeping.
PAGE_FILES = ("/assets/", "/static/", "/svelte/")

#: Gradio fetches these for whoever asks.  This server calls nobody.
FETCHES = ("/gradio_api/file=http", "/gradio_api/file/http", "/gradio_api/proxy=")

#: Gradio writes what a page shows, or what it is sent, to files, for whoever asks.  This server keeps nothing.
WRITES = ("/gradio_api/deep_link", "/gradio_api/process_recording", "/gradio_api/vibe-", "/gradio_api/undo-vibe-")

#: Gradio's page holds its configuration in inline scripts and styles, hence 'unsafe-inline'.  Nothing comes from
#: elsewhere.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

#: Gradio's own routes raise errors of all kinds about requests that no page of its own sends.
GRADIO = "/gradio_api/"

logger = logging.getLogger(__name__)


class Guard:
    """ASGI middleware: checks the host name, the origin, the password and the size of every request, and puts
    `SECURITY_HEADERS` on every answer."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if not path.startswith(PAGE_FILES):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        headers = Headers(scope=scope)
        refusal = None if path in HEALTH else self._refusal(path, scope["method"], headers)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
        else:
            await self._within_limit(scope, receive, send_with_headers)

    def _refusal(self, path: str, method: str, headers: Headers) -> JSONResponse | None:
        """The answer to a request that is not let in."""
        host = headers.get("host", "")
        name = _host_name(f"//{host}")
        if not self.settings.answers_to(name):
            return refuse(400, f"This server does not go by the name {name!r}; --allow-host {name} makes it.")
        origin = headers.get("origin")
        if origin is not None and method not in ("GET", "HEAD") and not self._ours(origin, host):
            return refuse(403, f"Pages of {origin} may not send anything to this server.")
        if not self._knows_password(headers.get("authorization", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="LiquidLens", charset="UTF-8"'}
            return refuse(401, "This server asks for a user and a password.", challenge)
        if path.lower().startswith(FETCHES):
            return refuse(403, "This server fetches nothing from elsewhere.")
        if path.lower().startswith(WRITES):
            return refuse(403, "This server stores no pages and no recordings.")
        return None

    def _ours(self, origin: str, host: str) -> bool:
        """Whether a page of this origin was served by us: at the address that was called, or through a named proxy."""
        name = _host_name(origin)  # empty if the origin is no address
        return name != "" and (urlsplit(origin).netloc == host or name in map(str.lower, self.settings.allowed_hosts))

    def _knows_password(self, authorization: str) -> bool:
        if self.settings.password is None:
            return True
        scheme, _, credentials = authorization.partition(" ")
        try:
            given = base64.b64decode(credentials, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:  # not base64, or not even ASCII
            given = b""
        # In time that does not depend on where the two differ.
        return hmac.compare_digest(given, f"{self.settings.user}:{self.settings.password}".encode())

    async def _within_limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, but not more of its body than allowed; 413 whatever the application makes of that."""
        limit, received, started, failed, stream = self.settings.upload_bytes, 0, False, False, False
        of_gradio = scope["path"].removeprefix(self.settings.root_path).startswith(GRADIO)
        too_large = refuse(413, f"The request is larger than this server takes ({limit:,} bytes); see --max-upload.")
        length = Headers(scope=scope).get("content-length", "")
        # Python does not read numbers of thousands of digits.
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            await too_large(scope, receive, send)
            return

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLargeError
            return message

        async def send_unless_too_large(message: Message) -> None:
            nonlocal started, failed, stream
            if of_gradio and message["type"] == "http.response.start":
                failed = message["status"] == 500  # answered below, whether an exception follows or not
                stream = b"text/event-stream" in dict(message["headers"]).get(b"content-type", b"")
            if received <= limit and not failed:  # otherwise it is the application's complaint about the error above
                started = True
                stream = stream and message.get("more_body", True)
                await send(message)

        try:
            await self.app(scope, receive_within_limit, send_unless_too_large)
        except Exception as error:
            if received <= limit:
                if not of_gradio or (started and not stream):
                    raise
                logger.warning("%s %s: %s", scope["method"], GRADIO, _origin(error))
                failed = True
                if started:  # a stream of events that ends without the last one is not taken for whole
                    await send({"type": "http.response.body", "body": b""})
        if failed and not started and received <= limit:
            await refuse(400, "The demo does not understand this request.")(scope, receive, send)
        if received > limit and not started:
            await too_large(scope, receive, send)


class _TooLargeError(Exception):
    """Stops whoever reads a body beyond the limit."""


def refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is an error: ``{"error": sentence}``, as the Open Inference Protocol has it."""
    return JSONResponse({"error": sentence}, status, headers)


def _host_name(address: str) -> str:
    """The host of an address, in lower case and without port; empty if there is none."""
    try:
        return unquote(urlsplit(address).hostname or "")
    except ValueError:
        return ""


def _origin(error: BaseException) -> str:
    """The kind of an error and the line that raised it: its words may quote what a visitor sent."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
