"""Every format a dataset is published in, on small files of that format."""

import gzip
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from liquidlens.errors import LiquidLensError
from liquidlens.train import datasets
from liquidlens.train.datasets import places
from liquidlens.train.datasets.dataset import md5_of_file

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _only_this_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("LIQUIDLENS_DATA", raising=False)
    monkeypatch.setattr(places, "DEFAULT_ROOT", str(tmp_path))


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Takes the files in the folder for the official ones of a dataset."""

    def publish(name):
        source = datasets.SOURCES[name]
        containers = tuple(
            replace(
                container,
                files=tuple(
                    replace(file, md5=file.md5 and md5_of_file(tmp_path / file.name))
                    for file in container.files
                    if (tmp_path / file.name).is_file()
                ),
            )
            for container in source.containers
        )
        present = tuple(container for container in containers if container.files)
        monkeypatch.setitem(datasets.SOURCES, name, replace(source, containers=present, content_md5=None))

    return publish


def pixels(*shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def medmnist_arrays(shape, labels, count=4):
    return {
        f"{split}_{kind}": array
        for split in datasets.SPLITS
        for kind, array in (("images", pixels(count, *shape)), ("labels", np.asarray(labels, np.uint8)))
    }


@pytest.mark.parametrize(
    ("name", "shape", "channels"),
    [
        ("breastmnist", (28, 28), 1),
        ("bloodmnist", (28, 28, 3), 3),
        ("retinamnist_224", (224, 224, 3), 3),
        ("synapsemnist3d_64", (64, 64, 64), 1),
    ],
)
def test_medmnist(tmp_path, publish, name, shape, channels):
    arrays = medmnist_arrays(shape, [[0], [1], [1], [0]])
    np.savez(tmp_path / f"{name}.npz", **arrays)
    publish(name)
    dataset = datasets.load(name)
    assert np.array_equal(dataset.scans["val"], arrays["val_images"])
    assert dataset.labels["val"].tolist() == [0, 1, 1, 0]
    assert dataset.labels["val"].dtype == np.int64
    assert (dataset.channels, dataset.values, dataset.task) == (channels, "grey", "classes")
    assert dataset.md5 == md5_of_file(tmp_path / f"{name}.npz")


def test_medmnist_with_several_findings(tmp_path, publish):
    labels = rng.integers(0, 2, (4, 14))
    np.savez(tmp_path / "chestmnist.npz", **medmnist_arrays((28, 28), labels))
    publish("chestmnist")
    dataset = datasets.load("chestmnist")
    assert dataset.task == "multi-label"
    assert dataset.labels["test"].dtype == np.float32
    assert np.array_equal(dataset.labels["test"], labels)
    assert len(dataset.label_names) == 14


def test_a_label_out_of_range_is_named(tmp_path, publish):
    np.savez(tmp_path / "breastmnist.npz", **medmnist_arrays((28, 28), [[0], [1], [1], [7]]))
    publish("breastmnist")
    with pytest.raises(LiquidLensError, match="breastmnist: item 3 of train has the label 7; the classes are 0 to 1"):
        datasets.load("breastmnist")


@pytest.mark.parametrize("content", [b"", b"no archive", {"train_images": pixels(2, 28, 28)}, {"x": [{}]}])
def test_what_is_no_medmnist_file(tmp_path, publish, content):
    path = tmp_path / "breastmnist.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **{key: np.array(value) for key, value in content.items()})
    publish("breastmnist")
    with pytest.raises(LiquidLensError, match=r"breastmnist\.npz cannot be read as a file of breastmnist"):
        datasets.load("breastmnist")


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")  # fmt: skip # noqa: E501


@pytest.fixture
def digits():
    return (
        pixels(50, 28, 28),
        np.arange(50, dtype=np.uint8) % 10,
        pixels(20, 28, 28),
        np.arange(20, dtype=np.uint8) % 10,
    )


def test_mnist_is_the_same_dataset_from_either_container(tmp_path, publish, digits):
    np.savez(tmp_path / "mnist.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), digits, strict=True)))
    publish("mnist")
    keras = datasets.load("mnist")
    (tmp_path / "mnist.npz").unlink()
    (tmp_path / "fashionmnist").mkdir()
    for name, array in zip(IDX, digits, strict=True):
        (tmp_path / "fashionmnist" / name).write_bytes(gzip.compress(idx(array)))
    publish("fashionmnist")
    official = datasets.load("fashionmnist")
    assert keras.md5 == official.md5
    for dataset in (keras, official):
        assert np.array_equal(dataset.scans["val"], digits[0][:10])  # the first fifth of a small set
        assert np.array_equal(dataset.scans["train"], digits[0][10:])
        assert np.array_equal(dataset.scans["test"], digits[2])
        assert np.array_equal(dataset.labels["train"], digits[1][10:])
    assert keras.normalisation == (0.1307, 0.3081)
    assert official.normalisation is None


def test_idx_files_that_are_damaged(tmp_path, publish, digits):
    (tmp_path / "fashionmnist").mkdir()
    for name, array in zip(IDX, digits, strict=True):
        (tmp_path / "fashionmnist" / name).write_bytes(gzip.compress(idx(array)))
    path = tmp_path / "fashionmnist" / IDX[0]
    for content in (path.read_bytes()[:-200], b"no gzip", gzip.compress(idx(digits[0])[:-5]), gzip.compress(b"\1\2")):
        path.write_bytes(content)
        publish("fashionmnist")
        with pytest.raises(LiquidLensError, match="cannot be read as a file of fashionmnist"):
            datasets.load("fashionmnist")


def test_another_mnist_is_refused(tmp_path, digits):
    np.savez(tmp_path / "mnist.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), digits, strict=True)))
    with pytest.raises(LiquidLensError, match=r"mnist\.npz does not hold the official mnist"):
        datasets.load("mnist")


def cifar_archive(path, batches):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_cifar10(tmp_path, publish):
    images, labels = pixels(60, 32, 32, 3), rng.integers(0, 10, 60, dtype=np.uint8)
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)]
    names = [*(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)), "cifar-10-batches-bin/test_batch.bin"]
    batches = {name: b"".join(records[10 * i : 10 * i + 10]) for i, name in enumerate(names)}
    cifar_archive(tmp_path / "cifar-10-binary.tar.gz", {"../evil.txt": b"out of the folder", **batches})
    publish("cifar10")
    dataset = datasets.load("cifar10")
    assert np.array_equal(np.concatenate([dataset.scans[s] for s in ("val", "train", "test")]), images)
    assert np.array_equal(np.concatenate([dataset.labels[s] for s in ("val", "train", "test")]), labels)
    assert [len(dataset.scans[split]) for split in datasets.SPLITS] == [40, 10, 10]
    assert dataset.channels == 3
    assert not (tmp_path.parent / "evil.txt").exists()

    for broken in ({}, {name: content[:-1] for name, content in batches.items()}):
        cifar_archive(tmp_path / "cifar-10-binary.tar.gz", broken)
        publish("cifar10")
        with pytest.raises(LiquidLensError, match="cannot be read as a file of cifar10"):
            datasets.load("cifar10")


def jpegs(images):
    content = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG")
        content.append(buffer.getvalue())
    return np.frombuffer(b"".join(content), np.uint8), np.cumsum([0, *map(len, content)])


def test_jpegs_are_decoded_when_asked_for(tmp_path, publish):
    flat = np.arange(10, dtype=np.uint8)[:, None, None, None] * 20 + np.zeros((10, 32, 32, 3), np.uint8)
    content, offsets = jpegs(flat)
    arrays = {f"{split}_{key}": value for split in ("train", "test") for key, value in
              (("jpeg", content), ("offsets", offsets), ("labels", np.arange(10, dtype=np.uint8)))}  # fmt: skip
    np.savez(tmp_path / "cifar10_jpeg.npz", **arrays)
    publish("cifar10-jpeg")
    dataset = datasets.load("cifar10-jpeg")
    assert [len(dataset.scans[split]) for split in datasets.SPLITS] == [8, 2, 10]
    assert sorted(np.concatenate([dataset.labels["train"], dataset.labels["val"]])) == list(range(10))
    assert dataset.labels["val"].tolist() != [0, 1], "the file is sorted by class"
    for split in datasets.SPLITS:
        for scan, label in zip(dataset.scans[split], dataset.labels[split], strict=True):
            assert scan.shape == (32, 32, 3)
            assert abs(float(scan.mean()) - 20 * label) < 2
    assert len(dataset.scans["train"][2:5]) == 3


def test_chest_xrays(tmp_path, publish):
    content, offsets = jpegs(np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 8, 8, 3), np.uint8))
    labels, split = np.array([0, 1, 0, 1, 0, 1], np.uint8), np.array([2, 2, 0, 0, 1, 1], np.int8)
    np.savez(tmp_path / "kermany_cxr224_jpeg.npz", jpeg=content, offsets=offsets, labels=labels, split=split)
    publish("chestxray224")
    dataset = datasets.load("chestxray224")
    assert {split: [round(scan.mean() / 40) for scan in scans] for split, scans in dataset.scans.items()} == {
        "train": [2, 3],
        "val": [4, 5],
        "test": [0, 1],
    }
    assert dataset.scans["train"][0].shape == (8, 8)
    assert dataset.labels["train"].tolist() == [0, 1]


def test_lidc_is_in_hounsfield_units(tmp_path, publish):
    arrays = medmnist_arrays((3, 3, 3), [[0], [1], [1], [0]])
    arrays["train_images"][0, 0, 0, :2] = 0, 255
    np.savez(tmp_path / "lidc_nodule3d_28.npz", **arrays, train_diameter_mm=np.ones(4))
    publish("lidc-nodule3d")
    dataset = datasets.load("lidc-nodule3d")
    assert dataset.scans["train"][0, 0, 0, :2] == pytest.approx([-1000, 400])
    assert (dataset.values, dataset.window) == ("hu", (-1000, 400))
