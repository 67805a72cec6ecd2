"""The picture: the key slice of a scan under its occlusion map, as a secondary capture."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import liquidlens
from liquidlens.imaging import Scan
from liquidlens.imaging.formats import dicom
from liquidlens.serve import explain
from liquidlens.serve.explain.page import pictures
from liquidlens.serve.node.journal import Answer
from liquidlens.serve.node.report import described, filled, series_number, written
from liquidlens.serve.node.rules import MAKER
from liquidlens.serve.predict.predictor import Predictor

#: What stands in every picture, below the image.
_WORDS = "Research use only. Orange speaks for {label}, blue against it."
_LINE = 16


def capture(answer: Answer, images: Sequence[Dataset], predictor: Predictor, scan: Scan) -> bytes:
    """The picture as a DICOM file; the key slice is that through the strongest point of the occlusion map.

    images: the headers of all images of the series.  Raises LiquidLensError as `explain.occlusion` does.
    """
    occlusion = explain.occlusion(predictor, scan)
    first = pictures(scan, occlusion, predictor.manifest.input.window or scan.window)[0]
    shown = Image.open(io.BytesIO(base64.b64decode(first.source.partition(",")[2]))).convert("RGB")
    canvas = Image.new("RGB", (shown.width, shown.height + _LINE))
    canvas.paste(shown)
    ImageDraw.Draw(canvas).text((2, shown.height + 2), _WORDS.format(label=occlusion.label), "white")
    uid = generate_uid(entropy_srcs=["picture", answer.report])
    with dicom.quiet():
        image = SCImage.from_ref_dataset(
            filled(images[0]),
            pixel_array=np.asarray(canvas),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=generate_uid(entropy_srcs=["picture series", answer.report]),
            series_number=series_number(images) + 1,
            series_description=described(answer, f"{first.caption}, research use only"),
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=answer.model[:64],
            software_versions=liquidlens.__version__,
            patient_orientation=("L", "P"),
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        if scan.pixels.ndim == 2:  # it lies as its original does
            image.PatientOrientation = images[0].get("PatientOrientation") or []
        elif not scan.oriented:
            image.PatientOrientation = []
        image.ConversionType, image.BurnedInAnnotation = "WSD", "YES"
        if (source := _source(images, scan, occlusion.peak[0])) is not None:
            reference = Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
                source.SOPClassUID,
                source.SOPInstanceUID,
            )
            image.SourceImageSequence = [reference]
        return written(image, answer)


def _source(images: Sequence[Dataset], scan: Scan, slice_number: int) -> Dataset | None:
    """The image that holds a slice of the scan; None if slices of the scan are no images of the series."""
    if len(images) == 1:
        return images[0]
    planes = [dicom.plane(image, 0, "") for image in images]
    axial = all(
        plane is not None and abs(np.cross(*np.reshape(plane.orientation, (2, 3)))[2]) > 0.9 for plane in planes
    )
    if not axial or len(images) != scan.pixels.shape[0]:
        return None
    order = sorted(range(len(images)), key=lambda i: planes[i].position[2])  # type: ignore[union-attr]
    return images[order[slice_number]]  # slices of a scan run from inferior to superior
