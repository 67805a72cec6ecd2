"""The Open Inference Protocol, as existing clients speak it, and what it refuses."""

import gzip
import http.client
import json
import re
import time

import numpy as np
import pytest
import tritonclient.http as triton
from starlette.exceptions import HTTPException

from liquidlens.imaging import phantoms
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.pretrained import name_of
from liquidlens.serve.server import protocol
from liquidlens.serve.server.codec import HEADER_LENGTH
from liquidlens.serve.server.guards import bodies
from tests.device.conftest import ask


@pytest.fixture(scope="module")
def address(server) -> str:
    return server()


@pytest.fixture(scope="module")
def client(address) -> triton.InferenceServerClient:
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        yield client


@pytest.fixture(scope="module")
def predictor(model) -> Predictor:
    return Predictor(model)


@pytest.fixture(scope="module")
def name(model) -> str:
    return name_of(model)


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    return phantoms.vessel3d(splits={"test": 2})["test_images"].astype(np.float32)


def post(address: str, name: str, body: bytes, **headers) -> tuple[int, dict]:
    """Status and JSON of an inference request's answer."""
    response, content = ask(address, f"/v2/models/{name}/infer", "POST", body, **headers)
    return response.status, json.loads(content)


def scan_input(scans: np.ndarray, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("scan", scans.shape, "FP32")
    tensor.set_data_from_numpy(scans, binary_data=binary)
    return tensor


def test_server_and_models_say_what_they_are(client, name, predictor):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, "1")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata(name)
    assert metadata["versions"] == ["1"]
    assert metadata["platform"] == "onnxruntime_onnx"
    assert metadata["inputs"] == [{"name": "scan", "datatype": "FP32", "shape": [-1, -1, -1, -1]}]
    outputs = {output["name"]: output for output in metadata["outputs"]}
    assert outputs["probabilities"]["shape"] == [-1, len(predictor.manifest.labels)]
    assert list(outputs) == list(predictor.run(np.zeros((1, 2, 2, 2), np.float32)))


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_output_equals_the_predictors(client, name, predictor, scans, binary_in, compression):
    """Without a choice of outputs, tritonclient asks for all of them in binary."""
    result = client.infer(name, [scan_input(scans, binary_in)], request_compression_algorithm=compression)
    expected = predictor.run(scans)
    assert [output["name"] for output in result.get_response()["outputs"]] == list(expected)
    for output, values in expected.items():
        assert np.array_equal(result.as_numpy(output), values), output


@pytest.mark.parametrize("binary_out", [True, False])
def test_chosen_outputs_come_in_the_order_asked_for(client, name, predictor, scans, binary_out):
    wanted = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in ("ood", "probabilities")]
    result = client.infer(name, [scan_input(scans)], outputs=wanted, request_id="ward 7", model_version="1")
    response = result.get_response()
    assert response["id"] == "ward 7"
    assert [output["name"] for output in response["outputs"]] == ["ood", "probabilities"]
    assert ("data" in response["outputs"][0]) != binary_out
    assert np.array_equal(result.as_numpy("probabilities"), predictor.run(scans)["probabilities"])


def test_plain_json_with_nested_values(address, name, predictor, scans):
    tensor = {"name": "scan", "shape": list(scans.shape), "datatype": "FP32", "data": scans.tolist()}
    status, answer = post(address, name, json.dumps({"inputs": [tensor]}).encode())
    assert status == 200
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert np.array_equal(np.float32(outputs["logits"]), predictor.run(scans)["logits"].ravel())


def infer_request(shape=(1, 1, 1, 2), data=(0, 1), **changes) -> bytes:
    tensor = {"name": "scan", "shape": shape, "datatype": "FP32", "data": data, **changes}
    return json.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not None}]}).encode()


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b"", {}, 400, "not understood: JSON"),
        (b"[" * 100_000, {}, 400, "not understood: JSON"),
        (b"{}", {}, 400, "inputs: Field required"),
        (b'{"inputs": [{"name": "scan"}]}', {}, 400, "inputs.0.shape"),
        (b'{"inputs": []}', {}, 400, "one input, scan"),
        (infer_request(name="image"), {}, 400, "one input, scan"),
        (infer_request(datatype="UINT8"), {}, 400, "FP32, not UINT8"),
        (infer_request(shape=[1, 2]), {}, 400, "(batch, slices, rows, columns), not [1, 2]"),
        (infer_request(shape=[1, 1, 0, 2]), {}, 400, "not [1, 1, 0, 2]"),
        (infer_request(shape=[-1, 1, -1, 2]), {}, 400, "not [-1, 1, -1, 2]"),
        (infer_request(shape=[1, 1, 1, 3]), {}, 400, "does not have 2 values"),
        (infer_request(shape=[65, 1, 1, 1]), {}, 400, "up to 64 scans"),
        (infer_request(shape=[1, 1, 10**5, 10**5]), {}, 413, "too much memory"),
        (infer_request(shape=[1, 1, 1, 10**30]), {}, 413, "too much memory"),
        (infer_request(data=["1", "2"]), {}, 400, "not all numbers"),
        (infer_request(data=[1, None]), {}, 400, "not all numbers"),
        (infer_request(data=[[1], [1, 2]]), {}, 400, "not a regular array"),
        (infer_request(data=[1, 1e300]), {}, 400, "not finite"),
        (infer_request(data=[1, float("nan")]), {}, 400, "not finite"),
        (infer_request(data=None), {}, 400, "needs its values"),
        (infer_request(parameters={"binary_data_size": 8}), {}, 400, "0 bytes follow"),
        (infer_request(), {HEADER_LENGTH: "99999"}, 400, "'99999'"),
        (infer_request(), {HEADER_LENGTH: "-1"}, 400, "'-1'"),
        (infer_request(), {HEADER_LENGTH: "9" * 5000}, 400, "the request has"),
        (infer_request(), {"Content-Encoding": "br"}, 415, "gzip or deflate, not br"),
        (infer_request(), {"Content-Encoding": "gzip"}, 400, "not what gzip makes"),
        (gzip.compress(infer_request(), mtime=0)[:-4], {"Content-Encoding": "gzip"}, 400, "not one whole gzip stream"),
    ],
)
def test_refusals_are_sentences(address, name, body, headers, status, sentence):
    found, answer = post(address, name, body, **headers)
    assert (found, list(answer)) == (status, ["error"])
    assert sentence in answer["error"]


def test_outputs_that_are_not_there(client, name, scans):
    with pytest.raises(triton.InferenceServerException, match="no output 'answer'; it has logits"):
        client.infer(name, [scan_input(scans)], outputs=[triton.InferRequestedOutput("answer")])
    with pytest.raises(triton.InferenceServerException, match="Classification is not offered"):
        client.infer(name, [scan_input(scans)], outputs=[triton.InferRequestedOutput("logits", class_count=1)])


def test_models_versions_and_addresses_that_are_not_there(client, name, scans):
    with pytest.raises(triton.InferenceServerException, match=f"no model 'nobody'; there are {name}"):
        client.infer("nobody", [scan_input(scans)])
    with pytest.raises(triton.InferenceServerException, match="no version '2'"):
        client.get_model_metadata(name, "2")
    with pytest.raises(triton.InferenceServerException, match=f"no GET of /v2/models/{name}/config"):
        client.get_model_config(name)


def test_bombs_are_not_inflated(server, name):
    """A thousandth of the limit that inflates to more than the limit."""
    limited = server(upload_bytes=2**20)
    body = gzip.compress(bytes(2**20 + 1))
    assert len(body) < 2_000
    status, answer = post(limited, name, body, Content_Encoding="gzip")
    assert status == 413
    assert "when inflated" in answer["error"]


def begun(address: str, name: str, length: int, body: bytes) -> http.client.HTTPConnection:
    """A request of so many bytes, of which only these were sent yet."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", f"/v2/models/{name}/infer")
    connection.putheader("Content-Length", str(length))
    connection.endheaders(body)
    return connection


def test_a_request_that_stalls_keeps_nobody_out(server, name, monkeypatch):
    """Not even where one works and none may wait; and it does not stall for ever."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 2)
    address = server(concurrency=1, queue_size=0)
    body = infer_request()
    stalled = [begun(address, name, len(body), body[:1]) for _ in range(3)]
    assert post(address, name, body)[0] == 200
    assert ask(address, "/readyz")[0].status == 200
    for connection in stalled:
        response = connection.getresponse()
        assert response.status == 408
        assert re.search("did not arrive in time; [01] bytes", json.loads(response.read())["error"])
        connection.close()


def test_requests_that_arrive_slowly_but_surely_are_answered(server, name, monkeypatch):
    """Every byte that arrives gives more time."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(bodies, "BODY_RATE", 1)
    body = infer_request()
    slow = begun(server(), name, len(body), body[:20])
    time.sleep(1)
    slow.send(body[20:])
    assert slow.getresponse().status == 200
    slow.close()


def test_bodies_are_bounded_together(server, name):
    """One works, none may wait, so there is room for one of the largest bodies."""
    address = server(concurrency=1, queue_size=0, upload_bytes=2**16)
    body = infer_request()
    full = body + b" " * (2**16 - len(body))
    slow = begun(address, name, len(full), full[:-1])
    while (answered := post(address, name, body))[0] == 200:  # until the server has read the other
        pass
    assert answered[0] == 503
    assert "try again" in answered[1]["error"]
    assert ask(address, "/healthz")[0].status == 200
    slow.send(full[-1:])
    assert slow.getresponse().status == 200
    slow.close()
    assert post(address, name, body)[0] == 200


def test_a_full_server_is_not_ready(server, name):
    """One without any place: orchestrators are told to send nothing, and who sends something to come later."""
    address = server(concurrency=0, queue_size=0)
    for method in ("GET", "HEAD"):
        assert ask(address, "/readyz", method)[0].status == 503
        assert ask(address, "/healthz", method)[0].status == 200
    status, answer = post(address, name, infer_request())
    assert status == 503
    assert "try again" in answer["error"]


def test_a_full_gate_stays_full_until_a_place_is_free():
    gate = protocol.Gate(1, 1, memory=1)
    with gate.place(), gate.place():
        assert gate.full
        with pytest.raises(HTTPException) as refused, gate.place():
            pass
        assert refused.value.status_code == 503
        assert refused.value.headers == {"Retry-After": "1"}
    assert not gate.full
