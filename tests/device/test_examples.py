"""The example of a service, asked as its first line says."""

import runpy

import nibabel
import numpy as np
from fastapi.testclient import TestClient

from liquidlens import Predictor
from liquidlens.imaging import phantoms
from tests.installing import ROOT


def test_the_service_judges_an_upload_and_refuses_what_is_none(tmp_path):
    client = TestClient(runpy.run_path(str(ROOT / "examples" / "service.py"))["app"])
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(phantoms.vessel3d(splits={"test": 1})["test_images"][0], np.eye(4)), path)
    answer = client.post("/predict", files={"scan": (path.name, path.read_bytes())})
    assert answer.status_code == 200, answer.text
    assert answer.json()["probabilities"] == Predictor("vessel").predict(path).probabilities
    refused = client.post("/predict", files={"scan": ("scan.nii.gz", b"not a scan")})
    assert refused.status_code == 422
    assert "not a readable NIfTI file" in refused.json()["detail"]
