"""An archive that is asked through DICOMweb, and does not send."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pydicom
import pytest

from liquidlens.serve.node.sender import RefusedError
from liquidlens.serve.node.settings import Web
from liquidlens.serve.node.web import Storer
from tests.device.node import studies
from tests.device.node.archive import PLUGINS, Archive, free_port, is_there
from tests.device.node.conftest import wait


@pytest.fixture
def silent(tmp_path):
    if not is_there() or not (PLUGINS / "libOrthancDicomWeb.so").exists():
        pytest.skip("needs Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb dcmtk")
    archive = Archive(tmp_path / "archive", free_port(), route=False)
    archive.start()
    yield archive
    archive.stop()


REFERENCE = {"00081150": {"vr": "UI", "Value": ["1.2.3"]}, "00081155": {"vr": "UI", "Value": ["1.2.4"]}}
REFUSED = json.dumps({"00081198": {"vr": "SQ", "Value": [{**REFERENCE, "00081197": {"vr": "US", "Value": [0xA700]}}]}})
REFUSED_XML = """<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel>
<DicomAttribute keyword="FailedSOPSequence" tag="00081198" vr="SQ"><Item number="1">
<DicomAttribute keyword="FailureReason" tag="00081197" vr="US"><Value number="1">42752</Value></DicomAttribute>
</Item></DicomAttribute></NativeDicomModel>"""
STORED = json.dumps({"00081199": {"vr": "SQ", "Value": [REFERENCE]}})


@pytest.fixture
def answering() -> Iterator[Callable[[int, str, str], str]]:
    """Starts archives that answer every request alike, with a status, a media type and a body; their addresses."""
    servers = []

    def start(status: int, kind: str, body: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                if kind:
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (200, "application/dicom+json", STORED, ""),
        (200, "application/dicom+json; charset=utf-8", STORED, ""),
        (200, "", "", ""),
        (202, "application/dicom+json", REFUSED, "status 0xA700"),
        (202, "application/dicom+json; charset=utf-8", REFUSED, "status 0xA700"),
        (202, "application/dicom+xml;charset=UTF-8", REFUSED_XML, "status 0xA700"),
        (202, "", "", "does not say whether it was stored"),
        (200, "text/html", "<html>log in</html>", "does not say whether it was stored"),
        (200, "", "ok", "does not say whether it was stored"),
        (200, "application/dicom+json", "{", "cannot be read"),
        (200, "application/dicom+xml", "<html>", "cannot be read"),
        (409, "application/dicom+json", REFUSED, "the archive answered 409"),
    ],
)
def test_a_report_is_stored_if_the_archive_says_so_and_only_then(answering, tmp_path, status, kind, body, said):
    storer = Storer(Web(url=answering(status, kind, body), store=True), None)
    report = studies.xray(tmp_path / "xray.dcm")
    if not said:
        storer.send([report])
        return
    with pytest.raises(RefusedError, match=said):
        storer.send([report])


WEB = """
[web]
url = "{url}"
modality = ["CT", "DX"]
poll_seconds = {seconds}
days = 0
store = true
"""


def test_a_series_that_cannot_be_fetched_keeps_no_other_waiting(silent, node, tmp_path, caplog):
    broken = pydicom.dcmread(studies.xray(tmp_path / "broken.dcm", 1))
    broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = "1.2.03.4"
    broken.save_as(tmp_path / "broken.dcm")
    silent.put(tmp_path / "broken.dcm")
    running = node(archive=None, after=WEB.format(url=silent.web, seconds=0.3))
    wait(lambda: "could not be fetched" in caplog.text)
    silent.store(studies.xray(tmp_path / "xray.dcm"))
    wait(lambda: running.journal.counts() == {"sent": 1})
    assert "LEAK" not in caplog.text
    wait(lambda: not any(running.spool.incoming.iterdir()))


def test_a_fetch_that_was_cut_off_is_done_again(silent, node, tmp_path):
    slices = studies.ct(tmp_path / "ct")
    silent.store(*slices)
    running = node(archive=None, after=WEB.format(url=silent.web, seconds=3600), interrupted=0.2)
    wait(lambda: running._poller._seen)  # its one look is over
    (running.spool.incoming / "slice.dcm").write_bytes(slices[0].read_bytes())
    running._arrivals.take(running.spool.incoming / "slice.dcm", "a fetch", len(slices))
    running._arrivals.hung_up("a fetch", properly=True)
    wait(lambda: running.journal.counts() == {"failed": 1})
    running._poller.poll()
    wait(lambda: running.journal.counts() == {"sent": 1})


def test_series_are_fetched_once_and_reports_and_pictures_are_stored(silent, node, tmp_path):
    slices, image = studies.ct(tmp_path / "ct"), studies.xray(tmp_path / "xray.dcm")
    silent.store(*slices, image)
    running = node(archive=None, after=WEB.format(url=silent.web, seconds=0.5), picture=True)
    wait(lambda: running.journal.counts() == {"sent": 2})
    assert len(silent.reports()) == 2
    pictures = silent.reports("OT")
    answers = {answer.rule: answer.prediction for answer in running.journal.answers()}
    sure = [name for name, answer in answers.items() if not answer["ood"] and not answer["abstained"]]
    assert len(pictures) == len(sure)
    for name in pictures:
        tags = silent.ask(f"/instances/{name}/simplified-tags")
        assert tags["ConversionType"] == "WSD"
        assert "research use only" in tags["SeriesDescription"]
        source = tags["SourceImageSequence"][0]["ReferencedSOPInstanceUID"]
        original = silent.ask(f"/instances/{name}/study")["ID"]
        assert source in {
            silent.ask(f"/instances/{one['ID']}/simplified-tags")["SOPInstanceUID"]
            for one in silent.ask(f"/studies/{original}/instances")
        }
    before = {one.key: one.since for one in running.journal.all_in("sent")}
    silent.store(*slices)  # again, which changes nothing
    assert [running._poller.poll() for _ in range(2)] == [0, 0]
    assert {one.key: one.since for one in running.journal.all_in("sent")} == before
