"""Which scans a model may judge, by its contract and by what it was trained on; and which model suits a scan best."""

import json

import numpy as np
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.manifest import KEY, TRAINED_ON, InputContract, Manifest, TrainedOn
from liquidlens.serve.predict import Predictor, fitting
from liquidlens.train import datasets

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.float32)
VOLUME = np.random.default_rng(0).integers(-1000, 400, (9, 30, 40)).astype(np.float32)
SHAPE = (VOLUME > 0).astype(np.float32)


def manifest(name: str) -> Manifest:
    """A pretrained model's, with what its dataset says of its scans."""
    found = Predictor(name).manifest
    return found.model_copy(update={"trained_on": datasets.trained_on(found.provenance.dataset)})


@pytest.fixture(scope="module")
def manifests() -> dict[str, Manifest]:
    return {name: manifest(name) for name in ("adrenal", "chest-xray", "nodule", "vessel")}


@pytest.mark.parametrize(
    ("name", "scan", "sentence"),
    [
        (
            "chest-xray",
            Scan(IMAGE, modality="CT"),
            "on CR or DX or RG of the chest, and this is of modality CT",
        ),
        ("chest-xray", Scan(IMAGE, modality="MR"), "and this is of modality MR"),
        ("adrenal", Scan(VOLUME, modality="CT", units="HU"), "on SEG of the adrenal gland, and this is of modality CT"),
        ("nodule", Scan(VOLUME, modality="MR"), "was trained on CT of the chest, and this is of modality MR"),
        ("nodule", Scan(VOLUME, modality="CT"), "and this is a CT in other units"),
        ("nodule", Scan(IMAGE, modality="CT"), "reads a volume, and this is a 2D image"),
    ],
)
def test_a_scan_of_another_kind_is_refused_with_both_named(manifests, name, scan, sentence):
    assert sentence in fitting.refusal(manifests[name], scan)


@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "OT", None])
def test_a_scan_of_the_kind_and_one_that_says_nothing_are_read(manifests, modality):
    scan = Scan(IMAGE, modality=modality)
    assert fitting.refusal(manifests["chest-xray"], scan) is None
    noted = any("does not say what kind of scan it is" in note for note in fitting.notes(manifests["chest-xray"], scan))
    assert noted == (modality in ("OT", None))


def test_what_is_no_shape_is_noted_where_shapes_are_read(manifests):
    assert fitting.notes(manifests["vessel"], Scan(SHAPE)) == ()
    assert "more than two values" in fitting.notes(manifests["vessel"], Scan(VOLUME))[0]


@pytest.mark.parametrize(
    ("scan", "names"),
    [
        (Scan(VOLUME, modality="CT", units="HU"), ["nodule"]),
        (Scan(VOLUME), ["nodule", "adrenal", "vessel"]),
        (Scan(SHAPE), ["adrenal", "vessel", "nodule"]),
        (Scan(SHAPE, modality="SEG"), ["adrenal", "vessel"]),
        (Scan(IMAGE), ["chest-xray"]),
        (Scan(IMAGE, modality="CT", units="HU"), []),
    ],
)
def test_the_models_that_read_a_scan_are_offered_best_first(manifests, scan, names):
    assert fitting.offered(manifests, scan) == names


@pytest.mark.parametrize(
    ("contract", "modalities", "kind"),
    [
        (InputContract("grey", (28, 28, 28)), ("MR",), "MR"),
        (InputContract("relative", (28, 28, 28)), (), "Volume"),
        (InputContract("hu", (28, 28, 28), window=(-1000, 400)), (), "CT"),
        (InputContract("grey", (28, 28)), ("CT",), "CT slice"),
        (InputContract("grey", (28, 28, 28)), ("US",), "Ultrasound volume"),
        (InputContract("grey", (28, 28), channels=3), ("XC", "ES"), "Photograph"),
        (InputContract("grey", (28, 28), channels=3), (), "Colour image"),
        (InputContract("grey", (28, 28)), (), "Image"),
        (InputContract("grey", (28, 28)), ("PT", "NM"), "PT or NM"),
        (InputContract("mask", (28, 28, 28)), (), "Segmented shape"),
    ],
)
def test_what_a_model_reads_has_a_name(manifests, contract, modalities, kind):
    trained_on = TrainedOn(modalities=modalities) if modalities else None
    changed = manifests["adrenal"].model_copy(update={"input": contract, "trained_on": trained_on})
    assert fitting.kind(changed) == kind


def test_models_stand_together_by_what_they_read(manifests):
    assert fitting.by_kind(manifests) == {
        "X-ray": ["chest-xray"],
        "CT": ["nodule"],
        "Segmented shape": ["adrenal", "vessel"],
    }


def test_a_predictor_refuses_and_notes_so(manifests):
    predictor = Predictor("chest-xray")
    predictor.manifest = manifests["chest-xray"]
    with pytest.raises(
        LiquidLensError, match=r"slice\.dcm: .* was trained on CR or DX or RG of the chest, and this is of"
    ):
        predictor.predict(Scan(IMAGE, modality="CT"), "slice.dcm")
    assert "does not say what kind of scan it is" in predictor.predict(Scan(IMAGE)).notes[-1]


def test_what_a_model_was_trained_on_stands_beside_the_manifest(manifests):
    """Where readers that do not know it do not look; and it cannot be changed unseen."""
    found = manifests["chest-xray"]
    metadata = found.to_metadata()
    assert "trained_on" not in json.loads(metadata[KEY])
    assert Manifest.from_metadata(metadata) == found
    without = {key: value for key, value in metadata.items() if not key.startswith(TRAINED_ON)}
    assert Manifest.from_metadata(without).trained_on is None
    other = TrainedOn(modalities=("CT",)).model_dump_json()
    with pytest.raises(LiquidLensError, match="checksum differs"):
        Manifest.from_metadata(metadata | {TRAINED_ON: other})


def test_datasets_know_their_kind():
    assert datasets.trained_on("pneumoniamnist_224") == datasets.trained_on("chestxray224")
    assert datasets.trained_on("vesselmnist3d_64").modalities == ("SEG",)
    assert datasets.trained_on("lidc-nodule3d+held-out").modalities == ("CT",)
    assert datasets.trained_on("mnist") is None
    assert datasets.trained_on("folder:own") is None
