"""Shared fixtures: real data where there is any, and one small trained run with its bundle."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from liquidlens import export, train
from liquidlens.imaging.phantoms.nodules import write_lung_nodules
from liquidlens.manifest import KEY, metadata
from liquidlens.train.datasets import Reading
from liquidlens.train.run import RunFolder

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Shells let what they start in the background ignore Ctrl-C; it would be passed on to the commands under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Of a dataset's scans, enough to train on where little depends on what is learnt.
FEW = {"subset": 128, "validation_subset": 48, "test_subset": 48}


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data; tests that need it are skipped, and say so, where there is none."""
    root = os.environ.get("LIQUIDLENS_DATA")
    if not root:
        pytest.skip("needs real data: set LIQUIDLENS_DATA")
    return Path(root)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not the user's own cache: what an earlier version of the code left there must not answer a test."""
    os.environ["LIQUIDLENS_CACHE"] = str(folder := tmp_path_factory.mktemp("cache"))
    return folder


@pytest.fixture(scope="session")
def medmnist_root(data_root: Path) -> Path:
    """The folder with MedMNIST files: the data root or its subfolder, as `train.datasets` looks for them."""
    needed = ("adrenalmnist3d.npz", "vesselmnist3d.npz", "vesselmnist3d_64.npz")
    for folder in (data_root, data_root / "medmnist"):
        if all((folder / name).is_file() for name in needed):
            return folder
    pytest.skip(f"needs {', '.join(needed)} in {data_root}")


@pytest.fixture(scope="session")
def liquid_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A liquid model trained on phantoms for two epochs: a real run, of little use."""
    runs = tmp_path_factory.mktemp("runs")
    changes = {"max_epochs": 2}
    return train.train("LiqExp1N2", "phantom-vessel3d", "quick", changes=changes, runs=runs, progress=False)


@pytest.fixture(scope="session")
def liquid_bundle(liquid_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> export.Bundle:
    """Its fp32 files, in all profiles."""
    options = export.Options(profiles=("unrolled", "step"), precisions=())
    return export.export(liquid_run.path, tmp_path_factory.mktemp("bundle"), options)


@pytest.fixture(scope="session")
def nodule_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 generated lung nodules as NIfTI, with their masks, in a table."""
    return write_lung_nodules(tmp_path_factory.mktemp("nodules") / "set", 24)


@pytest.fixture(scope="session")
def nodule_run(nodule_table: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A liquid model of a field of view of 34 mm around them, trained for an epoch."""
    return train.train(
        "LiqExp1N2",
        str(nodule_table),
        "quick",
        changes={"max_epochs": 1},
        runs=tmp_path_factory.mktemp("runs"),
        progress=False,
        reading=Reading(values="hu", window=(-1000, 400), spacing=(1.2, 1.2, 1.2)),
    )


@pytest.fixture(scope="session")
def nodule_bundle(nodule_run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> export.Bundle:
    """Its fp32 files."""
    options = export.Options(profiles=("unrolled",), precisions=())
    return export.export(nodule_run.path, tmp_path_factory.mktemp("bundle"), options)


def changed_metadata(bundle: export.Bundle, change: Callable[[dict], dict[str, str]]) -> onnx.ModelProto:
    """The bundle's model with other metadata: what `change` makes of its manifest's JSON, with the right checksum."""
    proto = onnx.load(bundle.model)
    manifest = json.loads(proto.metadata_props[0].value)
    del proto.metadata_props[:]
    changed = change(manifest)
    onnx.helper.set_model_props(proto, metadata(changed[KEY]) if KEY in changed else changed)
    return proto
