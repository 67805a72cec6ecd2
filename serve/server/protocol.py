"""The Open Inference Protocol (KServe v2, REST) for any predictors, so that existing clients work.

Specification: https://github.com/kserve/open-inference-protocol, with Triton's extension for binary tensors
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md), which
``tritonclient.http`` uses by default.  A model's input and outputs are those of its ONNX file, raw: `Predictor` turns
them into labels, this does not.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from liquidlens.serve.monitoring import Monitor
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server.codec import HEADER_LENGTH, JSON_BYTES, VERSION, answer, inflated
from liquidlens.serve.server.guards.refusal import refuse
from liquidlens.serve.settings import Settings

#: Probes of health ask by either.
_PROBED = ["GET", "HEAD"]
DATATYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(double)": "FP64", "tensor(int64)": "INT64"}


class Gate:
    """Lets `concurrency` requests work and `waiting` more wait; the next one is told to come later (503).

    A request takes its place when its body has arrived, so that one that stalls keeps nobody out.  memory: bytes of all
    bodies together, arrived or arriving; what goes beyond is told to come later as well.
    """

    def __init__(self, concurrency: int, waiting: int, memory: int):
        self.limiter = anyio.CapacityLimiter(concurrency)
        self.places = concurrency + waiting
        self.taken = 0
        self.memory, self.held = memory, 0

    @property
    def full(self) -> bool:
        return self.taken >= self.places

    @contextmanager
    def place(self) -> Iterator[None]:
        if self.full:
            raise _later(f"{self.taken} requests are waiting already")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request, whose bytes count until the context ends."""
        if self.full:
            raise _later(f"{self.taken} requests are waiting already")
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                self.held += len(part)
                if self.held > self.memory:
                    raise _later("Other requests take all the memory for requests")
            yield body
        except ClientDisconnect as end:  # nobody reads this answer, and nothing is wrong with the server
            raise HTTPException(400, f"The request ended early; {len(body):,} bytes of it arrived.") from end
        finally:
            self.held -= len(body)


def _later(reason: str) -> HTTPException:
    return HTTPException(503, f"{reason}; try again.", {"Retry-After": "1"})


def router(predictors: Mapping[str, Predictor], settings: Settings, monitor: Monitor) -> APIRouter:
    """The routes under ``/v2``, and ``/healthz`` and ``/readyz`` for orchestrators that do not know them.

    predictors: by the name under which each is offered.  Predictors are loaded and have run once, so a server that
    answers is ready, except while `settings.queue_size` requests wait.
    monitor: is told how many work and wait.
    Errors are HTTPExceptions, to be answered by `on_error`.
    """
    routes = APIRouter()
    places = settings.concurrency + settings.queue_size
    gate = Gate(settings.concurrency, settings.queue_size, memory=places * settings.upload_bytes)
    monitor.watch("waiting", "Requests that work or wait.", "surface", lambda: {"protocol": gate.taken})

    @routes.api_route("/healthz", methods=_PROBED)
    @routes.api_route("/v2/health/live", methods=_PROBED)
    async def live() -> dict:
        return {"live": True}

    @routes.api_route("/readyz", methods=_PROBED)
    @routes.api_route("/v2/health/ready", methods=_PROBED)
    async def ready(response: Response) -> dict:
        response.status_code = 503 if gate.full else 200
        return {"ready": not gate.full}

    @routes.get("/v2")
    async def server() -> dict:
        return {"name": "liquidlens", "version": "2", "extensions": ["binary_tensor_data"], "models": list(predictors)}

    def find(name: str, version: str) -> Predictor:
        if name not in predictors:
            raise HTTPException(404, f"There is no model {name!r}; there are {', '.join(predictors)}.")
        if version != VERSION:
            raise HTTPException(404, f"There is no version {version!r} of {name}; it is {VERSION}.")
        return predictors[name]

    @routes.get("/v2/models/{name}")
    @routes.get("/v2/models/{name}/versions/{version}")
    async def model(name: str, version: str = VERSION) -> dict:
        return metadata(name, find(name, version))

    @routes.get("/v2/models/{name}/ready")
    @routes.get("/v2/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str = VERSION) -> dict:
        find(name, version)
        return {"name": name, "ready": True}

    @routes.post("/v2/models/{name}/infer")
    @routes.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str = VERSION) -> Response:
        predictor = find(name, version)
        encoding = request.headers.get("content-encoding", "").lower()
        header_length = request.headers.get(HEADER_LENGTH)

        def work(body: bytearray) -> Response:
            limit = settings.upload_bytes if header_length else min(JSON_BYTES, settings.upload_bytes)
            content = inflated(body, encoding, limit)
            return answer(name, predictor, content, header_length)

        async with gate.body(request) as body:
            with gate.place():
                return await anyio.to_thread.run_sync(work, body, limiter=gate.limiter)

    @routes.api_route("/v2/{path:path}", methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False)
    async def unknown(request: Request, path: str) -> Response:
        raise HTTPException(404, f"There is no {request.method} of /v2/{path} here.")

    return routes


async def on_error(request: Request, error: Exception) -> Response:
    """The protocol's form of an HTTPException: ``{"error": sentence}``."""
    assert isinstance(error, HTTPException)  # noqa: S101  (what it is registered for)
    return refuse(error.status_code, error.detail, dict(error.headers or {}))


def metadata(name: str, predictor: Predictor) -> dict[str, Any]:
    """What the protocol says of a model; -1 is any size."""
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [_described(tensor) for tensor in predictor.session.get_inputs()],
        "outputs": [_described(tensor) for tensor in predictor.session.get_outputs()],
    }


def _described(tensor: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "datatype": DATATYPES[tensor.type], "shape": shape}
