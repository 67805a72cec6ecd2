"""Where datasets are found, and what happens where they are not."""

import shutil

import numpy as np
import pytest

from imaging import LiquidLensError
from train import datasets


@pytest.fixture(autouse=True)
def _no_other_places(monkeypatch, tmp_path):
    """Only the folders a test names are searched, and nothing can be downloaded."""
    monkeypatch.delenv("LIQUIDLENS_DATA", raising=False)
    monkeypatch.setattr(datasets, "DEFAULT_ROOT", str(tmp_path / "default"))
    for facts in datasets.INFO.values():
        for key in ("url", "url_64"):
            monkeypatch.setitem(facts, key, "http://127.0.0.1:9/nothing-listens-here.npz")


def test_official_files_have_the_published_splits(medmnist_root):
    vessel = datasets.load("vesselmnist3d", medmnist_root)
    assert {split: len(scans) for split, scans in vessel.scans.items()} == {"train": 1335, "val": 191, "test": 382}
    assert vessel.label_names == ("vessel", "aneurysm")
    assert vessel.labels["train"].sum() == 150
    assert vessel.values == "mask"
    adrenal = datasets.load("adrenalmnist3d", medmnist_root)
    assert [len(adrenal.scans[split]) for split in datasets.SPLITS] == [1188, 98, 298]
    assert datasets.load("vesselmnist3d", medmnist_root, size=64).scans["test"].shape == (382, 64, 64, 64)


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


def test_data_that_cannot_be_had():
    with pytest.raises(datasets.DataUnavailableError, match="phantom-vessel3d"):
        datasets.load("nodulemnist3d")


def test_unknown_names_and_folders():
    with pytest.raises(LiquidLensError, match="Did you mean vesselmnist3d"):
        datasets.load("vesselmnist")
    with pytest.raises(LiquidLensError, match="not a folder"):
        datasets.load("vesselmnist3d", "/nowhere/at/all")


def test_a_variable_that_names_no_folder_is_not_ignored(monkeypatch):
    monkeypatch.setenv("LIQUIDLENS_DATA", "/nowhere/at/all")
    with pytest.raises(LiquidLensError, match="LIQUIDLENS_DATA names /nowhere/at/all"):
        datasets.load("vesselmnist3d")


def test_without_a_home_folder(monkeypatch):
    monkeypatch.setattr(datasets, "DEFAULT_ROOT", None)
    with pytest.raises(datasets.DataUnavailableError):
        datasets.load("vesselmnist3d")


def test_phantoms_need_nothing():
    phantom = datasets.load("phantom-vessel3d")
    assert phantom.synthetic
    assert [len(phantom.labels[split]) for split in datasets.SPLITS] == [1000, 200, 300]
    assert phantom.labels["test"].dtype == np.int64
