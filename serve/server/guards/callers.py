"""Which names the server goes by, and whose pages may send to it."""

from urllib.parse import SplitResult, unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from liquidlens.serve.server.guards.refusal import refuse
from liquidlens.serve.server.guards.routes import HEALTH
from liquidlens.serve.settings import Settings, address

#: Letters of a name that a refusal repeats.
_QUOTED = 100


class Callers:
    """Refuses requests to other names (a page elsewhere can point one of its own at this machine), and what pages of
    other servers send."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            name = _name(_split(f"//{host}"))
            if not self.settings.answers_to(name):
                name = name[:_QUOTED]
                app = refuse(400, f"This server does not go by the name {name!r}; --allow-host {name} makes it.")
            elif origin is not None and scope["method"] not in ("GET", "HEAD") and not self._ours(origin, host):
                app = refuse(403, f"Pages of {origin[:_QUOTED]} may not send anything to this server.")
        await app(scope, receive, send)

    def _ours(self, origin: str, host: str) -> bool:
        """Whether a page of this origin was served by us: at the address that was called, or by a proxy at exactly the
        name and port that the operator named."""
        page = _split(origin)
        if page is None or page.scheme not in ("http", "https") or not _name(page):
            return False  # not an address
        standard = 443 if page.scheme == "https" else 80
        allowed = ((name, port or standard) for name, port in map(address, self.settings.allowed_hosts))
        return page.netloc == host or (_name(page), page.port or standard) in allowed


def _split(text: str) -> SplitResult | None:
    """An address in its parts; None if it is none."""
    try:
        found = urlsplit(text)
        return found if found.port is None or found.port else None  # looked at: it may be none
    except ValueError:
        return None


def _name(found: SplitResult | None) -> str:
    """The host of an address, in lower case and without port; empty if there is none."""
    return unquote(found.hostname or "") if found else ""
