"""What strangers send before, and in place of, what the page sends: addresses, bodies, connections, files of others."""

import gzip
import http.client
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.serve.demo import uploads
from liquidlens.serve.predict import pretrained
from liquidlens.serve.server import app as application
from liquidlens.serve.server import capacity, connections
from liquidlens.serve.server.guards import bodies, places, routes
from liquidlens.serve.settings import Settings
from tests.device.conftest import ask

JSON = {"Content_Type": "application/json"}


@pytest.fixture(scope="module")
def address(server) -> str:
    return server(root_path="/lens", allowed_hosts=("lens.example.org", "other.example:8443"))


def error_of(content: bytes) -> str:
    return json.loads(content)["error"]


def every_route(app) -> list[tuple[str, str]]:
    """Method and address of every route of the application, Gradio's own included, as it brings them."""

    def walk(found, prefix: str) -> Iterator[tuple[str, str]]:
        for route in found:
            path = prefix + getattr(route, "path", "")
            inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
            if inner:
                yield from walk(inner, path if type(route).__name__ == "Mount" else prefix)
            else:
                yield from ((method, path) for method in sorted(getattr(route, "methods", None) or ()))

    return sorted(set(walk(app.routes, "")))


def test_every_route_of_gradio_that_is_not_listed_is_refused(server, address):
    """With and without the path under which a proxy offers the server; each listed one is known."""
    served_app = server.applications[-1]
    brought = [(method, path) for method, path in every_route(served_app) if not path.startswith(("/v2", "/healthz"))]
    assert len(brought) > 60, "Gradio's routes are found"
    refused, served = 0, set()
    for method, template in brought:
        path = re.sub(r"\{\w+:path\}", "http://127.0.0.1:9/x", template)
        path = re.sub(r"\{\w+\}", "x", path)
        if routes.found(method, path) is not None:
            served.add(template)
            continue
        refused += 1
        for prefix in ("", "/lens", "/lens/lens", "/LENS"):
            response, content = ask(address, prefix + path, method, b"" if method == "POST" else None)
            assert response.status == 404, (method, prefix + path)
            if method != "HEAD":
                assert "nothing at this address" in error_of(content)
    assert refused > 40
    assert served == {
        "/", "/readyz", "/metrics", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
        "/assets/{path:path}",
        "/static/{path:path}", "/svelte/{path:path}", "/gradio_api/call/{api_name}",
        "/gradio_api/call/{api_name}/{event_id}", "/gradio_api/file={path_or_url:path}",
        "/gradio_api/heartbeat/{session_hash}", "/gradio_api/info", "/gradio_api/queue/data", "/gradio_api/queue/join",
        "/gradio_api/run/{api_name}", "/gradio_api/startup-events", "/gradio_api/theme.css", "/gradio_api/upload",
        "/gradio_api/upload_progress",
    }  # fmt: skip


def test_a_prefix_hides_nothing(address):
    """What is served without the prefix is served, and refused, with it."""
    fetched = []
    with listener(fetched) as port:
        for prefix in ("", "/lens"):
            for path in ("/config", "/healthz", "/v2", "/gradio_api/info"):
                assert ask(address, prefix + path)[0].status == 200, prefix + path
            for path in ("file=http:", "file/http:", "proxy=http:", "FILE=http:"):
                assert ask(address, f"{prefix}/gradio_api/{path}//127.0.0.1:{port}/x")[0].status == 404
    assert fetched == []


@contextmanager
def listener(heard: list) -> Iterator[int]:
    """A port that notes who connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]
        while select.select([sock], [], [], 0)[0]:
            heard.append(sock.accept()[1])


def test_files_that_the_page_does_not_offer_are_not_handed_out(address, server):
    offered = server.applications[-1].state.offered
    assert {Path(path).name for path in offered} >= {"model.onnx", "CARD.md"}
    for path in offered:
        assert ask(address, f"/gradio_api/file={path}")[0].status == 200
    (own,) = upload(address, b"pixels")
    assert ask(address, f"/gradio_api/file={own}")[0].status == 404, "not even an upload"


def test_pages_of_a_named_proxy_send_from_its_own_port_alone(address):
    def status(origin: str) -> int:
        return ask(address, "/gradio_api/queue/join", "POST", b"{}", Origin=origin)[0].status

    for origin in ("https://lens.example.org", "http://lens.example.org", "https://lens.example.org:443",
                   "https://OTHER.example:8443"):  # fmt: skip
        assert status(origin) != 403, origin
    for origin in ("https://lens.example.org:8443", "http://lens.example.org:443", "https://other.example",
                   "ftp://lens.example.org", "https://lens.example.org:0", "https://lens.example.org:x"):  # fmt: skip
        assert status(origin) == 403, origin
    for name in ("", "a b", "http://lens.example.org", "lens.example.org/", "lens.example.org:x"):
        with pytest.raises(LiquidLensError, match="is no name of a server"):
            Settings(allowed_hosts=(name,))


BOMBS = {
    "lists": b'{"data":[' + b"[]," * 200_000 + b'[]],"fn_index":26,"session_hash":"abc"}',
    "lists, too many bytes": b'{"data":[' + b"[]," * 9_000_000 + b'[]],"fn_index":26,"session_hash":"abc"}',
    "objects": b'{"data":[' + b"{}," * 100_000 + b"{}]}",
    "numbers": b'{"data":[' + b"1," * 200_000 + b"1]}",
    "depth": b'{"data":' + b"[" * 15_000 + b"]" * 15_000 + b"}",
}


@pytest.mark.parametrize("path", ["queue/join", "run/predict", "call/predict_volume"])
@pytest.mark.parametrize("name", BOMBS)
def test_json_that_is_much_work_is_refused_unread(address, path, name):
    """Memory and time of the loop are bounded by what is refused before anything is made of it."""
    response, content = ask(address, f"/gradio_api/{path}", "POST", BOMBS[name], **JSON)
    if name == "depth":  # few values: read, and not understood
        assert 400 <= response.status < 500
    else:
        assert response.status == 413
        assert error_of(content).endswith(".")


@pytest.mark.parametrize("session", ["x" * 101, "a\nb", "\ud800", "", 7, ["a"], {}], ids=repr)
@pytest.mark.parametrize("path", ["queue/join", "run/predict"])
def test_sessions_have_names_that_may_be_kept(address, server, path, session):
    """They are remembered, and so is whatever somebody calls one."""
    call = json.dumps({"data": [], "fn_index": 2, "session_hash": session})
    response, content = ask(address, f"/gradio_api/{path}", "POST", call, **JSON)
    assert response.status == 400
    assert "A session is named by up to 100" in error_of(content)
    assert ask(address, f"/gradio_api/heartbeat/{'x' * 101}")[0].status == 404


def test_the_largest_series_of_single_files_still_fits():
    """The JSON with which the page names two thousand uploads."""
    file = {"path": "/tmp/liquidlens-0123456789abcdef/uploads/" + "0" * 32 + "/1.2.840.113619.2.55.3.604688119.971.dcm"}  # noqa: S108
    file |= {"url": f"http://127.0.0.1:7860/gradio_api/file={file['path']}", "orig_name": "1.2.840.113619.2.55.3.dcm"}
    file |= {
        "size": 526_000,
        "mime_type": "application/dicom",
        "is_stream": False,
        "meta": {"_type": "gradio.FileData"},
    }
    named = json.dumps({"data": [[file] * 2_000, "vessel", ""], "fn_index": 26, "session_hash": "abc"}).encode()
    assert len(named) < bodies.JSON_BYTES
    assert sum(map(named.count, (b",", b"[", b"{"))) < bodies.JSON_VALUES


def begun(address: str, path: str) -> http.client.HTTPConnection:
    """The head of a request whose body never comes."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"-")
    return connection


@pytest.mark.parametrize("path", ["queue/join", "run/predict", "call/predict_volume", "upload"])
def test_bodies_that_do_not_come_end(address, path, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    with closing(begun(address, f"/gradio_api/{path}")) as connection:
        response = connection.getresponse()
        assert response.status == 408
        assert re.search("did not arrive in time; [01] bytes", error_of(response.read()))


def closed(sock: socket.socket, seconds: float = 60) -> bool:
    """Whether the server ends a connection within so many seconds."""
    sock.settimeout(seconds)
    try:
        while sock.recv(2**16):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def dial(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nX: ",
        b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n-",
    ],
    ids=["nothing", "half a head", "one request", "one and a half", "the start of a refused body"],
)
def test_silent_connections_are_ended(server, model, monkeypatch, said):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with closing(dial(server())) as sock:
        sock.sendall(said)
        assert closed(sock)


def test_who_does_not_read_is_hung_up_on(server, monkeypatch):
    """The page's configuration, many times over, of which nothing is taken."""
    monkeypatch.setattr(connections, "READ_SECONDS", 0.5)
    with closing(dial(server())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        request, hung_up = b"GET /config HTTP/1.1\r\nHost: localhost\r\n\r\n", False
        for _ in range(2_000):
            try:
                sock.sendall(request)
            except OSError:
                hung_up = True
                break
            time.sleep(0.01)
        assert hung_up


def test_silent_connections_make_room(server, monkeypatch):
    """However many there are, the next caller is answered: the one that was silent for longest goes."""
    monkeypatch.setattr(capacity, "CONNECTIONS", 20)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 600)
    address = server()
    silent = [dial(address) for _ in range(60)]
    for _ in range(5):
        assert ask(address, "/healthz")[0].status == 200
    assert sum(closed(sock, 10) for sock in silent[:40]) == 40
    for sock in silent:
        sock.close()


def test_open_pages_leave_room_for_the_next_caller(server, monkeypatch):
    """Those that only listen take no more than half of the connections."""
    monkeypatch.setattr(capacity, "CONNECTIONS", 20)
    assert places.most_requests() == 10
    address = server()
    pages = []
    for number in range(15):
        pages.append(dial(address))
        pages[-1].sendall(f"GET /gradio_api/heartbeat/x{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status = int(pages[-1].recv(2**12).split()[1])
        assert status == (200 if number < 10 else 503)
    assert ask(address, "/healthz")[0].status == 200
    response, content = ask(address, "/v2")
    assert response.status == 503
    assert "try again" in error_of(content)
    for sock in pages:
        sock.close()


def upload(address: str, content: bytes, name: str = "scan.npy") -> list[str]:
    form = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    form += content + b"\r\n--x--\r\n"
    response, answer = ask(address, "/gradio_api/upload", "POST", form, Content_Type="multipart/form-data; boundary=x")
    assert response.status == 200
    return json.loads(answer)


def named(path: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def asked(address: str, files: list[str], item: str = "", endpoint: str = "predict_volume") -> str:
    """What the endpoint says of files that a request names."""
    data = json.dumps({"data": [[named(file) for file in files], served(address), item]}).encode()
    response, content = ask(address, f"/gradio_api/call/{endpoint}", "POST", data, **JSON)
    assert response.status == 200
    return ask(address, f"/gradio_api/call/{endpoint}/{json.loads(content)['event_id']}")[1].decode()


def served(address: str) -> str:
    """The name of the model."""
    return json.loads(ask(address, "/v2")[1])["models"][0]


def npy(shape: tuple[int, ...] = (8, 8, 8)) -> bytes:
    volume = np.zeros(shape, np.uint8)
    volume[2:6, 2:6, 2:6] = 255
    buffer = io.BytesIO()
    np.save(buffer, volume)
    return buffer.getvalue()


def test_only_what_was_uploaded_is_taken_for_a_scan(address, server, tmp_path):
    """Neither the page's own files, nor other files of the machine, nor folders, nor links; and nothing is deleted."""
    served_app = server.applications[-1]
    (own,) = upload(address, npy())
    link = Path(own).parent / "link.npy"
    link.symlink_to(own)
    outside = tmp_path / "mine.npy"
    outside.write_bytes(npy())
    linked = uploads.folder() / "folder"
    linked.symlink_to(tmp_path)
    targets = [*served_app.state.offered, str(uploads.folder()), str(Path(own).parent), str(link), str(outside)]
    targets += [str(linked / "mine.npy"), f"{Path(own).parent}/../../uploads/{Path(own).parent.name}/link.npy"]
    for target in targets:
        said = asked(address, [target], endpoint="predict_volume")
        assert said.startswith("event: error"), target
        assert Path(target).exists(), target
    for path in served_app.state.offered:
        assert ask(address, f"/gradio_api/file={path}")[0].status == 200
    linked.unlink()


def test_an_upload_is_read_once_under_a_name_that_nobody_can_guess(address):
    (one,), (two,) = upload(address, npy()), upload(address, npy())
    assert one != two, "the same content, twice"
    assert len(Path(one).parent.name) == 32


def test_uploads_hold_files_alone(address):
    """A field of a form would be kept in memory, whatever its size."""
    form = b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nwords\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x"
    response, content = ask(address, "/gradio_api/upload", "POST", form, Content_Type=kind)
    assert response.status == 400
    assert b"holds files and nothing else" in content


def test_a_form_of_many_files_holds_few_open(address):
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%d.npy"\r\n\r\n' + bytes(20_000) + b"\r\n"
    form = b"".join(part % number for number in range(200)) + b"--x--\r\n"
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.is_set():
            most[0] = max(most[0], len(os.listdir("/proc/self/fd")))

    before = len(os.listdir("/proc/self/fd"))
    looking = threading.Thread(target=look)
    looking.start()
    response, content = ask(address, "/gradio_api/upload", "POST", form, Content_Type="multipart/form-data; boundary=x")
    done.set()
    looking.join()
    assert response.status == 200
    assert len(json.loads(content)) == 200
    assert most[0] - before < 100


@pytest.mark.parametrize("item", ["\ud800", "0\n1", "\x1b[2J", "0" * 2_000])
def test_items_are_one_line_of_letters(address, item):
    (own,) = upload(address, npy())
    assert "An item is one line of at most" in asked(address, [own], item)


def test_the_log_holds_no_word_of_a_visitor(model, tmp_path):
    """Requests of all kinds, each with a mark in it: neither the terminal nor the log shows the mark, or grows."""
    process = subprocess.Popen(
        [sys.executable, "-m", "liquidlens", "serve", str(model), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    lines = [process.stdout.readline() for _ in range(2)]
    address = "http://" + re.search(rb"http://([\d.:]+)/", lines[1])[1].decode()
    mark = "DOE^JANE"
    quoted = "DOE%5EJANE%1b%5D0;owned%07%0AServing"
    for _ in range(30):
        ask(address, f"/gradio_api/custom_component/x/client/y/{quoted}")
        ask(address, f"/gradio_api/run/{quoted}", "POST", json.dumps({"data": [mark], "fn_index": mark}), **JSON)
        for path in ("queue/join", "run/predict", "call/predict_volume"):
            for data in ([mark], [[named(f"/{mark}")], mark, mark], {mark: mark}, [[{"path": mark}]]):
                body = json.dumps({"data": data, "fn_index": 2, "session_hash": mark, "event_data": mark})
                ask(address, f"/gradio_api/{path}", "POST", body, **JSON)
        ask(address, f"/gradio_api/queue/data?session_hash={quoted}")
        asked(address, upload(address, b"no scan", f"{mark}.nii.gz"))
        ask(address, "/v2", "POST", mark, Upgrade=mark, Connection="upgrade")
        with closing(dial(address)) as sock:
            sock.sendall(f"{mark} / HTTP/9.9\r\n\r\n".encode())
            sock.recv(2**12)
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=60)
    assert out == b""
    assert mark.encode() not in log
    assert b"\x1b" not in log
    assert len(log) < 5_000, log
    assert all(re.match(rb"(WARNING|ERROR): ", line) for line in log.splitlines()), log


def test_no_statistics_of_events_are_made(address, server):
    """Gradio's, which import pandas at the first event, while all requests wait, and grow with each."""
    queue = server.applications[-1].state.page._queue
    for _ in range(3):
        asked(address, upload(address, b"no scan"))
    assert len(queue.event_analytics) <= 1
    assert queue.cached_event_analytics_summary == {"functions": {}}


def test_inflated_json_is_bounded_as_json_is(address, model):
    """Not by what an upload may have."""
    from liquidlens.serve.server.codec import JSON_BYTES

    body = gzip.compress(b" " * (JSON_BYTES + 1))
    path = f"/v2/models/{pretrained.name_of(model)}/infer"
    response, content = ask(address, path, "POST", body, Content_Encoding="gzip")
    assert response.status == 413
    assert "when inflated" in error_of(content)


@pytest.mark.parametrize("name", ["CARD.md", "AUDIT.html", "SHA256SUMS", "model.onnx"])
def test_links_in_a_bundle_are_not_served(tmp_path, name):
    bundle = tmp_path / "bundle"
    shutil.copytree(pretrained.FOLDER / "vessel", bundle)
    (tmp_path / "id_rsa").write_bytes((bundle / name).read_bytes() if name == "model.onnx" else b"PRIVATE KEY")
    (bundle / name).unlink()
    (bundle / name).symlink_to("../id_rsa")
    with pytest.raises(LiquidLensError, match=f"{name} is not a plain file: a bundle holds no links"):
        application.create([str(bundle)], Settings(device="cpu"))
