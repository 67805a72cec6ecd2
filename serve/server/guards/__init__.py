"""What stands in front of the whole server, one concern a module.

A request passes them from the outermost to the innermost:

    measures   how requests were answered, and in what time, for Prometheus
    headers    what a browser may do with answers
    errors     whatever goes wrong inside ends in one sentence, and in a line of the log without the visitor's words
    callers    which names the server goes by, and whose pages may send to it
    password   who may call
    routes     which addresses there are: what is not listed does not exist
    places     how many requests are worked on at once
    bodies     how much is sent, in what time, and how much work its JSON is

Refusals are ``{"error": "one sentence"}``.
"""

from starlette.applications import Starlette

from liquidlens.serve.server.guards.bodies import Bodies
from liquidlens.serve.server.guards.callers import Callers
from liquidlens.serve.server.guards.errors import Errors
from liquidlens.serve.server.guards.headers import SecurityHeaders
from liquidlens.serve.server.guards.measures import Measures
from liquidlens.serve.server.guards.password import Password
from liquidlens.serve.server.guards.places import Places
from liquidlens.serve.server.guards.routes import Routes
from liquidlens.serve.settings import Settings


def protect(app: Starlette, settings: Settings) -> None:
    """Put all guards around an application."""
    for guard in (
        Bodies,
        Places,
        Routes,
        Password,
        Callers,
        Errors,
        SecurityHeaders,
        Measures,
    ):  # the last one is the outermost
        app.add_middleware(guard, settings=settings)
