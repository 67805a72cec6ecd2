"""Who may send, and what strangers do to a node: afterwards it answers whoever may."""

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, DigitalXRayImageStorageForPresentation, Verification

from liquidlens.errors import LiquidLensError
from tests.device.node import studies
from tests.device.node.archive import tool

#: An A-ASSOCIATE-RQ that is cut off, one that claims four gigabytes, one of a kind that there is not, and no DICOM.
STARTS = (
    b"\x01\x00\x00\x00\x00\xcd\x00\x01",
    struct.pack(">BBL", 1, 0, 2**32 - 1) + bytes(64),
    b"\x99\x00\x00\x00\x00\x04abcd",
    b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    struct.pack(">BBL", 1, 0, 200) + bytes(range(200)),
    struct.pack(">BBL", 4, 0, 12) + struct.pack(">LBB", 6, 1, 3) + bytes(6),
    b"",
)


def associate(port: int, calling: str = "SCANNER", called: str = "LIQUIDLENS", **more):
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
    entity.add_requested_context(Verification)
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation)
    return entity.associate("127.0.0.1", port, ae_title=called, **more)


def answers(port: int, **more) -> bool:
    """Whether a node answers a C-ECHO."""
    association = associate(port, **more)
    if not association.is_established:
        return False
    status = association.send_c_echo().get("Status")
    association.release()
    return status == 0


def test_only_those_who_are_named_may_call_and_by_the_right_name(node):
    tables = '[[senders]]\ntitle = "ELSEWHERE"\naddress = "127.0.0.3"\n'
    port = node(after=tables).receiver.port
    assert answers(port)
    assert associate(port, calling="ELSEWHERE").is_rejected  # from here it is not that one
    assert associate(port, calling="STRANGER").is_rejected
    assert associate(port, called="SOMEBODY").is_rejected
    assert answers(port)


def test_a_node_for_both_families_knows_who_calls_by_ipv4(node):
    port = node(more='host = "::"').receiver.port
    assert answers(port)
    assert associate(port, calling="STRANGER").is_rejected


def test_other_addresses_are_hung_up_on(node, tmp_path):
    port = node(more='host = "0.0.0.0"').receiver.port
    with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)) as stranger:
        stranger.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    assert answers(port)


@pytest.mark.parametrize("start", STARTS, ids=range(len(STARTS)))
def test_whoever_says_nonsense_keeps_nobody_out(node, start):
    running = node(more="associations = 4")
    lines = []
    for _ in range(12):
        line = socket.create_connection(("127.0.0.1", running.receiver.port))
        with contextlib.suppress(OSError):  # some are hung up on at once
            line.sendall(start)
        lines.append(line)
    answers(running.receiver.port)  # callers are met in turn: now all of them were
    time.sleep(1.1)  # a line that has just begun is not ended for another one
    assert answers(running.receiver.port)
    for line in lines:
        line.close()


def test_those_who_only_connected_are_not_waited_for_when_a_node_stops(node, monkeypatch):
    for patience in ("door.HANDSHAKE_SECONDS", "receiver.HANDSHAKE_SECONDS", "running.DRAIN_SECONDS"):
        monkeypatch.setattr(f"liquidlens.serve.node.{patience}", 600)
    running = node()
    hung_up, silent = (socket.create_connection(("127.0.0.1", running.receiver.port)) for _ in range(2))
    assert answers(running.receiver.port)  # callers are met in turn
    hung_up.close()
    stopping = threading.Thread(target=running.stop, daemon=True)
    stopping.start()
    stopping.join(60)
    assert not stopping.is_alive()
    silent.settimeout(60)
    assert silent.recv(1) == b""


def test_associations_that_hang_keep_nobody_out(node):
    running = node(more="associations = 4")
    hanging = [associate(running.receiver.port) for _ in range(4)]
    assert all(one.is_established for one in hanging)
    time.sleep(1.1)
    assert answers(running.receiver.port)
    for one in hanging:
        one.abort()


def test_an_image_that_is_too_large_ends_its_connection(node, tmp_path):
    running = node(more="image_bytes = 100000")
    image = studies.xray(tmp_path / "xray.dcm", pixels=np.zeros((512, 512), np.uint16))
    assert image.stat().st_size > 500_000
    association = associate(running.receiver.port)
    assert association.send_c_store(image).get("Status") is None
    assert running.journal.counts() == {}
    assert answers(running.receiver.port)
    (begun,) = running.spool.incoming.iterdir()  # nobody else comes back to it
    running._arrivals.sweep()
    assert begun.exists(), "its sender may still be writing it"
    os.utime(begun, (0, 0))
    running._arrivals.sweep()
    assert not begun.exists()


def test_a_disk_that_is_full_leaves_the_image_to_its_sender(node, tmp_path):
    running = node()
    running.spool._reserve = 2**62
    association = associate(running.receiver.port)
    assert association.send_c_store(studies.xray(tmp_path / "xray.dcm")).Status == 0xA700
    running.spool._reserve = 0
    assert association.send_c_store(tmp_path / "xray.dcm").Status == 0
    association.release()


def test_files_that_hold_no_image_of_a_series_are_refused(node, tmp_path):
    running = node()
    image = studies.xray(tmp_path / "xray.dcm")
    dataset = pydicom.dcmread(image)
    del dataset.SeriesInstanceUID
    association = associate(running.receiver.port)
    assert association.send_c_store(dataset).Status == 0xC000
    dataset.SeriesInstanceUID = "../../etc/passwd"
    assert association.send_c_store(dataset).Status == 0xC000
    association.release()
    assert running.spool.held() == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A key and a certificate of 127.0.0.1, its own authority; and another that nobody knows."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("own", "other"):
        made = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        about = ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        command = [tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", *about, *made]
        subprocess.run(command, check=True, capture_output=True)
    return folder


def client_context(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "own.pem"))
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_with_tls_only_those_with_a_known_certificate_may_call(node, certificates):
    tables = f"""
[tls]
certificate = "{certificates}/own.pem"
key = "{certificates}/own.key"
authorities = "{certificates}/own.pem"
"""
    port = node(after=tables, more="associations = 4").receiver.port
    known, unknown = client_context(certificates, "own"), client_context(certificates, "other")
    assert answers(port, tls_args=(known, "127.0.0.1"))
    assert not answers(port, tls_args=(unknown, "127.0.0.1"))
    assert not answers(port)  # a plain connection
    old = client_context(certificates, "own")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1
    assert not answers(port, tls_args=(old, "127.0.0.1"))
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]  # and begin no handshake
    answers(port, tls_args=(known, "127.0.0.1"))  # callers are met in turn: now all of them were
    time.sleep(1.1)
    assert answers(port, tls_args=(known, "127.0.0.1"))
    for line in silent:
        line.close()


def test_one_port_is_for_one_node(node):
    with pytest.raises(LiquidLensError, match="cannot listen"):
        node(port=node().receiver.port)
