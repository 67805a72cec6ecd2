"""The doctor: what this machine can do, and why not more.

Everything is tried: each device runs a tiny graph, each shipped model is loaded and run, and each library is loaded.
"""

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import numpy as np

from liquidlens.cores import usable_cores
from liquidlens.errors import LiquidLensError, first_line
from liquidlens.words import counted

#: What the two environments are made of, with what each is for.
PACKAGES = {
    "numpy": "everything",
    "pydicom": "DICOM",
    "nibabel": "NIfTI",
    "pillow": "PNG, JPEG, TIFF, BMP",
    "gradio": "the demo",
    "fastapi": "the server",
    "torch": "training",
    "onnx": "export",
}
#: Modules that decode compressed DICOM pixels.
DECODERS = {"PIL": "JPEG", "openjpeg": "JPEG 2000", "jpeg_ls": "JPEG-LS", "gdcm": "lossless JPEG"}
#: One Sigmoid from ``x`` to ``y``, both float32 of length 1, as a serialized ONNX file.
SIGMOID = bytes.fromhex(
    "08083a390a0f0a017812017922075369676d6f6964120474696e795a0f0a0178120a0a08080112040a020801620f0a017912"
    "0a0a08080112040a02080142040a00100d"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    about, found: what it is, and its state in words.
    problem: None if it is well; else why not, and what to do.
    """

    about: str
    found: str
    problem: str | None = None


def examine() -> list[Finding]:
    """Look at everything that predicting needs.  Takes seconds: models are loaded and run."""
    return [
        Finding("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        _cores_and_memory(),
        *_packages(),
        *_onnx_runtime(),
        *_gpu(),
        *_decoders(),
        _data(),
        *_models(),
    ]


def predicts(findings: list[Finding]) -> bool:
    """Whether this machine can predict at all: the CPU works."""
    return any(finding.about == "device cpu" and finding.problem is None for finding in findings)


def _cores_and_memory() -> Finding:
    found = f"{counted(usable_cores(), 'core')} may be used"
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_AVPHYS_PAGES"} <= os.sysconf_names.keys():
        page = os.sysconf("SC_PAGE_SIZE") / 2**30
        total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
        found += f", {total:.1f} GiB of memory, {free:.1f} GiB of it unused"
    return Finding("machine", found)


def _packages() -> Iterator[Finding]:
    for name, purpose in PACKAGES.items():
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, f"not installed; it is for {purpose}")


def _onnx_runtime() -> Iterator[Finding]:
    """The package, and every device: tried."""
    try:
        from liquidlens.serve.predict import devices  # here, because a broken ONNX Runtime must not stop the doctor
    except Exception as error:  # a half overwritten package fails in its own ways
        yield Finding("ONNX Runtime", "cannot be imported", f"{error}; install it anew.")
        return
    installed = devices.packages()
    found = ", ".join(f"{name} {number}" for name, number in installed.items()) or "of no package"
    both = (
        "they overwrite each other's files: run `pip uninstall -y " + " ".join(installed) + "` and install one of them."
    )
    yield Finding("ONNX Runtime", found, both if len(installed) > 1 else None)
    for device in get_args(devices.Device):
        try:
            session = devices.open_session(SIGMOID, device)
            session.run(None, {"x": np.zeros(1, np.float32)})
            yield Finding(f"device {device}", f"works: {devices.describe(device)}")
        except LiquidLensError as error:
            yield Finding(f"device {device}", "does not work", str(error))
        except Exception as error:  # it could be opened and not run, as without cuDNN
            yield Finding(f"device {device}", "does not work", f"{first_line(error)}.")


def _gpu() -> Iterator[Finding]:
    """The answer of NVIDIA's own program, and each library that CUDA and TensorRT need, loaded."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("nvidia-smi", "not installed")
    else:
        query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
        answer = (done.stdout or done.stderr).strip().replace("\n", "; ")
        yield Finding("nvidia-smi", answer, None if done.returncode == 0 else "the driver does not answer.")
    if sys.platform != "linux":
        return
    try:
        import onnxruntime
    except Exception:  # `_onnx_runtime` reports it
        return
    cuda = str(getattr(onnxruntime, "cuda_version", None) or "").split(".")[0]
    if not cuda:
        return
    needed = ("cudart", cuda), ("cublasLt", cuda), ("cublas", cuda), ("curand", "10"), ("cudnn", "9"), ("nvinfer", "10")
    missing = []
    for name, number in needed:
        try:
            ctypes.CDLL(f"lib{name}.so.{number}")
        except OSError:
            missing.append(f"lib{name}.so.{number}")
    found = f"{len(needed) - len(missing)} of {len(needed)} can be loaded"
    yield Finding("CUDA libraries", found + (f"; missing: {', '.join(missing)}" if missing else ""))


def _decoders() -> Iterator[Finding]:
    for module, formats in DECODERS.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(f"decoder {module}", formats if there else f"not installed; it decodes {formats} in DICOM")


def _data() -> Finding:
    root = os.environ.get("LIQUIDLENS_DATA")
    if not root:
        return Finding("LIQUIDLENS_DATA", "not set; it names a folder with datasets, for training and tests")
    if not Path(root).is_dir():
        return Finding("LIQUIDLENS_DATA", root, "there is no such folder.")
    return Finding("LIQUIDLENS_DATA", root)


def _models() -> Iterator[Finding]:
    """Every pretrained model: compared with its SHA-256, loaded and run on the CPU."""
    from liquidlens.serve.predict import pretrained

    if not pretrained.names():
        yield Finding("pretrained models", f"none in {pretrained.FOLDER}")
    for name in pretrained.names():
        try:
            from liquidlens.serve.predict.predictor import Predictor

            predictor = Predictor(name, device="cpu")
            listed = predictor.path.with_name("SHA256SUMS").is_file()
            yield Finding(f"model {name}", f"sound: {predictor.manifest.model}" + ("" if listed else ", no SHA256SUMS"))
        except (LiquidLensError, ImportError) as error:
            yield Finding(f"model {name}", "cannot be used", str(error))
