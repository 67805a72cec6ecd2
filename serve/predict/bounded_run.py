"""Running a session: plainly on the CPU, with I/O binding on a GPU, and as a CUDA graph where the shape is fixed.

A CUDA graph is one run, recorded and replayed: hundreds of small kernels start with one call.  It reads and writes the
same memory each time, so it serves scans of one shape only; and ONNX Runtime records graphs without control flow only,
which is the profile ``unrolled``.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from liquidlens.serve.predict import devices

#: By name: ``scan``, and of a model with a spacing ``spacing`` and ``centre``.
Inputs = dict[str, NDArray[np.float32]]
Outputs = dict[str, NDArray[np.float32]]


def run(session: Any, names: Sequence[str], inputs: Inputs) -> Outputs:
    """The outputs `names` for a batch of scans.  On a GPU only these are copied back."""
    if session.get_providers()[0] == devices.CPU:
        return dict(zip(names, session.run(names, inputs), strict=True))
    return run_bound(session, names, inputs, "cuda")


def run_bound(session: Any, names: Sequence[str], inputs: Inputs, memory: str) -> Outputs:
    """`run` with inputs and outputs in the `memory` ``cuda`` or ``cpu``."""
    binding = session.io_binding()
    for name, values in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values, memory, 0))
    for name in names:
        binding.bind_output(name, memory)
    session.run_with_iobinding(binding)
    return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))


class Replay:
    """A session for scans of one shape, with its inputs and outputs at fixed places: on CUDA, a CUDA graph.

    All runs are made by one thread, as ONNX Runtime records a graph for each thread and a graph must not be replayed by
    two at once.  Raises LiquidLensError where the file's graph cannot be recorded.
    """

    def __init__(
        self, content: bytes, device: devices.Device, axes: Sequence[str | int], shape: Sequence[int], outputs: Outputs
    ):
        """axes: the names of the input's axes, as the session gives them, and their lengths, `shape`.  outputs: what
        any run of this shape gave; `run` gives the same ones."""
        sizes = {axis: length for axis, length in zip(axes, shape, strict=True) if isinstance(axis, str)}
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._thread.submit(self._open, content, device, sizes, tuple(shape), outputs).result()

    def run(self, scans: NDArray[np.float32]) -> Outputs:
        """The outputs for a batch of scans of this object's shape."""
        return self._thread.submit(self._run, scans).result()

    def _open(
        self, content: bytes, device: devices.Device, sizes: Mapping[str, int], shape: tuple[int, ...], outputs: Outputs
    ) -> None:
        memory = "cpu" if device == "cpu" else "cuda"
        options = {"enable_cuda_graph": "1"} if device == "cuda" else {}
        self._session = devices.open_session(content, device, sizes=sizes, provider_options=options)
        place = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._input = place(shape, np.float32, memory, 0)
        self._outputs = {name: place(value.shape, np.float32, memory, 0) for name, value in outputs.items()}
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input("scan", self._input)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def _run(self, scans: NDArray[np.float32]) -> Outputs:
        self._input.update_inplace(scans)
        self._session.run_with_iobinding(self._binding)
        return {name: np.array(value.numpy()) for name, value in self._outputs.items()}  # copies: the places stay ours
