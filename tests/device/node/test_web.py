"""An archive that is asked through DICOMweb, and does not send."""

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


def test_series_are_fetched_once_and_reports_and_pictures_are_stored(silent, node, tmp_path):
    slices, image = studies.ct(tmp_path / "ct"), studies.xray(tmp_path / "xray.dcm")
    silent.store(*slices, image)
    web = f"""
[web]
url = "{silent.web}"
modality = ["CT", "DX"]
poll_seconds = 0.5
days = 0
store = true
"""
    running = node(archive=None, after=web, picture=True)
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
    assert {one.key: one.since for one in running.journal.all_in("sent")} == before
