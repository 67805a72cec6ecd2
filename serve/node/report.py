"""The report: a DICOM Structured Report (template TID 1500) that says what a model answered about a series.

It refers to every image of the series, says which file answered (name, version, SHA-256), and that this is for research
use only.  Where the model was not sure, or the scan is unlike its training scans, the answer is that there is none.
What it writes depends on the answer and the images alone, to the byte.
"""

import datetime
import hashlib
import io
from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import liquidlens
from liquidlens.errors import LiquidLensError
from liquidlens.imaging.formats import dicom
from liquidlens.manifest import Manifest
from liquidlens.serve.node.journal import Answer
from liquidlens.serve.node.rules import MAKER

#: Of codes that the standard does not have.
SCHEME = "99LIQUIDLENS"
RESEARCH_ONLY = "Research use only, not a medical device"
#: What the standard calls how such images are made.
_PROCEDURES = {
    "CT": CodedConcept("77477000", "SCT", "Computed tomography"),
    "MR": CodedConcept("113091000", "SCT", "Magnetic resonance imaging"),
    "CR": CodedConcept("168537006", "SCT", "Plain radiography"),
    "DX": CodedConcept("168537006", "SCT", "Plain radiography"),
}
_IMAGING = CodedConcept("363679005", "SCT", "Imaging")
_RATIO = CodedConcept("{0:1}", "UCUM", "range 0:1")
_NO_UNITS = CodedConcept("1", "UCUM", "no units")
#: What a report needs of the patient and the study, and may be empty.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_LONGEST_CODE, _LONGEST_MEANING, _LONGEST_DESCRIPTION = 16, 64, 64


def structured(answer: Answer, images: Sequence[Dataset], manifest: Manifest) -> bytes:
    """The report as a DICOM file.

    images: the headers of all images of the series.  Raises LiquidLensError if they do not say enough for a report.
    """
    evidence = [filled(image) for image in images]
    try:
        with dicom.quiet():  # highdicom warns of names
            return _structured(answer, evidence, manifest)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # its words quote what it was given
        raise LiquidLensError(
            f"its headers do not allow a report ({type(error).__name__}): they lack what every image has."
        ) from None


def _structured(answer: Answer, evidence: Sequence[Dataset], manifest: Manifest) -> bytes:
    found = ComprehensiveSR(
        evidence=evidence,
        content=_content(answer, evidence, manifest)[0],
        series_instance_uid=generate_uid(entropy_srcs=["series", answer.report]),
        series_number=series_number(evidence),
        series_description=described(answer, "research use only"),
        sop_instance_uid=answer.report,
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=answer.model[:_LONGEST_MEANING],
        software_versions=liquidlens.__version__,
        device_serial_number=answer.model_sha256,
        is_complete=True,
    )
    return written(found, answer)


def described(answer: Answer, what: str) -> str:
    """A description of a series.  Of a rule with a long name only its beginning stands there."""
    room = _LONGEST_DESCRIPTION - len(f"{MAKER} : {what}")
    return f"{MAKER} {answer.rule[:room]}: {what}"


def filled(image: Dataset) -> Dataset:
    """A header in which what may be empty is at least that."""
    for name in _MAY_BE_EMPTY:
        if name not in image:
            setattr(image, name, "")
    return image


def written(dataset: Dataset, answer: Answer) -> bytes:
    """A data set of ours as a file, made at the time of the answer, whenever that really is."""
    moment = datetime.datetime.fromtimestamp(answer.time, datetime.UTC)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.ContentDate = dataset.InstanceCreationDate = dataset.SeriesDate = date
    dataset.ContentTime = dataset.InstanceCreationTime = dataset.SeriesTime = time
    dataset.TimezoneOffsetFromUTC = "+0000"
    for tool in dataset.get("ContributingEquipmentSequence") or ():
        tool.ContributionDateTime = f"{date}{time}+0000"
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def conclusion(prediction: dict) -> str:
    """What a report says in a line: the label, or why there is none."""
    if prediction["ood"]:
        return "No answer: the scan is unlike those the model was trained on"
    if prediction["abstained"]:
        return "No answer: the model is not sure"
    return str(prediction["label"])


def coded(meaning: str) -> CodedConcept:
    """A code of our own scheme for some words: they are the same wherever they stand."""
    letters = hashlib.sha256(meaning.encode()).hexdigest()[:_LONGEST_CODE]
    return CodedConcept(letters, SCHEME, meaning[:_LONGEST_MEANING])


def _content(answer: Answer, images: Sequence[Dataset], manifest: Manifest) -> MeasurementReport:
    prediction = answer.prediction
    algorithm = AlgorithmIdentification(
        name=answer.model,
        version=f"LiquidLens {manifest.provenance.versions.get('liquidlens', 'unknown')}",
        parameters=[f"SHA-256 of the model's file: {answer.model_sha256}", f"Rule: {answer.rule}", RESEARCH_ONLY],
        manufacturer=MAKER,
    )
    measurements = [
        _measured(f"Probability of {label}", probability, _RATIO)
        for label, probability in prediction["probabilities"].items()
    ]
    if prediction["threshold"] is not None:
        measurements.append(_measured("Threshold of the probability", prediction["threshold"], _RATIO))
    measurements += [
        _measured("Out-of-distribution score", prediction["ood_score"], _NO_UNITS),
        _measured("Threshold of the out-of-distribution score", prediction["ood_threshold"], _NO_UNITS),
    ]
    yes, no = codes.SCT.Yes, codes.SCT.No
    evaluations = [
        QualitativeEvaluation(coded("Intended use"), coded(RESEARCH_ONLY)),
        QualitativeEvaluation(coded("Answer of the model"), coded(conclusion(prediction))),
        QualitativeEvaluation(coded("The model is not sure"), yes if prediction["abstained"] else no),
        QualitativeEvaluation(coded("The scan is out of distribution"), yes if prediction["ood"] else no),
    ]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=generate_uid(entropy_srcs=["group", answer.report]), identifier=f"LiquidLens {answer.rule}"
        ),
        algorithm_id=algorithm,
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID) for image in images],
    )
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["model", answer.model_sha256]),
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=answer.model,
        serial_number=answer.model_sha256,
    )
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=_PROCEDURES.get(dicom.modality(images[0]) or "", _IMAGING),
        imaging_measurements=[group],
    )


def _measured(name: str, value: float, unit: CodedConcept) -> Measurement:
    """With seven digits, which is what a float32 has, and no more than a decimal string holds."""
    return Measurement(coded(name), float(f"{value:.7g}"), unit)


def series_number(images: Sequence[Dataset]) -> int:
    """Behind the series that it is about, so that both stand together."""
    number = images[0].get("SeriesNumber")
    return (int(number) if isinstance(number, int) and 0 <= number < 2**20 else 0) * 100 + 99
