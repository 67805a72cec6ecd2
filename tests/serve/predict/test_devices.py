"""Devices: sessions are where they were asked to be, or an error says what is missing.

What needs a GPU is checked by ``make gpu-check``; the ways of running that GPUs need run here in the CPU's memory.
"""

import re

import numpy as np
import onnxruntime
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import phantoms
from liquidlens.serve.predict import bounded_run as runs
from liquidlens.serve.predict import devices
from liquidlens.serve.predict.predictor import Predictor


@pytest.fixture(scope="module")
def content(liquid_bundle) -> bytes:
    return (liquid_bundle.path / "model-unrolled.onnx").read_bytes()


@pytest.fixture(scope="module")
def volumes() -> np.ndarray:
    return phantoms.vessel3d(splits={"test": 3})["test_images"].astype(np.float32)


@pytest.fixture
def _no_gpu():
    try:
        devices.graphics_processors()
    except devices.DeviceError:
        return
    pytest.skip("this machine has a GPU: make gpu-check")


def test_names_of_devices():
    assert devices.candidates("auto") == ("cuda", "cpu")
    assert devices.candidates("tensorrt") == ("tensorrt",)
    with pytest.raises(LiquidLensError, match=r"There is no device named 'gpu'\. Did you mean cuda"):
        devices.candidates("gpu")
    with pytest.raises(LiquidLensError, match=r"There is no device named 'cud'\. Did you mean cuda"):
        devices.candidates("cud")
    assert 1 <= devices.default_threads() <= 4


@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_cannot_be_had_is_an_error_with_the_remedy(liquid_bundle, device, capfd):
    if devices.CUDA in onnxruntime.get_available_providers():
        sentence = "NVIDIA driver .*docker run --gpus all"
    else:
        sentence = r"built without it; run `pip uninstall .*onnxruntime-gpu\[cuda,cudnn\]"
    with pytest.raises(devices.DeviceError, match=f"^{device} cannot be had: .*{sentence}.* or take the device cpu"):
        Predictor(liquid_bundle.model, device)
    assert capfd.readouterr() == ("", ""), "ONNX Runtime's own complaints are silenced"


@pytest.mark.usefixtures("_no_gpu")
def test_auto_takes_the_cpu_and_says_so(liquid_bundle, capfd):
    predictor = Predictor(liquid_bundle.model, "auto")
    assert predictor.device == "cpu"
    assert predictor.session.get_providers() == [devices.CPU]
    assert not predictor.replays
    assert capfd.readouterr() == ("", "")


def test_the_missing_library_is_named(content, capfd):
    """ONNX Runtime puts a session whose provider cannot be loaded on the CPU: that is seen, and its reason found."""
    if devices.CUDA not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu: make ORT=gpu")
    session = devices.session(content, [devices.CUDA, devices.CPU])
    if session.get_providers()[0] == devices.CUDA:
        pytest.skip("CUDA works here")
    sentence = devices.not_loaded("cuda", "the reason")
    assert re.search(r"lib\w+\.so\.\d+: cannot open shared object file.*needs CUDA \d+\.\d and cuDNN 9", sentence)
    assert capfd.readouterr() == ("", "")


def test_every_node_is_counted(liquid_bundle, content):
    counts = devices.nodes(devices.open_session(content, "cpu"))
    assert list(counts) == [devices.CPU]
    assert counts[devices.CPU] > 1000, "28 slices, six unfolds each, are spelled out"
    assert Predictor(liquid_bundle.model).nodes[devices.CPU] < 300


def test_what_is_no_onnx_file_is_said():
    with pytest.raises(LiquidLensError, match="not a readable ONNX file"):
        devices.open_session(b"not ONNX", "cpu")


def test_bound_memory_gives_the_same_outputs(content, volumes):
    session = devices.open_session(content, "cpu")
    names = [output.name for output in session.get_outputs()]
    feed = {"scan": volumes}
    plain, bound = runs.run(session, names, feed), runs.run_bound(session, names[:2], feed, "cpu")
    assert list(bound) == names[:2]
    for name in bound:
        np.testing.assert_array_equal(bound[name], plain[name])


def test_a_session_for_one_shape_gives_the_same_outputs(content, volumes):
    session = devices.open_session(content, "cpu")
    names = [output.name for output in session.get_outputs()]
    plain = runs.run(session, names, {"scan": volumes})
    replay = runs.Replay(content, "cpu", session.get_inputs()[0].shape, volumes.shape, plain)
    first = replay.run(volumes)
    second = replay.run(volumes[::-1].copy())  # in the same memory: the first answers must not change
    for name in names:
        np.testing.assert_allclose(first[name], plain[name], atol=1e-5)
        np.testing.assert_allclose(second[name], plain[name][::-1], atol=1e-5)
    with pytest.raises(RuntimeError, match="size"):
        replay.run(volumes[:1])
