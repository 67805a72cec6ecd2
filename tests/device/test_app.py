"""The server as a whole: who is let in, what answers carry, where uploads go, and how it starts and ends."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from liquidlens import commands as cli
from liquidlens.errors import LiquidLensError
from liquidlens.serve.predict import pretrained
from liquidlens.serve.server import app
from liquidlens.serve.server.guards.headers import SECURITY_HEADERS
from liquidlens.serve.server.guards.routes import HEALTH
from liquidlens.serve.settings import Settings, read_password
from tests.device.conftest import ask


@pytest.fixture(scope="module")
def address(server) -> str:
    return server(upload_bytes=2**20, allowed_hosts=("lens.example.org",))


@pytest.fixture(scope="module")
def locked(server) -> str:
    return server(user="ward", password="für alle")  # noqa: S106


def error_of(content: bytes) -> str:
    return json.loads(content)["error"]


@pytest.mark.parametrize("path", HEALTH)
def test_health_is_open_and_says_no_more_than_yes(locked, path):
    response, content = ask(locked, path, Host="10.0.0.7:7860")
    assert response.status == 200
    assert json.loads(content) in ({"live": True}, {"ready": True})


@pytest.mark.parametrize("path", ["/", "/config", "/v2", "/v2/models/x", "/gradio_api/info", "/theme.css", "/nothing"])
def test_everything_else_asks_for_the_password(locked, path):
    response, content = ask(locked, path)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert "password" in error_of(content)


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def test_the_right_password_opens_demo_and_protocol(locked):
    for path in ("/", "/v2", "/config"):
        assert ask(locked, path, Authorization=basic("ward:für alle"))[0].status == 200
    for wrong in (
        basic("ward:fur alle"),
        basic("Ward:für alle"),
        basic("ward"),
        "Basic ?",
        "Basic é",
        "Basic",
        "Bearer",
    ):
        assert ask(locked, "/v2", Authorization=wrong)[0].status == 401, wrong


def test_every_answer_carries_the_security_headers(address):
    for path in ("/", "/v2", "/healthz", "/nothing", "/v2/nothing", "/gradio_api/info"):
        response, _ = ask(address, path)
        for name, value in SECURITY_HEADERS.items():
            assert response.headers.get_all(name) == [value], (path, name)
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers


def test_other_names_are_not_answered(address):
    """A name that a page elsewhere points at 127.0.0.1 does not reach the server."""
    port = address.rpartition(":")[2]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LocalHost", "lens.example.org"):
        assert ask(address, "/v2", Host=host)[0].status == 200, host
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "", "[::1"):
        response, content = ask(address, "/v2", Host=host)
        assert response.status == 400, host
        assert "does not go by the name" in error_of(content)


def test_other_pages_send_nothing(address):
    host = address.removeprefix("http://")
    for origin in (
        "https://evil.example",
        "http://localhost:8888",
        "null",
        "",
        "http://[",
        f"http://{host}.evil.example",
    ):
        response, content = ask(address, "/gradio_api/queue/join", "POST", b"{}", Origin=origin)
        assert response.status == 403, origin
        assert "may not send" in error_of(content)
    for origin in (address, "https://lens.example.org"):
        assert ask(address, "/gradio_api/queue/join", "POST", b"{}", Origin=origin)[0].status != 403, origin


def test_other_pages_read_nothing(address):
    """Not even those of other servers on this machine, which Gradio by itself lets read."""
    for method in ("GET", "OPTIONS"):
        headers = {"Access_Control_Request_Method": "GET"} if method == "OPTIONS" else {}
        response, _ = ask(address, "/config", method, Origin="http://localhost:8888", **headers)
        assert "Access-Control-Allow-Origin" not in response.headers


def upload(content: bytes) -> tuple[bytes, str]:
    """A form with one file, as browsers send it, and its type."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="scan.npy"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/queue/join", "/v2/models/any/infer", "/gradio_api/run/models"]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_large_requests_are_refused_while_they_are_read(address, model, path, chunked):
    path = path.replace("any", pretrained.name_of(model))
    body, kind = upload(bytes(2**20))
    parts = [body[i : i + 2**16] for i in range(0, len(body), 2**16)] if chunked else body
    response, content = ask(address, path, "POST", iter(parts) if chunked else parts, Content_Type=kind)
    assert response.status == 413
    assert "1,048,576 bytes" in error_of(content)


def test_uploads_lie_in_a_folder_that_only_this_user_can_enter(address):
    body, kind = upload(b"pixels")
    response, content = ask(address, "/gradio_api/upload", "POST", body, Content_Type=kind)
    assert response.status == 200
    path = Path(json.loads(content)[0])
    assert path.read_bytes() == b"pixels"
    assert path.is_relative_to(app.private_folder())
    assert stat.S_IMODE(app.private_folder().stat().st_mode) == 0o700


def test_nothing_of_this_machine_or_another_is_handed_out(address, model):
    for path in ("/etc/passwd", str(model), str(Path(app.__file__)), "../../etc/passwd", "http://example.org/"):
        for prefix in ("/gradio_api/file=", "/gradio_api/file/", "/gradio_api/proxy=", "/file="):
            assert ask(address, prefix + path)[0].status in (403, 404), prefix + path


def test_pages_and_recordings_are_not_stored(address):
    before = set(app.private_folder().rglob("*"))
    session = {"data": [], "session_hash": "shown"}
    shown, _ = ask(address, "/gradio_api/run/models", "POST", json.dumps(session), Content_Type="application/json")
    assert shown.status == 200
    body, kind = upload(b"sound")
    for answered in (
        ask(address, "/gradio_api/deep_link?session_hash=shown"),
        ask(address, "/gradio_api/process_recording", "POST", body, Content_Type=kind),
        ask(address, "/gradio_api/vibe-edit", "POST", b"{}", Content_Type="application/json"),
    ):
        assert answered[0].status == 404
        assert "nothing at this address" in error_of(answered[1])
    assert set(app.private_folder().rglob("*")) == before


def test_the_sweeper_goes_on_after_an_error(tmp_path, monkeypatch):
    """Here the first rounds meet a page without sessions; a later one deletes what an upload left."""
    import gradio

    monkeypatch.setattr(app, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(app, "UPLOAD_SECONDS", -1)
    failed = []
    monkeypatch.setattr(app.logger, "exception", failed.append)
    with gradio.Blocks(analytics_enabled=False) as page:
        gradio.File()
    sessions, page.state_holder = page.state_holder, None

    async def sweep() -> None:
        sweeper = asyncio.create_task(app._sweep(tmp_path, page))
        with anyio.fail_after(30):
            while not failed:
                await anyio.sleep(0.01)
            (tmp_path / "left").write_bytes(b"")
            page.state_holder = sessions
            while list(tmp_path.iterdir()):
                await anyio.sleep(0.01)
        sweeper.cancel()

    anyio.run(sweep)


def test_files_named_by_address_are_not_downloaded(address):
    """What Gradio does with an input whose path is an address."""
    import gradio

    with gradio.Blocks(analytics_enabled=False):
        component = gradio.File()
    with pytest.raises(LiquidLensError, match="fetches nothing from elsewhere"):
        anyio.run(component.async_move_resource_to_block_cache, "https://example.org/scan.nii.gz")


def test_the_page_loads_nothing_from_elsewhere(address):
    """No address of another host in what a browser loads by itself: scripts, styles, fonts, pictures, frames."""
    page, style = (ask(address, path)[1].decode() for path in ("/", "/theme.css"))
    assert "window.gradio_config" in page
    loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*?\ssrc=\"([^\"]*)\"", page)
    loaded += re.findall(r"<link(?![^>]*rel=\"(?:canonical)\")[^>]*?\shref=\"([^\"]*)\"", page)
    loaded += re.findall(r"(?:url\(|@import\s*)[\"']?([^\"')]+)", page + style)
    assert loaded
    assert not [target for target in loaded if re.match(r"(?:\w+:)?//", target)]
    config = json.loads(ask(address, "/config")[1])
    assert not [sheet for sheet in config.get("stylesheets") or [] if "//" in sheet]
    assert not config["analytics_enabled"]


def test_the_passwords_source(tmp_path, monkeypatch):
    monkeypatch.delenv("LIQUIDLENS_PASSWORD", raising=False)
    assert read_password(None) is None
    monkeypatch.setenv("LIQUIDLENS_PASSWORD", "from the environment")
    assert read_password(None) == "from the environment"
    assert "LIQUIDLENS_PASSWORD" not in os.environ, "processes that decode uploads do not inherit it"
    (tmp_path / "password").write_text("from a file\n\n")
    assert read_password(tmp_path / "password") == "from a file"
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(LiquidLensError, match="empty: the password is empty"):
        read_password(tmp_path / "empty")
    with pytest.raises(LiquidLensError, match="none: the password cannot be read"):
        read_password(tmp_path / "none")
    assert "secret" not in repr(Settings(password="secret"))  # noqa: S106


def test_models_of_one_name_are_numbered(model):
    predictors = app.load([str(model), str(model)], Settings())
    assert list(predictors) == [pretrained.name_of(model), f"{pretrained.name_of(model)}-2"]


def test_a_taken_port_is_named_with_a_free_one():
    with app.listen(Settings(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LiquidLensError, match=rf"port {port}: the port is taken; --port (\d+) is free") as caught:
            app.listen(Settings(port=port))
        free = int(str(caught.value).rpartition("--port ")[2].split()[0])
        app.listen(Settings(port=free)).close()
    with pytest.raises(LiquidLensError, match=r"cannot listen at nowhere\.invalid"):
        app.listen(Settings(host="nowhere.invalid"))


def start(*arguments, **variables) -> subprocess.Popen:
    command = [sys.executable, "-m", "liquidlens", "serve", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )


@pytest.mark.parametrize(
    ("number", "host", "warning"),
    [
        (signal.SIGINT, "127.0.0.1", ""),
        (signal.SIGTERM, "0.0.0.0", "Warning: everybody who can reach 0.0.0.0 can use this server"),  # noqa: S104
    ],
)
def test_the_command_serves_until_it_is_told_to_stop(model, tmp_path, number, host, warning):
    """Exit code 0, although a browser still listens; and nothing stays behind: no upload, no record of ONNX Runtime's
    own telemetry."""
    process = start(model, "--port", 0, "--host", host, TMPDIR=str(tmp_path))
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[0].startswith(f"{pretrained.name_of(model)}: ")
    assert "Research use only, not a medical device." in lines[1]
    port = int(lines[1].partition(f"Serving at http://{host}:")[2].partition("/ until")[0])
    assert ask(f"http://127.0.0.1:{port}", "/readyz")[0].status == 200
    with socket.create_connection(("127.0.0.1", port)) as listener:
        listener.sendall(b"GET /gradio_api/heartbeat/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert listener.recv(12) == b"HTTP/1.1 200"
        assert [path.name[:11] for path in tmp_path.iterdir()] == ["liquidlens-"]
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert errors.startswith(warning)
    assert errors.count("\n") == bool(warning)
    assert not list(tmp_path.iterdir())


def test_a_stop_while_it_starts_leaves_nothing(model, tmp_path):
    process = start(model, "--port", 0, TMPDIR=str(tmp_path))
    while process.poll() is None and not list(tmp_path.iterdir()):  # until the folder for uploads is there
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_served(tmp_path):
    with pytest.raises(LiquidLensError, match="there is no such file"):
        app.load([str(tmp_path / "none.onnx")], Settings())
    with pytest.raises(LiquidLensError, match="nobody"):
        app.load(["nobody"], Settings())


def test_a_user_needs_a_password(monkeypatch, capsys):
    monkeypatch.delenv("LIQUIDLENS_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "argv", ["liquidlens", "serve", "--user", "ward"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "LIQUIDLENS_PASSWORD" in capsys.readouterr().err
