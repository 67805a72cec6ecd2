"""An archive that is asked through DICOMweb, and does not send."""

import pydicom
import pytest

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
