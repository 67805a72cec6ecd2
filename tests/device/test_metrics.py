"""What Prometheus is told, read with its own parser; and the log as JSON."""

import io
import json
import logging
import os
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from liquidlens.serve.monitoring import Monitor
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.server.log import Discreet
from tests.device.conftest import ask


def scraped(address: str) -> dict[tuple, float]:
    response, content = ask(address, "/metrics")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def infer(address: str, model: str, scans: np.ndarray) -> int:
    tensor = {"name": "scan", "datatype": "FP32", "shape": scans.shape, "data": scans.ravel().tolist()}
    return ask(address, f"/v2/models/{model}/infer", "POST", json.dumps({"inputs": [tensor]}))[0].status


def test_answers_are_counted_as_the_predictor_gives_them(server, model):
    address, name, predictor = server(), model.parent.name, Predictor(model)
    scans = np.random.default_rng(0).random((3, 28, 28, 28)).astype(np.float32) * 255
    scans[0] = 0
    before = scraped(address)
    assert infer(address, name, scans) == 200
    assert infer(address, name, scans[:, :1, 0]) == 400
    after = scraped(address)

    def grown(metric: str, **labels: str) -> float:
        key = (metric, *sorted(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    answers = [predictor.predict(scan) for scan in scans]
    assert grown("liquidlens_predictions_total", model=name) == 3
    unlike = sum(answer.ood for answer in answers)
    unsure = sum(answer.abstained and not answer.ood for answer in answers)
    assert grown("liquidlens_out_of_distribution_total", model=name) == unlike
    assert grown("liquidlens_abstained_total", model=name) == unsure
    labels = sum(grown("liquidlens_answers_total", model=name, label=label) for label in predictor.manifest.labels)
    assert labels == 3 - unlike - unsure
    assert grown("liquidlens_requests_total", what="answered") >= 1
    assert grown("liquidlens_requests_total", what="refused") == 1
    assert grown("liquidlens_seconds_count", stage="request") == 2
    info = {"model": name, "network": predictor.manifest.model, "sha256": predictor.sha256}
    assert after["liquidlens_model_info", *sorted(info.items())] == 1
    assert after["liquidlens_waiting", ("surface", "protocol")] == 0


def test_a_name_with_a_comma_is_one_label(model):
    predictor = Predictor(model)
    monitor, answer = Monitor({"m": predictor}), predictor.predict(np.zeros((28, 28, 28), np.float32))
    names = "malignant", "cyst, benign"
    found = replace(answer, label=names[1], probabilities=dict.fromkeys(names, 0.5), ood=False, abstained=False)
    monitor.answer("m", found)
    monitor.answer("m", replace(found, label="edema, mass", probabilities=dict.fromkeys(["edema", "mass"], 0.9)))
    assert {
        label: monitor.registry.get_sample_value("liquidlens_answers_total", {"model": "m", "label": label})
        for label in (*names, "cyst", "edema", "mass")
    } == {"malignant": None, "cyst, benign": 1, "cyst": None, "edema": 1, "mass": 1}


def test_a_log_that_nobody_reads_any_more_keeps_nothing_from_its_work():
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w")
    handler = Discreet(stream)
    for number in range(2):
        handler.emit(logging.LogRecord("liquidlens.serve", logging.ERROR, "place.py", 7, f"{number}", None, None))
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_password_holds_for_the_figures_too(server):
    response, _ = ask(server(password="secret"), "/metrics")  # noqa: S106
    assert response.status == 401


def test_a_log_in_json_is_an_object_a_line():
    stream = io.StringIO()
    handler = Discreet(stream, as_json=True)
    for name, words in (("liquidlens.serve", 'a "request"\nfailed'), ("elsewhere", "quotes Doe^Jane")):
        handler.emit(logging.LogRecord(name, logging.WARNING, "place.py", 7, words, None, None))
    ours, other = map(json.loads, stream.getvalue().splitlines())
    assert (ours["level"], ours["message"]) == ("WARNING", 'a "request"\\nfailed')
    assert other["message"] == "elsewhere complained at place.py:7"
