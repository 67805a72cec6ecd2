"""The requests of `benchmarks.siege`: good ones with the right answer, broken ones, and ones that are meant to harm."""

import gzip
import http.client
import json
import random
import re
import socket
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from liquidlens.imaging import Scan
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server.codec import HEADER_LENGTH
from tests.fuzz import mutate, seeds

#: Different scans among the good requests, and their sides.
SCANS, SIDES = 24, (12, 40)
#: Seconds that an answer may take.
PATIENCE = 300
#: Sockets that say nothing and are open at once, before this side lets go of the oldest.
SILENT = 400
#: Files of every kind, by their ending.
FILES = {
    ".npy": seeds.arrays()[:4],
    ".npz": seeds.arrays()[4:],
    ".nii": seeds.niftis()[:6],
    ".nii.gz": seeds.niftis()[6:],
    ".tif": seeds.images(),
    ".dcm": seeds.dicoms(),
    ".zip": seeds.zips(),
}
BOUNDARY = "siege"
#: What names of files, sessions and fields hold that requests bring: a name with line breaks and a terminal's escapes.
MARK = b"DOE^JANE"
NAME = f"{MARK.decode()}\x1b]0;owned\x07\x1b[2J\r\nServing at"
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW")
PATHS = (
    "/",
    "/v2",
    "/v2/models/{name}",
    "/v2/models/{name}/infer",
    "/v2/models/nobody/infer",
    "/v2/models/{name}/versions/9/infer",
    "/v2/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/call/predict_volume",
    "/gradio_api/call/predict_volume/nothing",
    "/gradio_api/call/nothing",
    "/gradio_api/call/v2/nothing",
    "/gradio_api/queue/join",
    "/gradio_api/upload",
    "/gradio_api/run/predict",
    "/gradio_api/custom_component/x/client/y/DOE%5EJANE%1b%5D0;owned%07%0D%0AServing",
    "/gradio_api/stream/x",
    "/gradio_api/process_recording",
    "/gradio_api/proxy=http://127.0.0.1:1/DOE%5EJANE",
    "/gradio_api/queue/data?session_hash=DOE%5EJANE%0A",
    "/gradio_api/heartbeat/DOE%5EJANE%0A",
    "/config",
    "/%00",
    "/%ff%fe",
    "/" + "a" * 5_000,
    "//evil.example/",
    "/<script>alert(1)</script>",
)


@dataclass(frozen=True)
class Result:
    """kind: of the request.  status: of the answer.  right: whether every promise was kept.  said: the answer's start,
    or what went wrong."""

    kind: str
    status: str
    right: bool
    said: str = ""


#: Status and content.
Answer = tuple[int, bytes]


class Besieger:
    """Sends request after request; may be used by several threads."""

    def __init__(self, predictor: Predictor, name: str, limit: int, seed: int):
        """name: of the model at the server.  limit: bytes of the largest request that it takes."""
        self.name, self.limit, self.seed = name, limit, seed
        rng = np.random.default_rng(seed)
        self.scans, self.outputs, self.predictions = [], [], []
        for _ in range(SCANS):
            scan = rng.integers(0, 2, (1, *rng.integers(*SIDES, 3))).astype(np.float32) * 255
            self.scans.append(scan)
            self.outputs.append(predictor.run(scan))
            self.predictions.append(predictor.predict(Scan(scan[0])).probabilities)
        self.kinds: list[tuple[int, Callable[[str, np.random.Generator], Result]]] = [
            (25, self.good_binary),
            (12, self.good_json),
            (8, self.good_gzip),
            (4, self.good_upload),
            (20, self.broken_request),
            (6, self.broken_upload),
            (15, self.garbage),
            (4, self.huge_claim),
            (3, self.bomb),
            (3, self.hang_up),
            (3, self.json_bomb),
            (3, self.silence),
            (2, self.deletion),
            (2, self.unfetched),
        ]
        self._silent: deque[socket.socket] = deque(maxlen=SILENT)

    def send(self, address: str, number: int) -> Result:
        """Send request `number`."""
        rng = np.random.default_rng((self.seed, number))
        weights = np.array([weight for weight, _ in self.kinds])
        kind = self.kinds[rng.choice(len(self.kinds), p=weights / weights.sum())][1]
        try:
            return kind(address, rng)
        except Exception as error:  # no answer, or one that is not understood: a broken promise, whatever it is
            return Result(kind.__name__.replace("_", " "), "none", False, repr(error))

    def good_binary(self, address: str, rng: np.random.Generator) -> Result:
        at = int(rng.integers(SCANS))
        scan = self.scans[at].astype("<f4").tobytes()
        header = json.dumps({"inputs": [self._tensor(at, parameters={"binary_data_size": len(scan)})]}).encode()
        return self._judged("good binary", at, self._infer(address, header + scan, {HEADER_LENGTH: str(len(header))}))

    def good_json(self, address: str, rng: np.random.Generator) -> Result:
        at = int(rng.integers(SCANS))
        return self._judged("good JSON", at, self._infer(address, self._json(at), {}))

    def good_gzip(self, address: str, rng: np.random.Generator) -> Result:
        at = int(rng.integers(SCANS))
        answer = self._infer(address, gzip.compress(self._json(at), 1), {"Content-Encoding": "gzip"})
        return self._judged("good gzip", at, answer)

    def good_upload(self, address: str, rng: np.random.Generator) -> Result:
        at = int(rng.integers(SCANS))
        name = f"{rng.integers(2**62)}.npy"
        status, said = self._judge_upload(address, name, seeds.npy(self.scans[at][0].astype(np.uint8)))
        right = False
        if status == "complete":
            found = json.loads(said)[0]["prediction"]["probabilities"]
            right = all(np.isclose(found[label], p, atol=1e-5) for label, p in self.predictions[at].items())
        return Result("good upload", status, right or status == "503", said)

    def broken_request(self, address: str, rng: np.random.Generator) -> Result:
        """One that was valid once, with some bytes changed."""
        head, _, body = self._changed(seeds.requests(), rng).partition(b"\n")
        length, _, encoding = head.decode("latin-1").partition(" ")
        headers = {HEADER_LENGTH: length.strip(), "Content-Encoding": encoding.strip()}
        headers = {name: value for name, value in headers.items() if value and value.isprintable()}
        return self._kept("broken request", self._infer(address, body, headers))

    def broken_upload(self, address: str, rng: np.random.Generator) -> Result:
        """A file of any kind with some bytes changed; the answer is an error in a sentence, or a prediction."""
        ending = str(rng.choice(list(FILES)))
        name = f"{rng.integers(2**62)}{ending}"
        status, said = self._judge_upload(address, name, self._changed(FILES[ending], rng))
        right = status in ("complete", "503") or (status == "error" and name in said)
        return Result("broken upload", status, right, said)

    def garbage(self, address: str, rng: np.random.Generator) -> Result:
        """Any method at any address."""
        method, path = str(rng.choice(METHODS)), str(rng.choice(PATHS)).format(name=self.name)
        body = rng.bytes(int(rng.integers(0, 1000))) if method in ("POST", "PUT", "PATCH") else b""
        kind = str(rng.choice(["application/json", "multipart/form-data; boundary=x", "text/plain", "x" * 900]))
        return self._kept("garbage", ask(address, method, path, body, {"Content-Type": kind}), f"{method} {path[:60]}")

    def huge_claim(self, address: str, rng: np.random.Generator) -> Result:
        """A few bytes that say they are a tensor of any size."""
        tensor = self._tensor(0, shape=[1, *(int(2 ** rng.integers(0, 40)) for _ in range(3))], data=[1.0])
        return self._kept("huge claim", self._infer(address, json.dumps({"inputs": [tensor]}).encode(), {}))

    def bomb(self, address: str, rng: np.random.Generator) -> Result:
        """A thousandth of what it unpacks to: just below what the server takes, or twice that."""
        deflater = zlib.compressobj(9, wbits=31)
        size = int(rng.choice([self.limit - 2**10, 2 * self.limit]))
        body = deflater.compress(b" " * size) + deflater.flush()
        return self._kept("bomb", self._infer(address, body, {"Content-Encoding": "gzip"}))

    def hang_up(self, address: str, rng: np.random.Generator) -> Result:
        """The start of a request; then nobody is there any more."""
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        connection.putrequest("POST", f"/v2/models/{self.name}/infer")
        connection.putheader("Content-Length", str(int(rng.integers(1, self.limit))))
        connection.endheaders(rng.bytes(int(rng.integers(0, 10_000))))
        connection.close()
        return Result("hung up", "none", True)

    def json_bomb(self, address: str, rng: np.random.Generator) -> Result:
        """Megabytes of lists, to whatever reads JSON."""
        routes = ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/predict_volume"]
        path = str(rng.choice([*routes, f"/v2/models/{self.name}/infer"]))
        part = [b"[],", b"{},", b"[[[0]]],", b"1,"][rng.integers(4)]
        body = (
            b'{"data":[' + part * int(rng.choice([100, 6_000, 10**5, 5 * 10**6])) + b'[]],"fn_index":2,"session_hash":'
        )
        body += json.dumps(NAME).encode() + b"}"
        try:
            return self._kept("JSON bomb", ask(address, "POST", path, body, {"Content-Type": "application/json"}), path)
        except (BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            return Result("JSON bomb", "hung up on", True)

    def silence(self, address: str, rng: np.random.Generator) -> Result:
        """Connections that say nothing, or half of something."""
        host, _, port = address.rpartition(":")
        for _ in range(20):
            silent = socket.create_connection((host, int(port)), timeout=PATIENCE)
            self._silent.append(silent)  # the oldest is let go of when all others do so
            with suppress(OSError):
                silent.sendall(
                    [b"", b"GET / HTTP/1.1\r\nX: ", b"POST /v2 HTTP/1.1\r\nHost: x\r\nUpgrade: DOE^JANE\r\n"][
                        rng.integers(3)
                    ]
                )
        return Result("silence", "none", True)

    def deletion(self, address: str, rng: np.random.Generator) -> Result:
        """The page's own files, named as a scan; they are still there afterwards."""
        config = json.loads(ask(address, "GET", "/config", b"", {})[1])
        offered = sorted(set(re.findall(r'"path": "([^"]*/liquidlens-[^"]*)"', json.dumps(config))))
        chosen = str(rng.choice(offered))
        status, said = self._judge_file(address, chosen, NAME)
        kept = ask(address, "GET", f"/gradio_api/file={quote(chosen)}", b"", {})[0]
        right = status in ("error", "503") and kept in (200, 503)
        return Result("deletion", status, right, f"{said} and then {kept}")

    def unfetched(self, address: str, rng: np.random.Generator) -> Result:
        """A call whose answer nobody fetches."""
        at = int(rng.integers(SCANS))
        status, told = self._upload(address, f"{NAME}.npy", seeds.npy(self.scans[at][0].astype(np.uint8)))
        if status == 200:
            status, told = self._call(address, json.loads(told)[0], f"{NAME}.npy")
        return self._kept("unfetched", (status, told))

    def _tensor(self, at: int, **others: Any) -> dict[str, Any]:
        return {"name": "scan", "shape": self.scans[at].shape, "datatype": "FP32", **others}

    def _json(self, at: int) -> bytes:
        return json.dumps({"inputs": [self._tensor(at, data=self.scans[at].ravel().tolist())]}).encode()

    def _changed(self, valid: list[bytes], rng: np.random.Generator) -> bytes:
        dice = random.Random(int(rng.integers(2**62)))  # noqa: S311  (no secret)
        chosen = dice.choice(valid)
        return mutate.mutated(chosen, dice, lambda data: mutate.blind(data, dice, 2**16, valid))

    def _infer(self, address: str, body: bytes, headers: dict[str, str]) -> Answer:
        return ask(address, "POST", f"/v2/models/{self.name}/infer", body, headers)

    def _judged(self, kind: str, at: int, answer: Answer) -> Result:
        """A good request is answered with the predictor's own numbers, or told to come later."""
        if answer[0] != 200:
            return self._kept(kind, answer, expected=())
        told = json.loads(answer[1])
        found = {output["name"]: np.reshape(output["data"], output["shape"]) for output in told["outputs"]}
        right = set(found) == set(self.outputs[at]) and all(
            np.allclose(found[name], values, rtol=1e-4, atol=1e-5) for name, values in self.outputs[at].items()
        )
        return Result(kind, "200", right, "" if right else "another answer than the predictor's")

    def _kept(self, kind: str, answer: Answer, sent: str = "", expected: tuple[int, ...] | None = None) -> Result:
        """Any other is answered as one likes, but with no server error; except that one may be told to come later."""
        status, content = answer
        right = status < 500 if expected is None else status in expected
        right = right or (status == 503 and b"try again" in content)
        return Result(kind, str(status), right, f"{sent} {status} {content[:200].decode(errors='replace')}")

    def _judge_upload(self, address: str, filename: str, content: bytes) -> tuple[str, str]:
        """Upload a file to the demo and ask for its prediction: ``complete`` or ``error`` and what the server said; or
        the status at which it ended."""
        status, told = self._upload(address, filename, content)
        if status != 200:
            return str(status), told[:300].decode(errors="replace")
        return self._judge_file(address, json.loads(told)[0], filename)

    def _judge_file(self, address: str, path: str, filename: str) -> tuple[str, str]:
        """Ask for the prediction of a file of the server."""
        status, told = self._call(address, path, filename)
        if status != 200:
            return str(status), told[:300].decode(errors="replace")
        url = f"/gradio_api/call/predict_volume/{json.loads(told)['event_id']}"
        status, told = ask(address, "GET", url, b"", {})
        event, _, data = told.decode().strip().rpartition("event: ")[2].partition("\ndata: ")
        return event, data

    def _upload(self, address: str, filename: str, content: bytes) -> Answer:
        name = "".join(
            letter if letter.isprintable() and letter != '"' else f"%{ord(letter):02X}" for letter in filename
        )
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        form = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return ask(address, "POST", "/gradio_api/upload", form, kind)

    def _call(self, address: str, path: str, filename: str) -> Answer:
        file = {"path": path, "orig_name": filename, "meta": {"_type": "gradio.FileData"}}
        call = json.dumps({"data": [[file], self.name, ""]}).encode()
        return ask(address, "POST", "/gradio_api/call/predict_volume", call, {"Content-Type": "application/json"})


def ask(address: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Status and content of an answer."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        with connection.getresponse() as response:
            return response.status, response.read()
    finally:
        connection.close()
