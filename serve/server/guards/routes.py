"""Which addresses there are.

Gradio brings some eighty routes.  Several fetch what a request names, write what it brings to files, print it, or wait
for what nothing here uses; a new version brings more.  So those that the page and its clients need are listed, and what
is not listed does not exist.
"""

import re
from typing import Literal, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from liquidlens.serve.server.guards.refusal import refuse
from liquidlens.serve.settings import Settings

#: For orchestrators, which have no password and call by address.  They say nothing but yes or no.
HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
GRADIO = "/gradio_api/"
FILE = f"{GRADIO}file="

#: Of sessions, events and functions: Gradio remembers them.
NAME_LETTERS = 100
NAME = f"[A-Za-z0-9_-]{{1,{NAME_LETTERS}}}"

#: What a route takes: ``small`` a JSON text of Gradio's page, ``stream`` as much as the server takes at all.
Takes = Literal["small", "stream"]


class Route(NamedTuple):
    methods: tuple[str, ...]
    path: re.Pattern[str]
    takes: Takes = "small"


_READ = ("GET", "HEAD")
ROUTES = (
    Route(_READ, re.compile("/healthz|/readyz|/metrics")),
    # Those under /v2 are ours: the protocol's own router says what there is.
    Route(("GET", "HEAD", "POST", "PUT", "DELETE"), re.compile(r"/v2(/.*)?", re.DOTALL), "stream"),
    Route(_READ, re.compile("/|/config|/theme.css|/favicon.ico|/manifest.json|/robots.txt")),
    Route(_READ, re.compile("/(assets|static|svelte)/.+")),
    Route(_READ, re.compile(f"{GRADIO}(info|startup-events|theme.css|upload_progress|queue/data)")),
    Route(_READ, re.compile(f"{GRADIO}(heartbeat|call/{NAME})/{NAME}")),
    Route(_READ, re.compile(f"{FILE}.+")),
    Route(("POST",), re.compile(f"{GRADIO}(queue/join|(run|call)/{NAME})")),
    Route(("POST",), re.compile(f"{GRADIO}upload"), "stream"),
)


def found(method: str, path: str) -> Route | None:
    """The listed route of a request; None if there is none."""
    return next((route for route in ROUTES if method in route.methods and route.path.fullmatch(path)), None)


class Routes:
    """Answers 404 for every address that is not listed, and for every file but those that the page itself offers: what
    a visitor uploaded is read by the models, and handed out to nobody.

    The application's ``state.offered`` holds the paths of those files.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http":
            path = scope["path"]
            hidden = path.startswith(FILE) and path.removeprefix(FILE) not in scope["app"].state.offered
            if hidden or found(scope["method"], path) is None:
                app = refuse(404, "There is nothing at this address.")
        await app(scope, receive, send)
