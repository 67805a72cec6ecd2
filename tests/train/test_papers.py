"""Real runs by the papers' recipes, short ones: what they leave is what the papers report."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from liquidlens import export, train
from liquidlens.commands.training import print_evaluation
from liquidlens.errors import LiquidLensError
from liquidlens.train import datasets, recipes
from liquidlens.train.loop import fit, module
from liquidlens.train.loop.prepare import prepare
from liquidlens.train.run import RunRecipe


def run(tmp_path, model, data, recipe=None, flags=(), size=None, seed=0, **changes):
    changes = {"max_epochs": 1, **changes}
    return train.train(model, data, recipe, seed, changes, flags, size, runs=tmp_path, skip_bad=False, progress=False)


#: Every dataset that needs a file, with a model of a paper that reads it.
@pytest.mark.parametrize(
    ("data", "model", "changes"),
    [
        ("vesselmnist3d", "CfCExp4N2", {}),
        ("adrenalmnist3d", "RNNExp5N5", {}),
        ("vesselmnist3d_64", "CNNExp4N1", {}),
        ("adrenalmnist3d_64", "CNNExp2N4", {}),
        ("lidc-nodule3d", "LiqExp5N1", {}),
        ("pneumoniamnist", "CRNet-NCP-y", {"subset": 32, "test_subset": 64}),
        ("chestxray224", "CRNet-NCP-z", {"subset": 8, "test_subset": 8}),
        ("mnist", "1MLP-LSTM", {"subset": 64}),
        ("mnist", "MNIST-CNN", {"subset": 500}),
        ("fashionmnist-sample", "CRNet-NCP-y-fashion", {"subset": 16, "augmentation": "none"}),
        ("cifar10-jpeg", "EQ2425", {"subset": 64, "test_subset": 256}),
    ],
)
def test_every_dataset_trains_a_model(data_root, tmp_path, data, model, changes):
    size = (64, 64) if data in ("chestxray224", "pneumoniamnist") else None
    folder = run(tmp_path, model, data, size=size, **{"subset": 64, **changes})
    figures = folder.metrics().best.test
    assert 0 <= figures["accuracy"] <= 1
    assert np.isfinite(figures["loss"])
    assert folder.recipe().dataset_md5 == datasets.load(data).md5


@pytest.mark.parametrize("model", ["PoseNet-LSTM-final", "PoseNet-aux1", "PoseNet-LSTM-aux2"])
def test_pose_heads_learn_from_the_synthetic_set(tmp_path, model):
    data = "phantom-pose" + ("" if model.endswith("final") else f"-{model[-4:]}")
    folder = run(tmp_path, model, data, "tum-2018-pose", max_epochs=4, subset=100, learning_rate=0.03)
    assert set(folder.metrics().best.test) == {"loss", "position_error", "orientation_error"}
    with (folder.path / "history.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]


def test_kth_2021_reports_the_mean_over_all_epochs_and_validates_on_the_test_set(tmp_path):
    folder = run(tmp_path, "EQ2425", "phantom-cxr", max_epochs=3, subset=64)
    assert folder.recipe().input.mean == 0.5
    assert folder.recipe().input.std == 1.0
    metrics = folder.metrics()
    with (folder.path / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    for column in ("train_recall", "val_recall"):
        mean = np.mean([float(row[column]) for row in history])
        assert metrics.mean_over_epochs[column] == pytest.approx(mean, rel=1e-4)
    assert metrics.best.val == metrics.best.test
    corrected = run(tmp_path, "EQ2425", "phantom-cxr", "kth-2021-corrected", subset=64)
    assert corrected.metrics().best.val != corrected.metrics().best.test

    data = datasets.load("phantom-cxr")
    published = folder.recipe().model_copy(update={"training": recipes.training("kth-2021")})
    inputs, labels = fit.splits(data, published)
    assert len(inputs["train"]) == 600 + 150, "it trains on what others validate on, too: first, as in the file"
    assert labels["train"][:150].tolist() == data.labels["val"].tolist()
    assert torch.equal(inputs["train"][:150], prepare(data.scans["val"], published.input))


def test_augmentation_sees_pixels_before_normalisation(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "jitter", lambda inputs, *_: seen.append((inputs.min(), inputs.max())) or inputs)
    run(tmp_path, "EQ2425", "phantom-cxr", "quick", subset=64, normalise=[0.5, 0.1])
    assert all(-1e-5 < low < 0.2 and 0.8 < high < 1 + 1e-5 for low, high in seen)


def test_a_folder_is_the_same_run_however_it_is_named(folder_of_images, tmp_path, monkeypatch):
    first = run(tmp_path, "EQ2425", str(folder_of_images), "quick")
    monkeypatch.chdir(folder_of_images)
    assert run(tmp_path, "EQ2425", ".", "quick") == first
    bundle = export.export(first.path, tmp_path / "bundle")
    assert bundle.manifest.provenance.dataset == "folder:images", "no path of this machine"


def test_unshuffled_batches_are_the_same_in_every_epoch(tmp_path, monkeypatch):
    seen = []

    def step(self, batch):
        seen.append(batch[0].sum().item())
        return original(self, batch)

    original = fit.TrainingModule.training_step
    monkeypatch.setattr(fit.TrainingModule, "training_step", step)
    run(tmp_path, "EQ2425", "phantom-cxr", max_epochs=2, subset=192)
    assert seen[:3] == seen[3:]
    seen.clear()
    run(tmp_path, "EQ2425", "phantom-cxr", "kth-2021-5c", max_epochs=2, subset=192)
    assert seen[:3] != seen[3:]


def test_tum_2018_tests_the_epoch_with_the_best_validation_accuracy(tmp_path):
    folder = run(tmp_path, "1MLP-FC-for-LSTM", "phantom-cxr", size=(28, 28), max_epochs=5, subset=200)
    with (folder.path / "history.csv").open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    metrics = folder.metrics()
    assert metrics.best_epoch == int(np.argmax(accuracies))
    assert metrics.best.val["accuracy"] == pytest.approx(max(accuracies))
    inputs, _ = fit.splits(datasets.load("phantom-cxr"), folder.recipe())
    assert len(inputs["train"]) == 200
    assert abs(inputs["train"].mean()) < 0.1, "normalised"
    assert inputs["train"].std() == pytest.approx(1, abs=0.1)


def test_random_initial_states_are_drawn_alike_in_every_evaluation(tmp_path):
    first, second = (
        run(tmp_path / name, "1MLP-LSTM", "phantom-cxr", size=(28, 28), subset=64).metrics() for name in "ab"
    )
    assert first.best == second.best


@pytest.fixture
def folder_of_images(tmp_path):
    """Two classes of ten patients, dark and bright."""
    rng = np.random.default_rng(0)
    for label, level in (("dark", 60), ("bright", 180)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for patient in range(10):
            for image in range(3):
                pixels = rng.normal(level, 20, (40 + patient, 44)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / label / f"patient{patient}_{image}.png")
    return tmp_path / "images"


def test_an_image_folder_trains_and_names_its_run(folder_of_images, tmp_path):
    folder = run(tmp_path, "EQ2425", str(folder_of_images), "quick", max_epochs=8, batch_size=8)
    assert folder.path.name == "images-EQ2425-quick+batch_size=8+max_epochs=8-seed0"
    assert folder.recipe().labels == ("bright", "dark")
    assert folder.metrics().best.test["accuracy"] > 0.9


def test_which_scans_a_run_used_stands_in_its_folder(folder_of_images, tmp_path):
    changes = {"max_epochs": 1, "validate_on_test": True, "subset": 8}
    folder = run(tmp_path, "MNIST-CNN", str(folder_of_images), "quick", **changes)
    dataset = datasets.load(str(folder_of_images))
    paths = {split: [] for split in ("train", "unused", "val", "test")}
    for row in csv.DictReader((folder.path / "split.csv").open()):
        paths[row["split"]].append(row["path"])
    trained = [origin.path for split in ("val", "train") for origin in dataset.origins[split]]
    assert len(paths["train"]) == 8
    assert sorted(paths["train"] + paths["unused"]) == sorted(trained)
    assert paths["val"] == []
    assert paths["test"] == [origin.path for origin in dataset.origins["test"]]


def test_findings_that_are_rare_have_figures_where_they_are_defined(tmp_path, capsys):
    """The last validation batch has none, no prediction says one, and one of them occurs in no test scan."""
    rng, rows = np.random.default_rng(0), ["path,patient,split,edema,fracture"]
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(tmp_path / f"{i}.png")
        split = "train" if i < 16 else "val" if i < 21 else "test"
        rows.append(f"{i}.png,{i},{split},{int(i in (0, 17, 22))},{int(i in (1, 18))}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    folder = run(tmp_path, "MNIST-CNN", str(tmp_path / "table.csv"), "quick", max_epochs=2, evaluation_batch_size=4)
    figures = folder.metrics()
    assert figures.best.val["recall_batch_mean"] == figures.best.val["recall"] == 0
    assert 0 <= figures.mean_over_epochs["val_recall"] <= 1
    print_evaluation(folder.path, as_json=True)

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)["figures"]
    assert found["AUC (fracture)"] == {"value": None, "low": None, "high": None}
    assert 0 <= found["AUC (edema)"]["value"] <= 1


def test_a_corrupt_image_is_named_and_skipped_only_when_asked(folder_of_images, tmp_path):
    (folder_of_images / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(LiquidLensError, match=r"dark/broken\.png"):
        run(tmp_path, "EQ2425", str(folder_of_images), "quick")
    options = {"changes": {"max_epochs": 1}, "runs": tmp_path, "progress": False}
    skipped = train.train("EQ2425", str(folder_of_images), "quick", skip_bad=True, **options).recipe()
    (folder_of_images / "dark" / "broken.png").unlink()
    assert skipped.dataset_md5 == datasets.load(str(folder_of_images)).md5, "as if it had not been there"


@pytest.mark.parametrize(
    ("model", "data", "recipe", "sentence"),
    [
        ("LiqExp1N2", "phantom-cxr", None, "LiqExp1N2 reads volumes, and phantom-cxr holds images"),
        ("EQ2425", "phantom-vessel3d", None, "EQ2425 reads images, and phantom-vessel3d holds volumes"),
        ("LiqExp1N2", "phantom-vessel3d", "tum-2018-pose", "tum-2018-pose does not fit phantom-vessel3d"),
        ("PoseNet-final", "phantom-pose", None, "tum-2018 does not fit phantom-pose; take tum-2018-pose"),
        ("EQ2425", "phantom-pose", "tum-2018-pose", "EQ2425 does not fit phantom-pose"),
        ("PoseNet-final", "phantom-pose-aux1", "tum-2018-pose", "reads feature maps of"),
        ("LiqExp1N2", "phantom-vessel3d", "truong-2022", "is for images, and phantom-vessel3d holds volumes"),
        ("LiqExp1N2", "phantom-vessel3d", "kth-2021", "The softmax of kth-2021 is for one of several classes"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, model, data, recipe, sentence):
    with pytest.raises(LiquidLensError, match=sentence):
        run(tmp_path, model, data, recipe)
    assert not list(tmp_path.iterdir())


def test_sizes_that_do_not_fit(tmp_path):
    with pytest.raises(LiquidLensError, match="cannot be trained on phantom-cxr: images of 8 x 8 pixels are too small"):
        run(tmp_path, "EQ2425", "phantom-cxr", size=(8, 8))


def test_names_of_runs_say_what_differs():
    data = datasets.load("phantom-vessel3d")
    resolve = RunRecipe.resolve
    settings = recipes.training("hse-2024", {"subset": 50, "max_epochs": 3})
    recipe = resolve("LSTMExp5N2", ("source_layout",), (32, 28, 28), data, "phantom-vessel3d", settings, 4)
    assert recipe.name == "phantom-vessel3d-LSTMExp5N2+source_layout@32x28x28-hse-2024+max_epochs=3+subset=50-seed4"
    torch.manual_seed(0)
    assert recipe.build()(torch.rand(2, 1, 32, 28, 28)).shape == (2, 1)
