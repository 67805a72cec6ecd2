"""Readers of the files that datasets are published in.  Nothing is unpickled, and nothing unpacked to disk.

Each reader takes the paths of its files and returns the whole dataset under MedMNIST's keys: ``train_images``,
``train_labels``, ``val_images``, ...  What is wrong with a file is raised as it comes; `train.datasets.load` makes a
sentence of it.
"""

import gzip
import io
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liquidlens.train.datasets.dataset import SPLITS, Decoded, Scans
from liquidlens.train.datasets.places import Arrays

HU = (-1000.0, 400.0)  # what the 8-bit values 0 and 255 of the LIDC file stand for


def read_medmnist(path: Path) -> Arrays:
    """An official MedMNIST file: ``train_images`` (n, rows, columns), (n, rows, columns, 3) or (n, slices, rows,
    columns), ``train_labels`` (n, 1) or (n, findings), ..., all uint8."""
    arrays = _read_npz(path)
    return {f"{split}_{kind}": arrays[f"{split}_{kind}"] for split in SPLITS for kind in ("images", "labels")}


def read_lidc(path: Path) -> Arrays:
    """MedMNIST's schema, with Hounsfield units -1000..400 stored as 0..255: this maps them back, to float32."""
    arrays = dict(read_medmnist(path))
    scale = np.float32((HU[1] - HU[0]) / 255)
    for split in SPLITS:
        arrays[f"{split}_images"] = np.asarray(arrays[f"{split}_images"], np.float32) * scale + np.float32(HU[0])
    return arrays


def read_xy(path: Path) -> Arrays:
    """Keras' schema: ``x_train``, ``y_train``, ``x_test``, ``y_test``."""
    arrays = _read_npz(path)
    return _hold_out(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"])


def read_idx(*paths: Path) -> Arrays:
    """MNIST's own four files: training images and labels, test images and labels."""
    train_images, train_labels, test_images, test_labels = (_idx(gzip.decompress(path.read_bytes())) for path in paths)
    return _hold_out(train_images, train_labels, test_images, test_labels)


def read_cifar10(path: Path) -> Arrays:
    """CIFAR-10's binary version: a label and 3 x 32 x 32 pixels per image, in five training batches and a test batch.

    Only these six members are read, into memory: the archive's other paths are never looked at.
    """
    batches = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    with tarfile.open(path, "r:gz") as archive:
        members = [archive.extractfile(batch) for batch in batches]
        content = [np.frombuffer(member.read(), np.uint8).reshape(-1, 1 + 3 * 32 * 32) for member in members if member]
    if len(content) != len(batches):
        raise ValueError("a batch is no plain file")
    train, test = np.concatenate(content[:-1]), content[-1]
    return _hold_out(_cifar_images(train), train[:, 0], _cifar_images(test), test[:, 0])


def read_cifar10_jpeg(path: Path) -> Arrays:
    """CIFAR-10 as JPEGs.  This file is sorted by class, and the official one is not; so all are shuffled, the same
    way every time: the first training images become validation images, and kth-2021 averages over batches of tests."""
    arrays = _read_npz(path)
    images, labels = {}, {}
    for split in ("train", "test"):
        jpegs = _jpegs(arrays[f"{split}_jpeg"], arrays[f"{split}_offsets"])
        order = np.random.default_rng(0).permutation(len(jpegs))
        images[split] = Decoded([jpegs[i] for i in order], _decode_colour)
        labels[split] = arrays[f"{split}_labels"][order]
    return _hold_out(images["train"], labels["train"], images["test"], labels["test"])


def read_chest_xrays(path: Path) -> Arrays:
    """Kermany's chest X-rays as JPEGs; ``split`` 0, 1, 2 is PneumoniaMNIST's train, val, test."""
    arrays = _read_npz(path)
    images = _jpegs(arrays["jpeg"], arrays["offsets"])
    found: dict[str, Scans] = {}
    for which, split in enumerate(SPLITS):
        members = np.flatnonzero(arrays["split"] == which)
        found[f"{split}_images"] = Decoded([images[i] for i in members], _decode_grey)
        found[f"{split}_labels"] = arrays["labels"][members]
    return found


def _read_npz(path: Path) -> dict[str, NDArray]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _hold_out(train_images, train_labels: NDArray, test_images, test_labels: NDArray) -> Arrays:
    """The published test set, and the first training images as validation set: 10,000 as tum-2018 has it, of small
    samples a fifth."""
    held = min(10_000, len(train_images) // 5)
    return {
        "train_images": train_images[held:],
        "train_labels": train_labels[held:],
        "val_images": train_images[:held],
        "val_labels": train_labels[:held],
        "test_images": test_images,
        "test_labels": test_labels,
    }


def _idx(content: bytes) -> NDArray[np.uint8]:
    """An array in the IDX format: two zeros, the type (8 is uint8), the number of axes, their lengths, the values."""
    if content[:3] != b"\0\0\x08":
        raise ValueError("no IDX file of bytes")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(tuple(map(int, shape))).copy()


def _cifar_images(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, rows, columns, 3) from records of a label and the red, green and blue plane."""
    return np.ascontiguousarray(batch[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _jpegs(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[bytes]:
    return [content[start:end].tobytes() for start, end in pairwise(offsets)]


def _decode_grey(jpeg: bytes) -> NDArray[np.uint8]:
    return _decode(jpeg, "L")


def _decode_colour(jpeg: bytes) -> NDArray[np.uint8]:
    return _decode(jpeg, "RGB")


def _decode(jpeg: bytes, mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return np.array(image.convert(mode))
