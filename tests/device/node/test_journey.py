"""From a real archive and back."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from liquidlens import imaging
from liquidlens.serve.node import picture, report
from liquidlens.serve.node.journal import Answer
from liquidlens.serve.predict.predictor import Predictor
from tests.device.node import studies
from tests.device.node.archive import tool
from tests.device.node.conftest import wait


def measured(report: Dataset) -> dict[str, float]:
    """The numbers of a report, by what they are called."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in items(report)
        if item.ValueType == "NUM"
    }


def said(report: Dataset) -> dict[str, str]:
    """The words of a report, by what they are called."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeMeaning
        for item in items(report)
        if item.ValueType == "CODE"
    }


def items(report: Dataset):
    for item in report.get("ContentSequence", ()):
        yield item
        yield from items(item)


def sources(report: Dataset) -> set[str]:
    return {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(report) if item.ValueType == "IMAGE"
    }


def push(port: int, *files: Path) -> None:
    """Send files to a node with dcmtk."""
    command = [tool("storescu"), "-aec", "LIQUIDLENS", "-aet", "SCANNER", "127.0.0.1", str(port), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True)


def check(content: bytes, path: Path) -> str:
    """What dcmtk reads in a report; dcmtk and dicom3tools find no error in it."""
    path.write_bytes(content)
    read = subprocess.run([tool("dsrdump"), "-Ei", "+Pl", str(path)], check=True, capture_output=True, text=True)
    assert "E:" not in read.stderr
    if (verifier := shutil.which("dciodvfy")) is None:  # of dicom3tools
        return read.stdout
    verified = subprocess.run([verifier, str(path)], capture_output=True, text=True)
    assert "Error" not in verified.stderr + verified.stdout, verified.stderr
    return read.stdout


def test_studies_go_from_the_archive_to_the_node_and_come_back_with_reports(archive, node, tmp_path):
    running = node(port=archive.node_port, archive=archive.port)
    slices, image = studies.ct(tmp_path / "ct"), studies.xray(tmp_path / "xray.dcm")
    archive.store(*slices, image)
    wait(lambda: len(archive.reports()) == 2)

    expected = {}
    for model, files, scan in (("nodule", slices, tmp_path / "ct"), ("chest-xray", [image], image)):
        first = pydicom.dcmread(files[0], stop_before_pixels=True)
        uids = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files}
        predictor = Predictor(model)
        expected[first.StudyInstanceUID] = (predictor, predictor.predict(imaging.read(scan)), uids, first)
    client = DICOMwebClient(archive.web)
    for study, (predictor, prediction, uids, first) in expected.items():
        # Read in the archive through DICOMweb, under the same study and patient.
        (series,) = client.search_for_series(study_instance_uid=study, search_filters={"Modality": "SR"})
        (report,) = client.retrieve_series(study, series["0020000E"]["Value"][0])
        assert (report.PatientID, report.StudyInstanceUID) == (first.PatientID, study)
        numbers = measured(report)
        for label, probability in prediction.probabilities.items():
            assert numbers[f"Probability of {label}"[:64]] == pytest.approx(probability, rel=1e-6)
        assert numbers["Threshold of the probability"] == pytest.approx(prediction.threshold, rel=1e-6)
        assert sources(report) == uids
        evidence = report.CurrentRequestedProcedureEvidenceSequence
        referenced = [
            one.ReferencedSOPInstanceUID
            for same_study in evidence
            for same_series in same_study.ReferencedSeriesSequence
            for one in same_series.ReferencedSOPSequence
        ]
        assert set(referenced) == uids
        assert said(report)["Intended use"].startswith("Research use only")
        words = [item.TextValue for item in items(report) if item.ValueType == "TEXT"]
        assert f"SHA-256 of the model's file: {predictor.sha256}" in words
    for number, name in enumerate(archive.reports()):
        assert "Research use only" in check(archive.file(name), tmp_path / f"{number}.dcm")
    wait(lambda: running.journal.counts() == {"sent": 2})
    wait(lambda: running.spool.held() == [])  # images are removed after success


@pytest.mark.parametrize("patient", ["", "R\\F"])
def test_reports_and_pictures_of_a_rule_with_a_long_name(patient, tmp_path):
    """A picture of an X-ray has the directions that the X-ray has, and no others."""
    rule = "r" * 40  # the longest that there may be
    image = pydicom.dcmread(studies.xray(tmp_path / "xray.dcm"))
    if patient:
        image.PatientOrientation = patient
    predictor, scan = Predictor("chest-xray"), imaging.read(tmp_path / "xray.dcm")
    said = predictor.predict(scan).to_json()
    answer = Answer(pydicom.uid.generate_uid(), "key", 0, rule, "chest-xray", predictor.sha256, said, 0, 1)
    written = pydicom.dcmread(io.BytesIO(report.structured(answer, [image], predictor.manifest)))
    assert written.SeriesDescription == f"LiquidLens {rule[:34]}: research use only"
    shown = pydicom.dcmread(io.BytesIO(picture.capture(answer, [image], predictor, scan)))
    assert shown.SeriesDescription.startswith("LiquidLens rrr")
    assert shown.SeriesDescription.endswith(", research use only")
    assert len(shown.SeriesDescription) <= 64
    assert "\\".join(shown.PatientOrientation or ()) == patient


def test_a_repeated_study_gives_the_same_report_and_not_a_second_one(archive, node, tmp_path):
    running = node(port=archive.node_port, archive=archive.port)
    image = studies.xray(tmp_path / "xray.dcm")
    archive.store(image)
    wait(lambda: len(archive.reports()) == 1)
    (name,) = archive.reports()
    first = archive.file(name)
    wait(lambda: running.journal.counts() == {"sent": 1})
    (before,) = running.journal.all_in("sent")
    push(archive.node_port, image)
    wait(lambda: [one.since for one in running.journal.all_in("sent") if one.since > before.since])
    assert archive.reports() == [name]
    assert archive.file(name) == first
    assert len(running.journal.answers()) == 1


def test_what_no_model_reads_is_ignored_and_what_is_broken_fails_by_name(archive, node, tmp_path, capfd):
    running = node(port=archive.node_port, archive=archive.port)
    slices = studies.ct(tmp_path / "ct")
    order = sorted(slices, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    archive.store(*(path for path in slices if path != order[len(order) // 2]))  # one in the middle is missing
    other = pydicom.dcmread(studies.xray(tmp_path / "other.dcm", 1))
    other.BodyPartExamined = "HAND"
    other.save_as(tmp_path / "other.dcm")
    archive.store(tmp_path / "other.dcm")
    wait(lambda: running.journal.counts() == {"failed": 1, "ignored": 1})
    (failed,), (ignored,) = running.journal.all_in("failed"), running.journal.all_in("ignored")
    assert "missing slice" in failed.reason
    assert "no rule is about it (DX, 1 slice" in ignored.reason
    assert len(running.spool.images(failed.key)) == len(slices) - 1  # kept, for whoever looks into it
    assert running.spool.held() == [failed.key]
    assert archive.reports() == []
    # The missing slice comes after all, and Orthanc sends the series again.
    archive.store(order[len(order) // 2])
    wait(lambda: running.journal.counts() == {"sent": 1, "ignored": 1})
    assert len(archive.reports()) == 1
    captured = capfd.readouterr()
    assert "LEAK" not in captured.out + captured.err


def test_an_answer_that_is_not_to_be_relied_on_is_no_finding(archive, node, tmp_path):
    node(port=archive.node_port, archive=archive.port)
    noise = np.random.default_rng(0).integers(0, 4096, (128, 128)).astype(np.uint16)
    archive.store(studies.xray(tmp_path / "noise.dcm", 7, noise))
    wait(lambda: len(archive.reports()) == 1)
    report = pydicom.dcmread(io.BytesIO(archive.file(archive.reports()[0])))
    words = said(report)
    assert words["The scan is out of distribution"] == "Yes"
    assert words["Answer of the model"] == "No answer: the scan is unlike those the model was trained on"
    assert not {"pneumonia", "normal"} & set(words.values())
