"""Every hostile scan of the corpus is sent to a running server, and so are hostile requests.

After each of them a good request is answered as it should be.
"""

import gzip
import http.client
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from liquidlens.imaging import Scan
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.demo import answer
from liquidlens.serve.demo.case import Case
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server.codec import HEADER_LENGTH
from tests.attacks.attack import SECRET, Attack, Refused, corpus
from tests.attacks.corpus.names import SCRIPT
from tests.device.conftest import ask, visitor

#: Those that are one file, as uploads are; a page sends no folders, and nobody can name a file of the server.  All of
#: them take minutes: by default it is every sixth, with LIQUIDLENS_ATTACKS=all each (`make attacks`).
SCANS = [
    attack for attack in corpus("scan", "trusted") if not attack.name.startswith(("folder", "a pipe", "zip: an item"))
][:: 1 if os.environ.get("LIQUIDLENS_ATTACKS") == "all" else 6]


@pytest.fixture(scope="module")
def address(server) -> str:
    return server(pretrained.find("vessel"), pretrained.find("chest-xray"))


@pytest.fixture(scope="module")
def client(address) -> Client:
    return visitor(address)


@pytest.fixture(scope="module")
def good() -> Iterator[tuple[bytes, np.ndarray]]:
    """A request that is right, and the probabilities that it is answered with."""
    scans = vessel3d(seed=3, splits={"test": 1})["test_images"].astype(np.float32)
    tensor = {"name": "scan", "shape": list(scans.shape), "datatype": "FP32", "data": scans.ravel().tolist()}
    wanted = {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    return json.dumps(wanted).encode(), Predictor("vessel").run(scans)["probabilities"]


def check_that_it_serves(address: str, good: tuple[bytes, np.ndarray]) -> None:
    response, content = ask(address, "/v2/models/vessel/infer", "POST", good[0])
    assert response.status == 200
    found = np.float32(json.loads(content)["outputs"][0]["data"])
    assert found == pytest.approx(good[1].ravel(), abs=1e-5)


def asked(client: Client, files: list, endpoint: str) -> str:
    """The answer of an endpoint as JSON, or its sentence."""
    try:
        return json.dumps(client.predict(files, api_name=endpoint))
    except AppError as error:
        return str(error)


@pytest.mark.parametrize("attack", SCANS, ids=str)
def test_a_hostile_upload_ends_in_a_sentence(client, address, good, attack: Attack, tmp_path: Path):
    """One sentence, or an answer, by whichever of the two endpoints reads such scans."""
    source = Path(attack.make(tmp_path))
    files = [handle_file(file) for file in (sorted(source.iterdir()) if source.is_dir() else [source])]
    said = asked(client, files, "/predict_volume")
    if "and this is a 2D image" in said:
        said = asked(client, files, "/predict_xray")
    of_another_kind = "and this is of modality" in said  # well read, but none that a model here was trained on
    assert not [word for word in (SECRET, "Traceback", str(tmp_path)) if word in said]
    if isinstance(attack.ends, Refused) or of_another_kind:
        assert said.endswith(".")
        assert "\n" not in said
    else:
        assert said.startswith("{")
    check_that_it_serves(address, good)


def test_names_that_are_scripts_are_never_shown_as_such():
    """What the page's own events answer with, which is HTML."""
    scan = vessel3d(splits={"test": 1})["test_images"][0].astype(np.float32)
    predictor = Predictor("vessel")
    predictor.manifest = predictor.manifest.model_copy(update={"labels": (SCRIPT, f"b{SCRIPT}")})
    case = Case.judged(Scan(scan, notes=(SCRIPT,)), f"{SCRIPT}.npy", SCRIPT, predictor)
    shown = [answer.answer(case), answer.facts(case), answer.about(predictor.manifest), answer.message(SCRIPT)]
    for page in (*shown, answer.download(case)):
        assert "<script" not in page
    assert all("&lt;script&gt;" in page for page in shown)


def tensor(**changes: object) -> bytes:
    said = {"name": "scan", "shape": [1, 1, 1, 2], "datatype": "FP32", "data": [0, 1]} | changes
    return json.dumps({"inputs": [said]}).encode()


WHOLE = tensor()
BINARY = json.dumps(
    {"inputs": [{"name": "scan", "shape": [1, 1, 1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]}
).encode()
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "a shape of 1e18": (tensor(shape=[1, 10**6, 10**6, 10**6]), {}),
    "a shape of 1e4000": (tensor(shape=[1, 1, 1]).replace(b"[1, 1, 1]", b"[1, 1, 1, 1" + b"0" * 4_000 + b"]"), {}),
    "a shape that overflows 64 bits": (tensor(shape=[2**32, 2**32, 1, 1]), {}),
    "a negative shape": (tensor(shape=[-1, -1, -1, -2]), {}),
    "a shape of nothing": (tensor(shape=[0, 0, 0, 0]), {}),
    "a shape of fractions": (tensor(shape=[1.5, 1, 1, 2]), {}),
    "a shape of 100,000 axes": (tensor(shape=[1] * 100_000), {}),
    "NaN": (tensor(data=[0, float("nan")]), {}),
    "Infinity": (tensor(data=[0, float("inf")]), {}),
    "numbers beyond all": (tensor().replace(b"[0, 1]", b"[0, 1e999999]"), {}),
    "a number of a million digits": (tensor().replace(b"[0, 1]", b"[0, " + b"9" * 10**6 + b"]"), {}),
    "words": (tensor(data=["a", "b"]), {}),
    "truth": (tensor(data=[True, False]), {}),
    "brackets, 100,000 deep": (tensor().replace(b"[0, 1]", b"[" * 100_000 + b"]" * 100_000), {}),
    "brackets, 150 deep": (tensor().replace(b"[0, 1]", b"[" * 150 + b"0, 1" + b"]" * 150), {}),
    "objects, 100,000 deep": (b'{"inputs":' * 100_000, {}),
    "no UTF-8": (b'{"inputs": "\xff\xfe\xfd"}', {}),
    "half a surrogate": (tensor(name="scan").replace(b'"scan"', b'"\\ud800"'), {}),
    "a name that is a script": (tensor(name=SCRIPT), {}),
    "nothing": (b"", {}),
    "a binary tensor that is too short": (BINARY + bytes(7), {HEADER_LENGTH: str(len(BINARY))}),
    "a binary tensor that is too long": (BINARY + bytes(9), {HEADER_LENGTH: str(len(BINARY))}),
    "a header beyond the body": (BINARY + bytes(8), {HEADER_LENGTH: "99999999"}),
    "a header of negative length": (BINARY + bytes(8), {HEADER_LENGTH: "-5"}),
    "a header of 1e30 bytes": (BINARY + bytes(8), {HEADER_LENGTH: "1" + "0" * 30}),
    "a header in other digits": (BINARY + bytes(8), {HEADER_LENGTH: "\u0661\u0662".encode().decode("latin-1")}),
    "binary lengths that are words": (
        BINARY.replace(b": 8}", b': "8"}') + bytes(8),
        {HEADER_LENGTH: str(len(BINARY) + 2)},
    ),
    "a gzip bomb": (gzip.compress(bytes(600 * 2**20), 1), {"Content-Encoding": "gzip"}),
    "a deflate bomb": (zlib.compress(bytes(600 * 2**20), 1), {"Content-Encoding": "deflate"}),
    "gzip that is cut": (gzip.compress(WHOLE)[:-5], {"Content-Encoding": "gzip"}),
    "gzip with more behind it": (gzip.compress(WHOLE) + b"more", {"Content-Encoding": "gzip"}),
    "gzip in gzip": (gzip.compress(gzip.compress(WHOLE)), {"Content-Encoding": "gzip"}),
    "two encodings": (gzip.compress(WHOLE), {"Content-Encoding": "gzip, gzip"}),
    "another encoding": (WHOLE, {"Content-Encoding": "br"}),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_request_is_refused_with_a_sentence(address, good, name):
    body, headers = BODIES[name]
    response, content = ask(address, "/v2/models/vessel/infer", "POST", body, **headers)
    assert 400 <= response.status < 500
    check_error(content)
    check_that_it_serves(address, good)


def check_error(content: bytes) -> None:
    answer = json.loads(content)
    assert list(answer) == ["error"]
    assert re.fullmatch(r"[^\n]+\.", answer["error"]), answer
    assert "Traceback" not in answer["error"]


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..\\..\\etc\\passwd",
        "/etc/passwd",
        "vessel/../chest-xray",
        "vessel%00",
        "%ff%fe",
        "a" * 20_000,
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "vessel/versions/..%2f1",
    ],
)
def test_names_of_models_lead_nowhere(address, good, path):
    for method, end in (("GET", ""), ("POST", "/infer")):
        response, content = ask(address, f"/v2/models/{path}{end}", method, WHOLE if method == "POST" else None)
        assert 400 <= response.status < 500
        check_error(content)
    check_that_it_serves(address, good)


def raw(address: str, *lines: bytes, body: bytes = b"") -> bytes:
    """The whole answer to a request that is written by hand, until the server hangs up or five seconds pass."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
    connection.connect()
    with connection.sock as sock:
        sock.sendall(b"\r\n".join((*lines, b"", b"")) + body)
        sock.settimeout(5)
        answer = b""
        try:
            while part := sock.recv(2**16):
                answer += part
        except OSError:  # no more comes, or the server hung up
            pass
    return answer


POST = b"POST /v2/models/vessel/infer HTTP/1.1"
SMUGGLED = b"0\r\n\r\nGET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        (POST, b"Host: localhost", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close"),
        (POST, b"Host: localhost", b"Content-Length: 5", b"Content-Length: 60", b"Connection: close"),
        (POST, b"Host: localhost", b"Transfer-Encoding: chunked, identity", b"Connection: close"),
        (POST, b"Host: localhost", b"Content-Length: -1", b"Connection: close"),
        (POST, b"Host: localhost", b"Content-Length: +5", b"Connection: close"),
        (POST, b"Host: localhost", b"Content-Length : 5", b"Connection: close"),
        (POST, b"Host: localhost", b"Host: evil.example", b"Content-Length: 0", b"Connection: close"),
        (POST, b"Host: localhost", b"X: " + b"a" * 200_000, b"Content-Length: 0", b"Connection: close"),
        (POST + b"\r\nHost: evil.example", b"Content-Length: 0", b"Connection: close"),
        (b"POST http://evil.example/v2 HTTP/1.1", b"Host: localhost", b"Content-Length: 0", b"Connection: close"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",),
    ],
    ids=["both lengths", "two lengths", "chunked and not", "negative", "plus", "a space", "two hosts", "a long header",
         "two first lines", "another address", "TLS"],
)  # fmt: skip
def test_requests_that_hide_another_one(address, good, lines):
    """One answer at most, which is no success: what follows is not taken for a request of somebody else."""
    answer = raw(address, *lines, body=SMUGGLED)
    statuses = re.findall(rb"^HTTP/1\.1 (\d+)", answer, re.MULTILINE)
    assert len(statuses) <= 1, answer
    assert not statuses or statuses[0].startswith(b"4"), answer
    check_that_it_serves(address, good)
