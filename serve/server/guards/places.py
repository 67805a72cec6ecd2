"""How many requests are worked on at once."""

from starlette.types import ASGIApp, Receive, Scope, Send

from liquidlens.serve.server.capacity import most_requests
from liquidlens.serve.server.guards.refusal import later
from liquidlens.serve.server.guards.routes import HEALTH
from liquidlens.serve.settings import Settings


class Places:
    """Refuses requests beyond `most_requests()`: fewer than there may be connections, so that the next caller, and
    whoever asks how the server is, is always heard.  An open page is a request: it listens as long as it is open."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.taken, self.most = app, 0, most_requests()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await self.app(scope, receive, send)
            return
        if self.taken >= self.most:
            await later("Too many requests are open")(scope, receive, send)
            return
        self.taken += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.taken -= 1
