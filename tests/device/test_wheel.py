"""The wheel with the extra `serve`, started as a user does, beside packages of the user's own."""

import re
import subprocess

from tests.device.conftest import ask
from tests.installing import build, copy_of_the_sources, install


def test_the_demo_and_the_endpoints_are_served(tmp_path):
    sources = copy_of_the_sources(tmp_path / "sources")
    environment = install(build("wheel", sources, tmp_path), "cpu,serve", tmp_path)
    command = [environment.path / "bin" / "liquidlens", "serve", "vessel-cnn", "--port", "0"]
    with subprocess.Popen(
        command, cwd=environment.home, env=environment.variables, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            lines = iter(server.stdout.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"Serving at (\S+)/ until", line)))
            assert ask(address, "/v2/models/vessel-cnn/ready")[0].status == 200
            assert b"LiquidLens" in ask(address, "/")[1]
        finally:
            server.terminate()
    assert server.returncode == 0
