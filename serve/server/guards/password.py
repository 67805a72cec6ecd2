"""Who may call."""

import base64
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from liquidlens.serve.server.guards.refusal import refuse
from liquidlens.serve.server.guards.routes import HEALTH
from liquidlens.serve.settings import Settings


class Password:
    """Asks everybody for the password, if there is one, for everything but the health endpoints."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app
        self.expected = None if settings.password is None else f"{settings.user}:{settings.password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if self.expected is not None and scope["type"] == "http" and scope["path"] not in HEALTH:
            given = _credentials(Headers(scope=scope).get("authorization", ""))
            if not hmac.compare_digest(given, self.expected):  # in time that does not depend on where they differ
                challenge = {"WWW-Authenticate": 'Basic realm="LiquidLens", charset="UTF-8"'}
                app = refuse(401, "This server asks for a user and a password.", challenge)
        await app(scope, receive, send)


def _credentials(authorization: str) -> bytes:
    scheme, _, credentials = authorization.partition(" ")
    try:
        return base64.b64decode(credentials, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:  # not base64, or not even ASCII
        return b""
