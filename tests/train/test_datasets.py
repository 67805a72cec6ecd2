"""Where datasets are found, and what happens where they are not."""

import functools
import http.server
import shutil
import threading
from dataclasses import replace

import numpy as np
import pooch
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.phantoms.chest import SPLITS as CHESTS
from liquidlens.imaging.phantoms.pose import SPLITS as POSES
from liquidlens.imaging.phantoms.vessel import SPLITS as VESSELS
from liquidlens.train import datasets
from liquidlens.train.datasets import places
from liquidlens.train.datasets.dataset import md5_of_file


@pytest.fixture(autouse=True)
def _no_other_places(monkeypatch, tmp_path):
    """Only the folders a test names are searched, and nothing can be downloaded."""

    def offline(url, **_):
        raise ConnectionError(url)

    monkeypatch.delenv("LIQUIDLENS_DATA", raising=False)
    monkeypatch.setattr(places, "DEFAULT_ROOT", str(tmp_path / "default"))
    monkeypatch.setattr(pooch, "retrieve", offline)


def load_or_skip(name, root):
    try:
        return datasets.load(name, root)
    except datasets.DataUnavailableError as error:
        pytest.skip(str(error))


def test_official_files_have_the_published_splits(medmnist_root):
    vessel = datasets.load("vesselmnist3d", medmnist_root)
    assert {split: len(scans) for split, scans in vessel.scans.items()} == {"train": 1335, "val": 191, "test": 382}
    assert vessel.label_names == ("vessel", "aneurysm")
    assert vessel.labels["train"].sum() == 150
    assert vessel.values == "mask"
    adrenal = datasets.load("adrenalmnist3d", medmnist_root)
    assert [len(adrenal.scans[split]) for split in datasets.SPLITS] == [1188, 98, 298]
    assert datasets.load("vesselmnist3d_64", medmnist_root).scans["test"].shape == (382, 64, 64, 64)


@pytest.mark.parametrize(
    ("name", "counts", "shape", "dtype", "positive"),
    [
        ("pneumoniamnist", [4708, 524, 624], (28, 28), np.uint8, 390),
        ("mnist", [50000, 10000, 10000], (28, 28), np.uint8, None),
        ("fashionmnist-sample", [800, 200, 1000], (28, 28), np.uint8, None),
        ("cifar10-jpeg", [40000, 10000, 10000], (32, 32, 3), np.uint8, None),
        ("chestxray224", [4709, 523, 624], (224, 224), np.uint8, 390),
        ("lidc-nodule3d", [433, 64, 133], (28, 28, 28), np.float32, 50),
    ],
)
def test_the_other_real_files(data_root, name, counts, shape, dtype, positive):
    dataset = load_or_skip(name, data_root)
    assert [len(dataset.scans[split]) for split in datasets.SPLITS] == counts
    scan = dataset.scans["test"][-1]
    assert scan.shape == shape
    assert scan.dtype == dtype
    if positive:
        assert dataset.labels["test"].sum() == positive
    for split in datasets.SPLITS:  # none of them is sorted by class, so that the first images are a fair sample
        assert set(dataset.labels[split]) == set(range(len(dataset.label_names)))
    if dataset.window:
        assert dataset.values == "hu"
        pixels = np.asarray(dataset.scans["train"])
        assert pixels.min() == -1000
        assert pixels.max() == pytest.approx(400)


def test_search_order(medmnist_root, monkeypatch, tmp_path):
    with pytest.raises(datasets.DataUnavailableError):
        datasets.load("adrenalmnist3d")
    default = tmp_path / "default"
    default.mkdir(exist_ok=True)
    shutil.copy(medmnist_root / "adrenalmnist3d.npz", default)
    datasets.load("adrenalmnist3d")  # found in medmnist's default folder

    broken = tmp_path / "variable" / "medmnist"
    broken.mkdir(parents=True)
    (broken / "adrenalmnist3d.npz").write_bytes(b"not the official file")
    monkeypatch.setenv("LIQUIDLENS_DATA", str(broken.parent))
    with pytest.raises(LiquidLensError, match="variable"):
        datasets.load("adrenalmnist3d")  # the variable comes before the default folder, and MD5 is checked
    datasets.load("adrenalmnist3d", medmnist_root)  # --data-root comes before the variable


def test_truncated_file_is_refused_by_its_md5(medmnist_root, tmp_path):
    content = (medmnist_root / "adrenalmnist3d.npz").read_bytes()
    (tmp_path / "adrenalmnist3d.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(LiquidLensError, match="is not the official adrenalmnist3d file"):
        datasets.load("adrenalmnist3d", tmp_path)


def test_data_that_cannot_be_had(monkeypatch, tmp_path):
    with pytest.raises(datasets.DataUnavailableError, match="phantom-vessel3d") as caught:
        datasets.load("nodulemnist3d", tmp_path)
    for part in (
        "nodulemnist3d.npz",
        str(tmp_path),
        str(tmp_path / "default"),
        "subfolders medmnist",
        "zenodo.org",
    ):
        assert part in str(caught.value)
    with pytest.raises(datasets.DataUnavailableError, match="pneumoniamnist_224 is the official download"):
        datasets.load("chestxray224")
    with pytest.raises(datasets.DataUnavailableError, match="phantom-cxr"):
        datasets.load("bloodmnist_224")


def test_unknown_names_and_folders():
    with pytest.raises(LiquidLensError, match="Did you mean vesselmnist3d"):
        datasets.load("vesselmnist")
    with pytest.raises(LiquidLensError, match="not a folder"):
        datasets.load("vesselmnist3d", "/nowhere/at/all")
    with pytest.raises(LiquidLensError, match="no image folder and no table /nowhere/at/all"):
        datasets.load("/nowhere/at/all")


def test_a_variable_that_names_no_folder_is_not_ignored(monkeypatch):
    monkeypatch.setenv("LIQUIDLENS_DATA", "/nowhere/at/all")
    with pytest.raises(LiquidLensError, match="LIQUIDLENS_DATA names /nowhere/at/all"):
        datasets.load("vesselmnist3d")


def test_without_a_home_folder(monkeypatch):
    monkeypatch.setattr(places, "DEFAULT_ROOT", None)
    with pytest.raises(datasets.DataUnavailableError, match="no folder at all"):
        datasets.load("vesselmnist3d")


@pytest.fixture
def server(tmp_path):
    """The address of a folder that is served over HTTP, and the folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_download(server, monkeypatch, tmp_path):
    monkeypatch.undo()  # of what the other tests must not do
    monkeypatch.delenv("LIQUIDLENS_DATA", raising=False)
    monkeypatch.setattr(places, "DEFAULT_ROOT", str(tmp_path / "default"))
    address, folder = server
    images, labels = np.zeros((2, 28, 28), np.uint8), np.array([[0], [1]], np.uint8)
    arrays = {f"{split}_{kind}": a for split in datasets.SPLITS for kind, a in (("images", images), ("labels", labels))}
    np.savez(folder / "breastmnist.npz", **arrays)
    source = datasets.SOURCES["breastmnist"]

    def published(md5):
        file = places.File("breastmnist.npz", md5, f"{address}/breastmnist.npz?download=1")
        container = replace(source.containers[0], files=(file,))
        monkeypatch.setitem(datasets.SOURCES, "breastmnist", replace(source, containers=(container,)))

    published("0" * 32)
    with pytest.raises(datasets.DataUnavailableError, match="could not be downloaded"):
        datasets.load("breastmnist")  # a file that was changed on its way is not kept
    published(md5_of_file(folder / "breastmnist.npz"))
    assert datasets.load("breastmnist").labels["test"].tolist() == [0, 1]
    assert (tmp_path / "default" / "breastmnist.npz").is_file()


def test_sources_say_where_everything_is(tmp_path):
    (tmp_path / "medmnist").mkdir()
    (tmp_path / "medmnist" / "vesselmnist3d.npz").touch()
    found = {listing.name: listing for listing in datasets.sources(tmp_path)}
    assert list(found) == datasets.names()
    assert found["vesselmnist3d"].where == str(tmp_path / "medmnist" / "vesselmnist3d.npz")
    assert found["vesselmnist3d"].size == "28 x 28 x 28"
    assert found["pathmnist_224"].where == "download"
    assert found["pathmnist_224"].size == "224 x 224, colour"
    assert found["chestxray224"].where == "not on this machine"
    assert found["phantom-cxr"].where == "made on the fly"
    assert all(listing.licence and listing.label_names for listing in found.values())


def test_names():
    names = datasets.names()
    assert len(names) == len(set(names)) == 12 * 4 + 6 * 2 + 12
    assert {"octmnist_128", "synapsemnist3d_64", "mnist", "cifar10", datasets.PHANTOM} <= set(names)
    masks = {name for name, source in datasets.SOURCES.items() if source.values == "mask"}
    assert masks == {
        "adrenalmnist3d", "adrenalmnist3d_64", "vesselmnist3d", "vesselmnist3d_64", "phantom-vessel3d"
    }  # fmt: skip


@pytest.fixture
def few_phantoms(monkeypatch):
    """Phantoms of two items per split, which take no time."""
    for name, source in list(datasets.SOURCES.items()):
        if source.make:
            make = functools.partial(source.make, splits=dict.fromkeys(datasets.SPLITS, 2))
            monkeypatch.setitem(datasets.SOURCES, name, replace(source, make=make))
    datasets._make.cache_clear()
    yield
    datasets._make.cache_clear()


@pytest.mark.usefixtures("few_phantoms")
@pytest.mark.parametrize(
    ("name", "shape", "values"),
    [
        ("phantom-vessel3d", (28, 28, 28), "mask"),
        ("phantom-cxr", (128, 128), "grey"),
        ("phantom-pose", (1024, 7, 7), "features"),
        ("phantom-pose-aux1", (512, 14, 14), "features"),
        ("phantom-pose-aux2", (528, 14, 14), "features"),
    ],
)
def test_phantoms_need_nothing(name, shape, values):
    phantom = datasets.load(name)
    assert phantom.synthetic
    assert phantom.values == values
    assert phantom.scans["test"].shape == (2, *shape)
    pose = values == "features"
    assert phantom.labels["test"].shape == ((2, 7) if pose else (2,))
    assert phantom.labels["test"].dtype == (np.float32 if pose else np.int64)
    assert phantom.label_names == datasets.POSE if pose else len(phantom.label_names) == 2
    assert datasets.load(name) is phantom, "they are made once"


def test_sizes_of_the_phantoms():
    assert list(VESSELS.values()) == [1000, 200, 300]
    assert list(CHESTS.values()) == [600, 150, 200]
    assert list(POSES.values()) == [400, 100, 100]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": [0, 1, 2]}, r"my-set: item 2 of train has the label 2; the classes are 0 to 1 \(no, yes\)"),
        ({"labels": [-1, 1, 1]}, "item 0 of train has the label -1"),
        ({"labels": [0, 1]}, "3 scans and 2 labels in train"),
        ({"labels": [], "scans": []}, "no scans in the split train"),
        ({"task": "multi-label"}, "not 2 per scan"),
    ],
)
def test_labels_must_belong_to_scans_and_classes(change, sentence):
    with pytest.raises(LiquidLensError, match=sentence):
        datasets.Dataset(
            name="my-set",
            label_names=("no", "yes"),
            values="grey",
            md5="",
            scans={"train": np.zeros((len(change.get("scans", "abc")), 4, 4), np.uint8)},
            labels={"train": np.array(change.get("labels", [0, 1, 1]), np.int64)},
            task=change.get("task", "classes"),
        )
