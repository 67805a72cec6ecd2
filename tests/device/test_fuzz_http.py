"""The Open Inference Protocol, described in OpenAPI, and asked by schemathesis for what fits the description and what
does not: answers are as described, and no server error but a stated "try again"."""

import http.client
import itertools
import json
import logging
import time
from contextlib import suppress
from urllib.parse import urlsplit

import numpy as np
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.pretrained import name_of
from liquidlens.serve.server.codec import HEADER_LENGTH
from tests.device.conftest import ask
from tests.fuzz import seeds
from tests.fuzz.child import changed

EXAMPLES = 25
SCAN = {"name": "scan", "shape": [1, 1, 1, 2], "datatype": "FP32", "data": [0, 255]}


def answered(schema: dict, *errors: int) -> dict:
    """What an operation answers: JSON of a schema with 200, a sentence with an error."""
    sentence = {
        "type": "object",
        "properties": {"error": {"type": "string", "minLength": 1}},
        "required": ["error"],
        "additionalProperties": False,
    }
    found = {str(code): {"description": "", "content": {"application/json": {"schema": sentence}}} for code in errors}
    return found | {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}


def exactly(**properties: dict) -> dict:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def described(model: str) -> dict:
    """The protocol in OpenAPI."""
    text, yes = {"type": "string"}, {"type": "boolean"}
    sizes = {"type": "array", "items": {"type": "integer", "minimum": -1}, "maxItems": 5}
    tensors = {"type": "array", "minItems": 1, "items": exactly(name=text, datatype={"const": "FP32"}, shape=sizes)}
    numbers = {"type": "array", "items": {"type": "number"}}
    outputs = {"type": "array", "items": exactly(name=text, datatype={"const": "FP32"}, shape=sizes, data=numbers)}
    result = exactly(model_name={"const": model}, model_version={"const": "1"}, outputs=outputs)
    result["properties"]["id"] = text
    metadata = exactly(name={"const": model}, versions={"const": ["1"]}, platform=text, inputs=tensors, outputs=tensors)
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "enum": known}}
        for name, known in (("name", [model, "nobody"]), ("version", ["1", "2"]))
    ]
    tensor = {
        "type": "object",
        "properties": {
            "name": {"enum": ["scan", "image"]},
            "shape": sizes,
            "datatype": {"enum": ["FP32", "INT64"]},
            "parameters": {"type": "object"},
            "data": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["name", "shape", "datatype"],
    }
    wanted = {"type": "object", "properties": {"name": {"enum": ["logits", "ood", "x"]}}, "required": ["name"]}
    body = {
        "type": "object",
        "properties": {
            "id": text,
            "inputs": {"type": "array", "items": tensor, "maxItems": 2},
            "outputs": {"type": "array", "items": wanted},
            "parameters": {"type": "object"},
        },
        "required": ["inputs"],
        "example": {"id": "7", "inputs": [SCAN]},
    }
    encoding = {"name": "Content-Encoding", "in": "header", "schema": {"enum": ["gzip", "deflate", "identity", "br"]}}
    length = {"name": HEADER_LENGTH, "in": "header", "schema": {"type": "integer"}}
    infer = {
        "parameters": [encoding, length],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": answered(result, 400, 404, 413, 415, 503),
    }
    paths = {
        "/v2": exactly(
            name=text, version=text, extensions={"const": ["binary_tensor_data"]}, models={"const": [model]}
        ),
        "/v2/health/live": exactly(live=yes),
        "/v2/health/ready": exactly(ready=yes),
    }
    found: dict = {path: {"get": {"responses": answered(schema, 400, 404)}} for path, schema in paths.items()}
    for path, names in (("/v2/models/{name}", named[:1]), ("/v2/models/{name}/versions/{version}", named)):
        found[path] = {"parameters": names, "get": {"responses": answered(metadata, 400, 404)}}
        ready = exactly(name={"const": model}, ready=yes)
        found[f"{path}/ready"] = {"parameters": names, "get": {"responses": answered(ready, 400, 404)}}
        found[f"{path}/infer"] = {"parameters": names, "post": infer}
    return {"openapi": "3.1.0", "info": {"title": "Open Inference Protocol", "version": "2"}, "paths": found}


@pytest.fixture(scope="module")
def address(server) -> str:
    return server(upload_bytes=2**20)


@pytest.fixture(scope="module")
def api(address, model):
    config = SchemathesisConfig.from_dict({"base-url": address})
    return schemathesis.openapi.from_dict(described(name_of(model)), config=config)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_as_described(api, mode):
    """To requests that fit the description, and to such that do not."""
    for found in api.get_all_operations():
        operation = found.ok()
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
        @given(case=strategy)
        def expect(case):
            response = case.call()
            expect_no_server_error(response.status_code, response.content)
            if urlsplit(response.request.url).path.count("/") == case.path.count("/"):  # else another operation's
                checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
                case.validate_response(response, checks=checks)

        with suppress(Unsatisfiable):  # of what takes nothing, nothing is wrong
            expect()


def expect_no_server_error(status: int, content: bytes) -> None:
    assert status < 500 or (status == 503 and "try again" in json.loads(content)["error"])


def test_changed_requests_are_answered(address, model):
    """Bodies that were valid once; a valid one is still answered right after them."""
    target = f"/v2/models/{name_of(model)}/infer"
    for data in itertools.islice(changed(seeds.requests(), seed=0), 300):
        head, _, body = data.partition(b"\n")
        length, _, encoding = head.decode("latin-1").partition(" ")
        values = {HEADER_LENGTH: length.strip(), "Content-Encoding": encoding.strip()}
        headers = {name: value for name, value in values.items() if value and value.isprintable()}
        response, content = ask(address, target, "POST", body, **headers)
        expect_no_server_error(response.status, content)
        assert response.status == 200 or json.loads(content)["error"]
    response, content = ask(address, target, "POST", json.dumps({"inputs": [SCAN]}))
    expected = Predictor(model).run(np.reshape(SCAN["data"], SCAN["shape"]))
    found = {output["name"]: output["data"] for output in json.loads(content)["outputs"]}
    assert np.array_equal(np.float32(found["logits"]), expected["logits"].ravel())


def test_who_hangs_up_leaves_no_trace(address, model, caplog):
    """No traceback in the log of the server for each client that is gone before its request is sent."""
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(caplog.handler)
    for _ in range(3):
        connection = http.client.HTTPConnection(address.removeprefix("http://"))
        connection.putrequest("POST", f"/v2/models/{name_of(model)}/infer")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"{")
        connection.close()
    assert ask(address, "/healthz")[0].status == 200
    time.sleep(0.5)  # the server notices in its own time
    logger.removeHandler(caplog.handler)
    assert "Exception in ASGI application" not in caplog.text
