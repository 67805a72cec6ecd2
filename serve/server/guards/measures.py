"""How requests were answered, and in what time, for Prometheus."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liquidlens.serve.settings import Settings


class Measures:
    """Counts every request by how it was answered, and times those of the protocol; the application's
    ``state.monitor`` keeps the figures."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, monitor = time.monotonic(), scope["app"].state.monitor

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                monitor.requests.labels(_kind(message["status"])).inc()
                if scope["path"].endswith("/infer"):
                    monitor.seconds.labels("request").observe(time.monotonic() - started)
            await send(message)

        await self.app(scope, receive, count)


def _kind(status: int) -> str:
    if status == 503:
        return "told to come later"
    return "answered" if status < 400 else "refused" if status < 500 else "failed"
