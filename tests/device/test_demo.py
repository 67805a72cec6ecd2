"""The demo without a browser: its public endpoints through `gradio_client`, and what happens to uploads."""

import gzip
import json
import os
import threading
import time
import tracemalloc
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import gradio
import httpx
import nibabel
import numpy as np
import pytest
from gradio import routes
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from skimage.transform import downscale_local_mean

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.imaging.budget import Budget, parse_budget
from liquidlens.imaging.phantoms import vessel3d
from liquidlens.serve.demo import answer, tidy, work
from liquidlens.serve.demo.case import Case, read_upload, thinned
from liquidlens.serve.demo.models_page import facts, without_front_matter
from liquidlens.serve.demo.sessions import SESSIONS, Sessions
from liquidlens.serve.demo.surface import _averaged, _slabs, surface
from liquidlens.serve.demo.turns import Turns
from liquidlens.serve.demo.viewer import presets
from liquidlens.serve.predict import pretrained
from liquidlens.serve.predict.examples import generated, real
from liquidlens.serve.predict.fitting import kind
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.pretrained import name_of
from liquidlens.serve.server import app
from liquidlens.serve.settings import SERVED
from tests.device.conftest import visitor

#: Who waits as long as a busy machine needs.
patient = httpx.Client(timeout=60)


@pytest.fixture(scope="module")
def client(server) -> Client:
    return visitor(server())


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
    assert [p["parameter_name"] for p in endpoints["/predict_volume"]["parameters"]] == ["scan", "model", "item"]
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
        ("image.npy", np.zeros((20, 20)), "reads a volume, and this is a 2D image. No model here reads it"),
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
    event = patient.post(call, json={"data": [[own], name_of(model), ""]}).json()["event_id"]
    assert "event: error" in patient.get(f"{call}/{event}").text
    assert file.exists()


def test_an_upload_is_deleted_also_if_it_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    file = tmp_path / "JOHN-DOE.dcm"
    file.write_bytes(b"nothing")
    with pytest.raises(LiquidLensError) as error:
        read_upload([str(file)], Budget())
    assert str(tmp_path) not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_one_of_several_scans_is_named(client, model, vessel, tmp_path):
    path = tmp_path / "stack.npy"
    np.save(path, np.stack([vessel, np.zeros_like(vessel)]))
    with pytest.raises(AppError, match="a stack of 2 volumes; name one"):
        client.predict([handle_file(path)], api_name="/predict_volume")
    result = client.predict([handle_file(path)], name_of(model), "0", api_name="/predict_volume")
    expected = Predictor(model).predict(Scan(vessel.astype(np.float32)))
    assert result["scan"]["name"] == "stack.npy#0"
    assert result["prediction"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_sentences_name_files_as_the_person_does(tmp_path, monkeypatch):
    """Not by the folder and the numbered names under which a series is put together."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    files = [tmp_path / name for name in ("one.npz", "two.nii.gz", "three.nii.gz")]
    for file in files:
        file.write_bytes(b"")
    np.savez(files[0], a=np.zeros((2, 3, 4, 5)), b=np.zeros((2, 3, 4, 5)))
    with pytest.raises(LiquidLensError) as error:
        read_upload([str(files[0])], Budget(), item="nothing")
    assert str(error.value).startswith("one.npz#nothing: ")
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(LiquidLensError) as error:
        read_upload([str(file) for file in files], Budget(), item="1")
    assert str(error.value).startswith("the series of 3 files#1: ")
    assert "scan-" not in str(error.value)
    (tmp_path / "notes.txt").write_bytes(b"")
    files[1].write_bytes(b"no gzip at all")
    with pytest.raises(LiquidLensError) as error:
        read_upload([str(files[1]), str(tmp_path / "notes.txt")], Budget())
    assert "two.nii.gz: " in str(error.value)
    assert "00000-" not in str(error.value)


def test_an_item_leads_to_no_other_file(tmp_path, monkeypatch, vessel):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    np.save(tmp_path / "secret.npy", vessel)
    for item in ("/../../../secret.npy", "0/../../../secret.npy", "../../secret.npy#0", "\0"):
        file = tmp_path / "uploads" / "scan.npy"
        np.save(file, vessel[None])
        with pytest.raises(LiquidLensError):
            read_upload([str(file)], Budget(), item=item)


def test_a_call_without_a_model_is_answered_with_the_models(client, model, file):
    with pytest.raises(AppError, match=f"Name a model: {name_of(model)}"):
        client.predict([handle_file(file)], None, api_name="/predict_volume")
    assert not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("vessel.npy"))


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
    assert real() == []
    found = generated()
    assert {example.kind for example in found} == {"X-ray", "Segmented shape"}
    for example in found:
        assert "no patient" in example.scan().notes[0]


def test_real_examples_are_there_where_there_is_data(data_root):
    found = real()
    assert {example.kind for example in found} == {"X-ray", "CT", "Segmented shape"}
    for example in found:
        assert example.scan().pixels.ndim == (2 if example.kind == "X-ray" else 3), example.name


def test_the_models_know_what_the_generated_scans_are():
    """Else the first answer that a visitor sees would be wrong, or flagged as unlike the training data."""
    labels = {
        "Generated chest: pneumonia": "pneumonia",
        "Generated vessel: healthy": "vessel",
        "Generated vessel: aneurysm": "aneurysm",
    }
    predictors = [Predictor(name) for name in pretrained.names()]
    for example in generated():
        fitting = [each for each in predictors if each.manifest.provenance.dataset == example.dataset]
        assert fitting
        for predictor in fitting:
            assert kind(predictor.manifest) == example.kind
            told = predictor.predict(example.scan())
            assert (told.label, told.ood, told.abstained) == (labels[example.name], False, False), predictor.path


def test_the_facts_are_those_of_the_manifest(model):
    predictor = Predictor(model)
    found = facts(predictor)
    assert found["Parameters"]["Trainable"] == f"{predictor.manifest.parameters.trainable:,}"
    assert found["Provenance"]["Weights, SHA-256"] == predictor.manifest.provenance.weights_sha256
    assert found["Here"]["Device"] == predictor.device


def with_labels(model: Path, task: str, *labels: str, **operating) -> Predictor:
    """A predictor whose manifest says something else."""
    predictor = Predictor(model)
    manifest = predictor.manifest
    operating = manifest.operating.model_copy(update={"abstain": None, **operating})
    changes = {"labels": labels, "task": task, "operating": operating}
    predictor.manifest = manifest.model_copy(update=changes)
    return predictor


def test_the_threshold_is_shown_where_it_decides(model):
    several = facts(with_labels(model, "classes", "a", "b", "c", abstain_margin=0.125))["Input and answer"]
    assert "Operating threshold" not in several
    assert several["Not sure"] == "if the two likeliest differ by less than 0.125"
    for predictor in (with_labels(model, "classes", "a", "b"), with_labels(model, "multi-label", "a", "b", "c")):
        assert "Operating threshold" in facts(predictor)["Input and answer"]


@pytest.mark.parametrize(
    ("task", "probabilities", "marked"),
    [("classes", (0.1, 0.2, 0.7), 1), ("multi-label", (0.9, 0.9, 0.1), 2), ("multi-label", (0.1, 0.2, 0.9), 1)],
)
def test_labels_may_hold_a_comma(model, vessel, task, probabilities, marked):
    """The label "left, lower" is one; "left" and "lower", if both apply, are two."""
    scan = Scan(vessel.astype(np.float32))
    case = Case.judged(scan, "scan", "vessel", Predictor(model))
    by_label = dict(zip(("left", "lower", "left, lower"), probabilities, strict=True))
    prediction = replace(case.prediction, label="left, lower", probabilities=by_label)
    predictor = with_labels(model, task, *by_label, threshold=0.5)
    page = answer.answer(replace(case, prediction=prediction, predictor=predictor))
    assert page.count('class="bar predicted"') == marked


def test_a_closed_page_is_forgotten(server):
    """Of two open pages, each with its heartbeat as browsers keep it, the one that is closed."""
    address = server()
    holder = server.applications[-1].state.page.state_holder
    with ExitStack() as stays, ExitStack() as goes:
        for name, stack in (("stays", stays), ("goes", goes)):
            beats = stack.enter_context(patient.stream("GET", f"{address}/gradio_api/heartbeat/{name}"))
            call = {"data": [], "session_hash": name}
            assert patient.post(f"{address}/gradio_api/run/models", json=call).status_code == 200
            assert not beats.is_closed
        assert list(holder.session_data) == ["stays", "goes"]
        goes.close()
        until = time.monotonic() + 30
        while "goes" in holder.session_data and time.monotonic() < until:
            time.sleep(0.02)
        assert list(holder.session_data) == list(holder.time_last_used) == ["stays"]
    assert holder.capacity == SESSIONS


def test_pages_that_nobody_uses_and_too_many_scans_are_forgotten(model, vessel, monkeypatch):
    case = Case.judged(Scan(vessel.astype(np.float32)), "scan", "vessel", Predictor(model))
    with gradio.Blocks(analytics_enabled=False) as page:
        kept = gradio.State(None)
    page.state_holder = Sessions()
    page.state_holder.set_blocks(page)
    for name in ("idle", "oldest", "older", "newest"):
        page.state_holder[name][kept._id] = case
    page.state_holder.time_last_used["idle"] -= 2 * tidy.IDLE
    tidy.tidy_sessions(page)
    assert list(page.state_holder.session_data) == ["oldest", "older", "newest"]
    monkeypatch.setattr(tidy, "BYTES", 2 * vessel.size * 4)
    tidy.tidy_sessions(page)
    assert list(page.state_holder.session_data) == ["older", "newest"]
    monkeypatch.setattr(tidy, "BYTES", 1)
    tidy.tidy_sessions(page)
    assert list(page.state_holder.session_data) == ["newest"]


def visits(model, vessel) -> tuple[gradio.Blocks, int, Case]:
    """A page with the place of a scan, and a scan."""
    case = Case.judged(Scan(vessel.astype(np.float32)), "scan", "vessel", Predictor(model))
    with gradio.Blocks(analytics_enabled=False) as page:
        kept = gradio.State(None)
    page.state_holder = Sessions()
    page.state_holder.set_blocks(page)
    return page, kept._id, case


def test_many_small_requests_put_nobodys_scan_away(model, vessel):
    page, kept, case = visits(model, vessel)
    page.state_holder["visitor"][kept] = case
    page.state_holder.capacity = 10
    for number in range(100):
        assert page.state_holder[str(number)][kept] is None
    assert page.state_holder["visitor"][kept] is case
    assert len(page.state_holder.session_data) == len(page.state_holder.time_last_used) == 10
    for number in range(10):
        page.state_holder[f"full {number}"][kept] = case
    assert "visitor" not in page.state_holder, "of equals the least recently used goes"


def test_who_has_more_than_a_share_goes_first(model, vessel, monkeypatch):
    page, kept, case = visits(model, vessel)
    large = Case.judged(Scan(np.repeat(vessel, 6, 0).astype(np.float32)), "scan", "vessel", Predictor(model))
    for name, held in (("small", case), ("large", large), ("small too", case), ("nothing", None)):
        page.state_holder[name][kept] = held
    monkeypatch.setattr(tidy, "BYTES", 4 * case.nbytes)
    tidy.tidy_sessions(page)
    assert list(page.state_holder.session_data) == ["small", "small too", "nothing"]


def test_answers_that_nobody_fetches_are_dropped(server, monkeypatch):
    monkeypatch.setattr(app, "SWEEP_SECONDS", 0.05)
    address = server()
    page = server.applications[-1].state.page
    call = {"data": [], "session_hash": "gone", "fn_index": 0}
    known = page._queue.pending_messages_per_session
    shown = next(fn for fn in page.fns.values() if fn.api_name == "predict_volume")
    assert patient.post(f"{address}/gradio_api/queue/join", json=call | {"fn_index": shown._id}).status_code == 200
    assert "gone" in known
    monkeypatch.setattr(tidy, "UNFETCHED", -tidy.UNFETCHED)
    until = time.monotonic() + 60
    while "gone" in known and time.monotonic() < until:
        time.sleep(0.05)
    assert "gone" not in known


def test_a_large_volume_is_drawn_without_another_copy(vessel):
    """Peak memory of what the viewer does with a volume, beyond the volume itself."""
    pixels = np.zeros((128, 256, 256), np.float32)
    pixels[20:100, 50:200, 50:200] = 255
    scan = Scan(pixels)
    tracemalloc.start()
    try:
        assert list(presets(scan)) == ["Mask"]
        drawn = surface(scan, 127.5)
        assert tracemalloc.get_traced_memory()[1] < pixels.nbytes / 2
    finally:
        tracemalloc.stop()
    assert len(drawn.data) == 1
    whole = downscale_local_mean(np.pad(pixels[:127], ((0, 1), (0, 0), (0, 0)), mode="edge"), (2, 4, 4))
    parts = np.concatenate([_averaged(slab, (2, 4, 4)) for slab in _slabs(pixels[:127], 2)])
    assert np.array_equal(parts, whole)


def test_a_few_bytes_of_many_voxels_are_refused(client, tmp_path):
    """The largest scan that is answered takes 2 GiB; a server's own limit is another than that of files."""
    shape = (513, 512, 512)
    image = nibabel.Nifti1Image(np.broadcast_to(np.uint8(0), (2, 2, 2)), np.eye(4))
    image.header.set_data_shape(shape)
    path = tmp_path / "large.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(image.header.binaryblock + bytes(4))
        for _ in range(shape[0]):
            file.write(bytes(shape[1] * shape[2]))
    with pytest.raises(AppError, match="pixels are over the budget of 134,217,728; raise 'pixels'"):
        client.predict([handle_file(path)], api_name="/predict_volume")
    given = parse_budget(["seconds=5"], SERVED)
    assert (given.seconds, given.pixels) == (5, SERVED.pixels)


def test_the_progress_of_uploads_is_forgotten(server, monkeypatch):
    kept = routes.file_upload_statuses
    monkeypatch.setattr(app, "SWEEP_SECONDS", 0.05)
    address = server()
    form = {"files": ("scan.npy", b"no scan")}
    assert patient.post(f"{address}/gradio_api/upload?upload_id=done", files=form).status_code == 200
    assert patient.get(f"{address}/gradio_api/upload_progress?upload_id=never").status_code == 404
    until = time.monotonic() + 60
    while {"done", "never"} & {*kept._signals, *kept._statuses} and time.monotonic() < until:
        time.sleep(0.05)
    assert not {"done", "never"} & {*kept._signals, *kept._statuses}


def test_turns_go_to_who_has_the_fewest():
    """One visitor with many scans delays another by one of them."""
    turns, order = Turns(2), []

    def take(visitor: str) -> None:
        with turns.of(visitor):
            order.append(visitor)

    with turns.of("many"), ExitStack() as second:
        second.enter_context(turns.of("many"))
        threads = []
        for visitor in ("many", "many", "many", "one"):
            threads.append(threading.Thread(target=take, args=(visitor,)))
            threads[-1].start()
            while len(turns._waiting) < len(threads):
                time.sleep(0.001)
        second.close()
        for thread in threads:
            thread.join(60)
    assert order == ["one", "many", "many", "many"]
    assert not turns._held
    two = Turns(2)
    everything = two.of("many", 5)
    with two.of("many"):
        waiting = threading.Thread(target=everything.__enter__)
        waiting.start()
        while not two._waiting:
            time.sleep(0.001)
        assert two._free == 1, "what takes all slots waits for them"
    waiting.join(10)
    assert two._free == 0


def test_slow_files_keep_no_other_visitor_waiting(server, vessel, tmp_path, monkeypatch):
    """As many as are read at once: examples, models and other answers go on."""
    address = server()
    slow, begun, read = threading.Event(), [], work.read_upload

    def read_slowly(*given):
        begun.append(given)
        return slow.wait(120) and read(*given)

    monkeypatch.setattr(work, "read_upload", read_slowly)
    np.save(tmp_path / "slow.npy", vessel)
    client = visitor(address)
    jobs = [client.submit([handle_file(tmp_path / "slow.npy")], api_name="/predict_volume") for _ in range(6)]
    until = time.monotonic() + 60
    while len(begun) < work.READERS and time.monotonic() < until:
        time.sleep(0.01)
    assert len(begun) == work.READERS
    model = patient.get(f"{address}/v2").json()["models"][0]
    example = next(fn for fn in server.applications[-1].state.page.fns.values() if fn.api_name == "_open_example")
    join = {"data": [0, model], "session_hash": "other"}
    assert patient.post(f"{address}/gradio_api/queue/join", json=join | {"fn_index": example._id}).status_code == 200
    with patient.stream("GET", f"{address}/gradio_api/queue/data?session_hash=other") as events:
        done = next(line for line in events.iter_lines() if "process_completed" in line)
    assert '"success":true' in done
    assert not any(job.done() for job in jobs)
    slow.set()
    assert all("prediction" in job.result(60) for job in jobs)


def test_what_uploads_left_is_deleted_and_its_names_forgotten(tmp_path):
    for name in ("hash/scan.npy", "kept/model.onnx", "interrupted"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "emptied").mkdir()
    kept = {tmp_path.resolve() / "kept" / "model.onnx"}
    tidy.tidy_files(tmp_path, kept, 3600)
    assert len(list(tmp_path.rglob("*"))) == 6, "it may still be read"
    tidy.tidy_files(tmp_path, kept, -1)
    assert set(tmp_path.resolve().rglob("*")) == kept | {path.parent for path in kept}
    with gradio.Blocks(analytics_enabled=False) as page:
        gradio.File()
    here = str(tmp_path / "kept" / "model.onnx")
    page.upload_file_set.update({here, str(tmp_path / "hash" / "scan.npy")})
    tidy.forget_gone_files(page)
    assert page.upload_file_set == {here}


def test_files_that_the_page_offers_stay(server, model):
    server()
    assert model.name in {path.name for path in tidy.kept_files(server.applications[-1].state.page)}


def test_a_card_is_shown_without_what_is_meant_for_machines():
    assert without_front_matter("---\na: 1\n---\n\n# Title\n\n---\nend") == "# Title\n\n---\nend"
    assert without_front_matter("# Title") == "# Title"
