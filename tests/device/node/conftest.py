"""Fixtures: an archive, and nodes in this process and in their own."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from liquidlens.serve.node import settings
from liquidlens.serve.node.running import Running
from tests.device.node.archive import Archive, free_port, is_there

RULES = """
[node]
folder = "node"
port = {port}
idle_seconds = {idle}
interrupted_seconds = {interrupted}
reserve_bytes = 0
{more}

[[senders]]
title = "ARCHIVE"
address = "127.0.0.1"

[[senders]]
title = "SCANNER"
address = "127.0.0.1"

[[rules]]
name = "chest"
model = "chest-xray"
modality = ["CR", "DX"]
body_part = "chest"
picture = {picture}

[[rules]]
name = "nodule"
model = "nodule"
modality = ["CT"]
slices = [8, 200]
slice_spacing = [0.5, 3.1]
picture = {picture}
"""
ARCHIVE = """
[archive]
title = "ARCHIVE"
host = "127.0.0.1"
port = {port}
"""


def rules(
    folder: Path,
    port: int,
    archive: int | None,
    idle: float = 1,
    interrupted: float = 600,
    more: str = "",
    after: str = "",
    picture: bool = False,
) -> Path:
    """A RULES.toml.  archive: its port, if reports go there.  more: lines of the table [node].  after: more tables."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "RULES.toml"
    text = RULES.format(port=port, idle=idle, interrupted=interrupted, more=more, picture=str(picture).lower())
    path.write_text(text + (ARCHIVE.format(port=archive) if archive else "") + after)
    return path


def wait(what: Callable[[], object], seconds: float = 120) -> None:
    """Until it is so; a test whose node is stuck ends with an error."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture
def archive(tmp_path) -> Iterator[Archive]:
    """Orthanc, which sends what it gets to a node at `archive.node_port`."""
    if not is_there():
        pytest.skip("needs Orthanc and dcmtk: apt-get install orthanc orthanc-dicomweb dcmtk")
    archive = Archive(tmp_path / "archive", free_port())
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture
def node(tmp_path) -> Iterator[Callable[..., Running]]:
    """Starts nodes in this process, by `rules`."""
    running: list[Running] = []

    def start(**told) -> Running:
        told.setdefault("port", free_port())
        told.setdefault("archive", free_port())  # nobody is there
        path = rules(tmp_path / f"node-{len(running)}", **told)
        running.append(Running(settings.read(path)))
        return running[-1]

    yield start
    for one in running:
        one.stop()
