"""Whatever goes wrong inside ends in one sentence, and in a line of the log without the visitor's words."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liquidlens.serve.server.guards.refusal import refuse
from liquidlens.serve.server.guards.routes import GRADIO
from liquidlens.serve.server.log import origin
from liquidlens.serve.settings import Settings

logger = logging.getLogger(__name__)


class Errors:
    """Turns errors into answers.  Gradio's routes raise errors of all kinds, or answer 500, about requests that no page
    of its own sends: those are the visitor's (400), all others the server's."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        of_gradio = scope["path"].startswith(GRADIO)
        started, failed, stream = False, False, False

        async def send_unless_failed(message: Message) -> None:
            nonlocal started, failed, stream
            if of_gradio and message["type"] == "http.response.start":
                failed = message["status"] == 500  # answered below, whether an exception follows or not
                stream = b"text/event-stream" in dict(message["headers"]).get(b"content-type", b"")
            if not failed:
                started = True
                stream = stream and message.get("more_body", True)
                await send(message)

        try:
            await self.app(scope, receive, send_unless_failed)
        except Exception as error:
            if started and not stream:
                raise  # the connection ends in the middle of the answer, which tells the client enough
            logger.warning("a request%s failed: %s", " of the demo" if of_gradio else "", origin(error))
            failed = True
            if started:  # a stream of events that ends without the last one is not taken for whole
                await send({"type": "http.response.body", "body": b""})
        if failed and not started:
            of_the_demo = refuse(400, "The demo does not understand this request.")
            answer = of_the_demo if of_gradio else refuse(500, "The server failed at this request.")
            await answer(scope, receive, send)
