"""What a browser may do with answers."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liquidlens.serve.settings import Settings

#: Files of Gradio's own page, named by their content: the only answers worth keeping.
PAGE_FILES = ("/assets/", "/static/", "/svelte/")

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


class SecurityHeaders:
    """Puts `SECURITY_HEADERS` on every answer.  The outermost guard, and so the one that takes the path under which a
    proxy offers the server off the address: all others, and the application, see what is served."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.prefix = app, settings.root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"]
        if self.prefix and f"{path}/".startswith(f"{self.prefix}/"):
            path = path.removeprefix(self.prefix) or "/"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if not path.startswith(PAGE_FILES):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app({**scope, "path": path}, receive, send_with_headers)
