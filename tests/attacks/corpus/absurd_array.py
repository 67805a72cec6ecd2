"""NumPy headers that make no sense, and pickles in the place of numbers.

The header is a Python literal and the content may be a pickle: they hope that the one is evaluated too deep, too long
or at all, and that the other is loaded.  A pickle here writes a file beside itself, which nothing may do.
"""

import io
import os
import pickle
import struct
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.attacks.attack import Attack, Refused


class Payload:
    """What writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def write(folder: Path, ending: str, content: bytes) -> Path:
    """The content as .npy, or as the only array of an .npz."""
    path = folder / f"scan{ending}"
    if ending == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("scan.npy", content)
    else:
        path.write_bytes(content)
    return path


def raw(literal: str, version: int, folder: Path) -> Path:
    length = struct.pack("<H" if version == 1 else "<L", len(literal) + 1)
    return write(folder, ".npy", b"\x93NUMPY" + bytes([version, 0]) + length + literal.encode() + b"\n" + bytes(64))


def objects(ending: str, folder: Path) -> Path:
    """An array of objects, which NumPy stores as a pickle."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(folder / "ran")], object))
    return write(folder, ending, buffer.getvalue())


def bare_pickle(ending: str, folder: Path) -> Path:
    """A pickle, which `numpy.load` takes as well."""
    (folder / f"scan{ending}").write_bytes(pickle.dumps(Payload(folder / "ran")))
    return folder / f"scan{ending}"


def pickle_in_npz(folder: Path) -> Path:
    return write(folder, ".npz", pickle.dumps(Payload(folder / "ran")))


def literal(shape: str = "(3, 3)", descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


BROKEN = Refused(r"scan\.np[yz]: (scan\.npy: )?not a readable NP[YZ] file")
HEADERS = {
    "brackets 9,000 deep": literal(shape="(" * 4_500 + ")" * 4_500),
    "minuses 9,000 deep": literal(shape="(" + "-" * 9_000 + "1,)"),
    "a number of 9,000 digits": literal(shape=f"({'9' * 9_000},)"),
    "negative axes": literal(shape="(-3, -3)"),
    "axes that are no numbers": literal(shape="(3.5, 'three')"),
    "1,000 axes": literal(shape="(" + "1," * 1_000 + ")"),
    "a call in the place of a type": literal(descr="__import__('os').system('touch ran')"),
    "a type of 1e9 bytes": literal(descr="'|V1000000000'"),
    "a type of types": literal(descr="[('a', '<f8', (100000, 100000))]"),
    "keys that are none": "{'descr': 1}",
    "no literal": "\0" * 100,
}
NUMBERS = Refused("pixels are numbers|not a readable NPY file|not enough memory to read it")
ATTACKS = (
    *(Attack(f"npy: {name}", "trusted", partial(raw, head, 1), NUMBERS) for name, head in HEADERS.items()),
    Attack("npy: version 255", "trusted", partial(raw, literal(), 255), Refused("this array holds records")),
    Attack("npy: version 2, header of 60 kB", "trusted", partial(raw, literal() + " " * 60_000, 2), BROKEN),
    Attack("npy of pickled objects", "trusted", partial(objects, ".npy"), Refused("this array holds object")),
    Attack("npz of pickled objects", "trusted", partial(objects, ".npz"), Refused("this array holds object")),
    Attack("npz of pickled objects, as a place", "volumes", partial(objects, ".npz"), Refused("holds object")),
    Attack("pickle named npy", "trusted", partial(bare_pickle, ".npy"), BROKEN),
    Attack("pickle named npz", "trusted", partial(bare_pickle, ".npz"), BROKEN),
    Attack("pickle named dcm", "trusted", partial(bare_pickle, ".dcm"), Refused("holds no image|not a readable DICOM")),
    Attack("pickle in npz", "trusted", pickle_in_npz, BROKEN),
)
