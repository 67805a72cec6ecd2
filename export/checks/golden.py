"""Golden files: inputs and the answers that every runtime must give to them, for whoever puts a file on a device.

A bundle's ``golden.npz`` lets anyone check an installation without this repository, without torch and without data: run
the inputs, compare the outputs.  The inputs are drawn by `imaging.phantoms`; no scan of a patient leaves in a bundle.
The outputs are torch's, not those of the runtime that is to be checked.

Two cases.  ``scan``: two scans of the input contract's size, with ``logits``, ``probabilities``, ``ood`` and whatever
else the file gives.  ``scan_other``: one scan of another size along every axis, with ``logits_other`` and so on.  Of a
model with a spacing there are ``spacing`` and ``centre``, NaN for one scan and given for the other, and
``spacing_other``, ``centre_other``: other than the model's own, near a corner.
"""

import io

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.export.complete.deployed import CompleteModel
from liquidlens.imaging import phantoms
from liquidlens.manifest import InputContract

OTHER = "_other"
#: The other size, relative to the contract's, axis by axis: smaller, larger, smaller.
OTHER_SIZE = (0.75, 1.25, 0.9)


def golden(model: CompleteModel) -> dict[str, NDArray[np.float32]]:
    """Inputs and outputs by name, all in C order, so that a reader of a few lines can read them.

    The unfolded model answers; only the folded one gives the states of liquid layers.
    """
    contract = model.front.contract
    other = tuple(max(1, round(n * share)) for n, share in zip(contract.size, OTHER_SIZE, strict=False))
    arrays: dict[str, NDArray[np.float32]] = {}
    for suffix, count, size in (("", 2, contract.size), (OTHER, 1, other)):
        scan = synthetic(contract, count, size, wide=suffix == OTHER)
        feed = {"scan": scan} | _where(contract, size, suffix == OTHER)
        with torch.no_grad():
            inputs = {name: torch.from_numpy(values) for name, values in feed.items()}
            outputs = model.folded()(**inputs) | model.eval()(**inputs)
        arrays |= {f"{name}{suffix}": values for name, values in feed.items()}
        arrays |= {f"{name}{suffix}": tensor.contiguous().numpy() for name, tensor in outputs.items()}
    return arrays


def _where(contract: InputContract, size: tuple[int, ...], other: bool) -> dict[str, NDArray[np.float32]]:
    """Spacing and centre of the scans of one case; nothing where a model reads whole scans."""
    if contract.spacing is None:
        return {}
    own, middle = np.array(contract.spacing, np.float32), np.array([(n - 1) / 2 for n in size], np.float32)
    if other:
        near_a_corner = middle * np.array([0.2, 0.4, 1.9], np.float32)
        return {"spacing": (own * np.array([1.6, 0.7, 0.9], np.float32))[None], "centre": near_a_corner[None]}
    nowhere, beside = np.full(3, np.nan, np.float32), middle + np.array([1, -2.5, 0.25], np.float32)
    return {"spacing": np.stack([nowhere, own]), "centre": np.stack([nowhere, beside])}


def synthetic(contract: InputContract, count: int, size: tuple[int, ...], wide: bool = False) -> NDArray[np.float32]:
    """Raw scans (count, *size), colour images (count, *size, 3), that the contract allows; always the same.

    wide: grey values of 16 bits instead of 8, CT numbers beyond the window.  Volumes show a vessel, images a chest.
    """
    channels = contract.channels
    if len(size) == 3:
        drawn = phantoms.vessel3d(splits={"golden": count * channels})["golden_images"]
    else:
        drawn = phantoms.chest_xray(splits={"golden": count * channels})["golden_images"]
    for axis, length in enumerate(size, start=1):
        drawn = drawn.take(np.arange(length) * drawn.shape[axis] // length, axis)
    if contract.values == "mask":
        return np.where(drawn > 127, np.float32(255), np.float32(0))
    # A vessel has two values: brighter from row to row, so that intensities matter too.
    shades = drawn * np.linspace(0.5, 1, size[-2])[:, None] if len(size) == 3 else drawn.astype(np.float64)
    if contract.window is not None:
        low, high = contract.window
        beyond = (high - low) / 4 if wide else 0
        shades = low - beyond + shades / 255 * (high - low + 2 * beyond)
    elif wide:
        shades = shades * 257
    scan = shades.round().astype(np.float32)
    return np.moveaxis(scan.reshape(count, channels, *size), 1, -1) if channels > 1 else scan


def pack(arrays: dict[str, NDArray]) -> bytes:
    """The arrays as a deflated ``.npz`` file, the same bytes every time: written to memory, it holds no time."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def verify(model: bytes, packed: bytes) -> dict[str, float]:
    """Run a file that reads whole scans with ONNX Runtime and return the largest difference of each output, both cases
    together; that of ``ood`` is relative where the score exceeds 1.

    Raises LiquidLensError if the golden file lacks an output of the model, or has it in another shape.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = [value.name for value in session.get_inputs()]
    worst = dict.fromkeys(names, 0.0)
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        for suffix in ("", OTHER):
            feed = {name: arrays[f"{name}{suffix}"] for name in inputs}
            for name, found in zip(names, session.run(names, feed), strict=True):
                key = f"{name}{suffix}"
                if key not in arrays or arrays[key].shape != found.shape:
                    raise LiquidLensError(f"The golden file is another model's: no {key} of shape {found.shape}.")
                difference = np.abs(found - arrays[key])
                if name == "ood":
                    difference /= np.maximum(1, arrays[key])
                worst[name] = float(np.maximum(worst[name], difference.max()))  # keeps NaN
    return worst
