"""Devices: ONNX Runtime sessions that really run where they were asked to run.

ONNX Runtime lists a provider as available if its package was built with it, and puts a session whose provider cannot be
loaded on the CPU with nothing but a line on stderr.  Here a session is looked at after it was opened, and what is
missing is named in one sentence.
"""

import contextlib
import ctypes
import io
import os
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal, get_args

import onnxruntime

from liquidlens.cores import usable_cores
from liquidlens.errors import LiquidLensError, first_line, unknown

Device = Literal["cpu", "cuda", "tensorrt"]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
#: The providers of each device, in the order in which they may take nodes.
PROVIDERS: dict[Device, list[str]] = {"cpu": [CPU], "cuda": [CUDA, CPU], "tensorrt": [TENSORRT, CUDA, CPU]}

CUDA_OPTIONS = {
    "use_tf32": "0",  # TF32 keeps 10 bits of each factor: probabilities would differ from the CPU's
    "cudnn_conv_algo_search": "HEURISTIC",  # the exhaustive search starts anew for each batch size
    "arena_extend_strategy": "kSameAsRequested",  # or memory doubles when a larger scan comes
}
_GPU_PACKAGE = "'onnxruntime-gpu[cuda,cudnn]'"


class DeviceError(LiquidLensError):
    """A device that was asked for and cannot be had."""


def candidates(device: str) -> tuple[Device, ...]:
    """The devices to try for one of ``auto``, ``cpu``, ``cuda`` and ``tensorrt``, best first.

    ``auto`` leaves TensorRT out: it builds an engine, for seconds to minutes, whenever a scan has a new size.
    """
    if device == "auto":
        return "cuda", "cpu"
    known = get_args(Device)
    if device.lower() in ("gpu", "nvidia"):
        raise LiquidLensError(f"There is no device named {device!r}. Did you mean cuda, an NVIDIA GPU?")
    if device not in known:
        raise unknown("device", device, ("auto", *known))
    return (device,)  # type: ignore[return-value]  # it is one of them


def default_threads() -> int:
    """Threads for a run that is alone on the CPU: the cores that this process may use, at most 4.

    More do not help networks of this size: resizing a large volume gains a quarter from a second thread, the network
    itself next to nothing.
    """
    return min(4, usable_cores())


def open_session(content: bytes, device: Device, threads: int | None = None, **options: Any) -> Any:
    """An ``onnxruntime.InferenceSession`` of the ONNX file `content` that runs on `device`; options as of `session`.

    Raises DeviceError, which says what is missing and what to do, if the device cannot be had, and LiquidLensError if
    this is no ONNX file.
    """
    if device != "cpu" and (problem := _missing(device)):
        raise DeviceError(problem)
    wanted = PROVIDERS[device]
    try:
        opened = session(content, wanted, threads, **options)
    except LiquidLensError as error:
        if device == "cpu":
            raise
        session(content, [CPU])  # raises if the file itself is broken
        raise DeviceError(not_loaded(device, str(error))) from error
    if opened.get_providers()[0] != wanted[0]:
        raise DeviceError(not_loaded(device, f"ONNX Runtime took {opened.get_providers()[0]} instead"))
    if not nodes(opened).get(wanted[0]):
        raise DeviceError(f"{wanted[0]} took none of the file's nodes; take the device cpu.")
    return opened


def session(
    content: bytes,
    providers: list[str],
    threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Any:
    """An ``onnxruntime.InferenceSession`` that asks for `providers` and may get others: see ``get_providers()``.

    provider_options: for the first provider, besides CUDA_OPTIONS.  sizes: fixed lengths of the input's named axes.
    Raises LiquidLensError, with ONNX Runtime's first line, if there is no session.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads or default_threads()
    settings.inter_op_num_threads = 1
    # A thread that waits sleeps: in a server, spinning threads take the cores from the sessions that have work.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Scans come in all sizes.  ONNX Runtime's arena keeps what the largest one needed (after one CT of 300 x 512 x 512
    # the process held 1.1 GB instead of 77 MB) and its patterns grow with each new size.  Batches of 32 are 1.3 to 1.9
    # times slower without them; those of `Predictor.together` are not, where a program called `memory.keep_freed`.
    settings.enable_cpu_mem_arena = False
    settings.enable_mem_pattern = False
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    settings.log_severity_level = 4  # errors arrive as exceptions
    # Weights are in the file: else a model could have any file below the working folder for its weights.
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    settings.add_session_config_entry("session.load_model_format", "ONNX")  # and not ONNX Runtime's own
    for axis, length in (sizes or {}).items():
        settings.add_free_dimension_override_by_name(axis, length)
    options: list[dict[str, str]] = [CUDA_OPTIONS if provider == CUDA else {} for provider in providers]
    options[0] = {**options[0], **(provider_options or {})}
    onnxruntime.set_default_logger_severity(4)  # a missing provider is reported here, in a sentence
    try:
        if providers != [CPU]:
            _preload()
        # Without enable_fallback=0, a provider that fails later, in a run, is replaced by the CPU.
        return onnxruntime.InferenceSession(content, settings, providers, options, enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        raise LiquidLensError(f"not a readable ONNX file ({first_line(error)}).") from error
    finally:
        onnxruntime.set_default_logger_severity(2)


def nodes(session: Any) -> dict[str, int]:
    """How many nodes of the graph, those of its subgraphs included, each provider runs."""
    parts = session.get_provider_graph_assignment_info()
    counts: Counter[str] = Counter()
    for part in parts:
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def describe(device: Device) -> str:
    """How the device is shown: ``cpu``, or ``cuda:0 NVIDIA H100``."""
    return "cpu" if device == "cpu" else f"{device}:0 {graphics_processors()[0]}"


def graphics_processors() -> list[str]:
    """The names of the NVIDIA GPUs that this process may use.  Raises DeviceError, which says why there is none."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise DeviceError(f"there is no NVIDIA driver on this machine ({library} cannot be loaded)") from error
    count = ctypes.c_int()
    if (code := driver.cuInit(0)) or (code := driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = f"CUDA_VISIBLE_DEVICES is {hidden!r}" if hidden is not None else f"the driver's answer is {code}"
        raise DeviceError(f"the NVIDIA driver offers no GPU to this process ({why})")
    names = []
    for index in range(count.value):
        handle, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(handle), index)
        driver.cuDeviceGetName(name, len(name), handle)
        names.append(name.value.decode(errors="replace"))
    return names


def packages() -> dict[str, str]:
    """The installed ONNX Runtime packages with their versions: there should be one, as all install the same module."""
    found = ((package.metadata["Name"], package.version) for package in distributions())
    return {name: version for name, version in found if name and name.lower().startswith("onnxruntime")}


def _preload() -> None:
    """Load CUDA's libraries from their Python packages, where there are any."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()


def _missing(device: Device) -> str | None:
    """What keeps the machine from having `device`, as far as that is known without trying; None if nothing does."""
    if PROVIDERS[device][0] not in onnxruntime.get_available_providers():
        installed = " and ".join(f"{name} {version}" for name, version in packages().items()) or "this ONNX Runtime"
        return (
            f"{device} cannot be had: {installed} is built without it; run `pip uninstall -y onnxruntime "
            f"onnxruntime-gpu`, then `pip install {_GPU_PACKAGE}` (x86-64 Linux and Windows), or take the device cpu."
        )
    try:
        graphics_processors()
    except DeviceError as error:
        return (
            f"{device} cannot be had: {error}; install NVIDIA's driver, in a container give it the GPU "
            "(docker run --gpus all), or take the device cpu."
        )
    return None


def not_loaded(device: Device, reason: str) -> str:
    """Why a provider that is installed cannot be loaded: the first library that is missing, or else `reason`."""
    needs = f"CUDA {onnxruntime.cuda_version} and cuDNN 9"
    for provider, library in ((CUDA, "cuda"), (TENSORRT, "tensorrt")):
        if provider not in PROVIDERS[device]:
            continue
        try:
            ctypes.CDLL(str(_provider_library(library)))
        except OSError as error:
            if "undefined symbol" in str(error):  # it loads only from inside ONNX Runtime: so no library is missing
                continue
            if library == "tensorrt":
                needs += " and TensorRT 10, whose folder must stand in LD_LIBRARY_PATH"
            return (
                f"{device} cannot be had: {first_line(error)}. ONNX Runtime {onnxruntime.__version__} needs {needs}; "
                f"`pip install {_GPU_PACKAGE}` brings CUDA and cuDNN; or take the device cpu."
            )
    return f"{device} cannot be had: {reason.rstrip('.')}. It needs {needs}, and a driver that is new enough for them."


def _provider_library(name: str) -> Path:
    prefix, suffix = ("", ".dll") if sys.platform == "win32" else ("lib", ".so")
    return Path(onnxruntime.__file__).parent / "capi" / f"{prefix}onnxruntime_providers_{name}{suffix}"
