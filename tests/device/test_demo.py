"""The demo without a browser: its public endpoints through `gradio_client`, and what happens to uploads."""

import json
import os
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from imaging import LiquidLensError, Scan
from imaging.budget import Budget
from imaging.phantoms import vessel3d
from serve.app import name_of
from serve.demo.case import Case, read_upload, thinned
from serve.demo.examples import examples
from serve.demo.models_page import facts, without_front_matter
from serve.predictor import Predictor


@pytest.fixture(scope="module")
def client(server) -> Client:
    return Client(server(), verbose=False)


@pytest.fixture(scope="module")
def vessel() -> np.ndarray:
    return vessel3d(seed=3, splits={"test": 1})["test_images"][0]


@pytest.fixture
def file(vessel, tmp_path) -> Path:
    path = tmp_path / "vessel.npy"
    np.save(path, vessel)
    return path


def test_the_endpoints_are_named_and_documented(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/models", "/predict_volume", "/explain_volume"}  # there is no model of X-rays
    assert [p["parameter_name"] for p in endpoints["/predict_volume"]["parameters"]] == ["scan", "model"]
    assert endpoints["/predict_volume"]["description"] == "Judge one scan."


def test_the_client_gets_what_the_predictor_says(client, model, file, vessel):
    expected = Predictor(model).predict(Scan(vessel.astype(np.float32)))
    result = client.predict([handle_file(file)], name_of(model), api_name="/predict_volume")
    assert result["prediction"]["label"] == expected.label
    assert result["prediction"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert result["prediction"]["ood_score"] == pytest.approx(expected.ood_score, rel=1e-4)
    assert result["scan"]["shape"] == list(vessel.shape)
    assert result["scan"]["name"] == "vessel.npy"
    assert result["explanation"] is None


def test_the_explanation_comes_with_its_map(client, model, file, vessel):
    found = client.predict([handle_file(file)], name_of(model), api_name="/explain_volume")["explanation"]
    assert np.shape(found["occlusion"]["map"]) == vessel.shape
    assert found["occlusion"]["probability"] >= found["occlusion"]["lowest_probability"]
    manifest = Predictor(model).manifest
    assert len(found["neurons"]) == len(manifest.wiring)
    for layer, wiring in zip(found["neurons"], manifest.wiring, strict=True):
        assert np.shape(layer["states"])[1] == len(wiring.neurons)


def test_models_are_listed(client, model):
    (summary,) = client.predict(api_name="/models")
    assert summary["name"] == name_of(model)
    assert summary["labels"] == list(Predictor(model).manifest.labels)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("broken.nii.gz", b"no gzip at all", "broken.nii.gz"),
        ("image.npy", np.zeros((20, 20)), "open it in the tab X-ray"),
    ],
)
def test_what_cannot_be_judged_is_said_in_a_sentence(client, tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(AppError, match=sentence) as error:
        client.predict([handle_file(path)], api_name="/predict_volume")
    assert os.environ["GRADIO_TEMP_DIR"] not in str(error.value)


def test_no_upload_stays(client, file):
    client.predict([handle_file(file)], api_name="/predict_volume")
    assert not [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.name == "vessel.npy"]


def test_files_of_the_server_cannot_be_named(client, file, model):
    """A path that is no upload is refused, even one that the server can read; else it would be read and deleted."""
    call = f"{client.src}gradio_api/call/predict_volume"
    own = {"path": str(file), "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(call, json={"data": [[own], name_of(model)]}).json()["event_id"]
    assert "event: error" in httpx.get(f"{call}/{event}").text
    assert file.exists()


def test_an_upload_is_deleted_also_if_it_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    file = tmp_path / "JOHN-DOE.dcm"
    file.write_bytes(b"nothing")
    with pytest.raises(LiquidLensError) as error:
        read_upload([str(file)], Budget())
    assert str(tmp_path) not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_everything_shown_is_in_the_result(model, vessel):
    predictor = Predictor(model)
    case = Case.judged(Scan(vessel.astype(np.float32), notes=("A note.",)), "my scan", "vessel", predictor).explained()
    found = json.loads(case.to_text())
    assert found["notice"] == "Research use only. Not a medical device."
    assert found["scan"]["notes"] == ["A note."]
    assert found["prediction"]["milliseconds"].keys() == case.prediction.milliseconds.keys()
    assert found["model"]["graph_digest"] == predictor.manifest.graph_digest
    assert found["explanation"]["occlusion"]["map_shape"] == [28, 28, 28]


def test_maps_of_large_scans_are_thinned():
    values = np.arange(100 * 30, dtype=np.float32).reshape(100, 30)
    assert thinned(values, 32).shape == (25, 30)


def test_examples_are_there_without_any_data(monkeypatch):
    monkeypatch.delenv("LIQUIDLENS_DATA", raising=False)
    found = examples()
    assert {example.axes for example in found} == {2, 3}
    for example in found:
        assert example.scan().pixels.ndim == example.axes
        assert "no patient" in example.scan().notes[0]


def test_real_examples_are_there_where_there_is_data(data_root):
    for example in examples():
        assert example.scan().pixels.ndim == example.axes, example.name


def test_the_facts_are_those_of_the_manifest(model):
    predictor = Predictor(model)
    found = facts(predictor)
    assert found["Parameters"]["Trainable"] == f"{predictor.manifest.parameters.trainable:,}"
    assert found["Provenance"]["Weights, SHA-256"] == predictor.manifest.provenance.weights_sha256
    assert found["Here"]["Device"] == predictor.device


def test_a_card_is_shown_without_what_is_meant_for_machines():
    assert without_front_matter("---\na: 1\n---\n\n# Title\n\n---\nend") == "# Title\n\n---\nend"
    assert without_front_matter("# Title") == "# Title"
