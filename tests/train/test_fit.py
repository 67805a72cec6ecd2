"""Training runs: what they leave, that they resume exactly, and what is refused."""

import csv
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from liquidlens import train
from liquidlens.errors import LiquidLensError
from liquidlens.train.loop import fit, initialise, precision
from liquidlens.train.loop.callbacks import Recorder
from liquidlens.train.run import RunFolder
from tests.conftest import FEW

MODEL, DATA = "CNNExp4N1", "phantom-vessel3d"


def run(runs, epochs=3, recipe="hse-2024", seed=0, model=MODEL, data=DATA, **changes):
    changes = {"max_epochs": epochs, **FEW, **changes}
    return train.train(model, data, recipe, seed, changes=changes, runs=runs, progress=False)


def test_the_run_folder_is_complete_and_plain(liquid_run):
    assert sorted(path.name for path in liquid_run.path.iterdir()) == [
        "history.csv",
        "metrics.json",
        "recipe.json",
        "weights-last.safetensors",
        "weights.safetensors",
    ]
    recipe = json.loads((liquid_run.path / "recipe.json").read_text())
    assert recipe["model"] == "LiqExp1N2"
    assert recipe["training"]["max_epochs"] == 2
    assert recipe["versions"]["torch"]
    history = list(csv.DictReader((liquid_run.path / "history.csv").open()))
    assert [row["epoch"] for row in history] == ["0", "1"]
    metrics = liquid_run.metrics()
    assert metrics.best.val["loss"] == pytest.approx(min(float(row["val_loss"]) for row in history), rel=1e-4), (
        "weights.safetensors holds the epoch with the lowest validation loss"
    )
    assert metrics.last.val["loss"] == pytest.approx(float(history[-1]["val_loss"]), rel=1e-4)


def test_the_loss_of_a_weighted_training_is_the_one_that_chose_its_weights(tmp_path):
    folder = run(tmp_path, recipe="quick", class_weights="balanced")
    history = list(csv.DictReader((folder.path / "history.csv").open()))
    losses = [float(row["val_loss"]) for row in history]
    assert folder.metrics().best.val["loss"] == pytest.approx(min(losses), rel=1e-4)
    assert folder.metrics().last.val["loss"] == pytest.approx(losses[-1], rel=1e-4)


def test_bfloat16_on_a_processor_without_instructions_for_it_is_said_to_be_slow(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for processor in (
        {"architecture": "x86_64", "amx_bf16": True, "avx512_bf16": True},
        {"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": True},
        {"architecture": "aarch64"},
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=processor: found)
        assert not precision.notes("bf16")
    without = {"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: without)
    assert not precision.notes("float32")
    train.train(MODEL, DATA, "hse-2024", changes={"max_epochs": 1, "precision": "bf16", **FEW}, runs=tmp_path)
    assert "slower than float32" in capsys.readouterr().err
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not precision.notes("bf16")


def test_numbers_too_small_for_all_digits_are_zero_in_training_alone(tmp_path, monkeypatch):
    tiny, seen = torch.tensor(2.0**-126), []
    original = Recorder.on_train_epoch_start

    def look(self, trainer, module):
        seen.append((tiny / 2).item())
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_start", look)
    run(tmp_path, epochs=1)
    assert seen == [0]
    assert (tiny / 2).item() == 2.0**-127


def test_the_last_epoch_counts_where_the_recipe_says_so(tmp_path):
    by_loss, last = (run(tmp_path, learning_rate=0.01, select=select).metrics() for select in ("loss", "last"))
    assert by_loss.best_epoch < 2, "at this rate the loss rises in the last epoch"
    assert last.best_epoch == 2
    assert last.best == last.last == by_loss.last


@pytest.mark.parametrize("average", [0, 20])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, average):
    # With dropout: the random draws must go on where they stopped, too.
    how = {"model": "CNNExp3N1", "recipe": "quick", "average_steps": average}
    whole = run(tmp_path / "whole", **how)

    class PowerCutError(Exception):
        pass

    original = Recorder.on_train_epoch_start

    def cut(self, trainer, module):
        if trainer.current_epoch == 2:
            raise PowerCutError
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_start", cut)
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", **how)
    monkeypatch.undo()
    unfinished = RunFolder(tmp_path / "cut" / whole.path.name)
    assert unfinished.checkpoint.is_file()
    with pytest.raises(LiquidLensError, match="not a finished run"):
        unfinished.metrics()

    resumed = run(tmp_path / "cut", **how)
    for name in ("weights.safetensors", "weights-last.safetensors"):
        a, b = load_file(whole.path / name), load_file(resumed.path / name)
        assert all(torch.equal(a[key], b[key]) for key in a), name
    assert not unfinished.checkpoint.exists()
    assert [row["epoch"] for row in csv.DictReader((resumed.path / "history.csv").open())] == ["0", "1", "2"]


def test_a_run_that_had_stopped_early_is_not_trained_further(tmp_path, monkeypatch):
    """The power may also fail between the last epoch and metrics.json."""
    impatient = {"epochs": 30, "learning_rate": 0.05, "patience": 1, "tolerance": 0}
    whole = run(tmp_path / "whole", **impatient)
    assert whole.metrics().epochs < 30
    monkeypatch.setattr(fit, "_final_metrics", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "cut", **impatient)
    monkeypatch.undo()
    assert run(tmp_path / "cut", **impatient).metrics().epochs == whole.metrics().epochs


def test_a_damaged_checkpoint_is_named(liquid_run, tmp_path):
    copy = RunFolder(shutil.copytree(liquid_run.path, tmp_path / liquid_run.path.name))
    (copy.path / "metrics.json").unlink()
    copy.checkpoint.write_bytes(b"half a checkpoint")
    with pytest.raises(LiquidLensError, match=r"unfinished\.ckpt is damaged: remove"):
        train.train("LiqExp1N2", DATA, "quick", changes={"max_epochs": 2}, runs=tmp_path, progress=False)


def test_results_without_their_recipe_are_not_taken_for_a_run(liquid_run, tmp_path):
    copy = RunFolder(shutil.copytree(liquid_run.path, tmp_path / liquid_run.path.name))
    (copy.path / "recipe.json").unlink()
    with pytest.raises(LiquidLensError, match=r"it has no recipe\.json"):
        train.train("LiqExp1N2", DATA, "quick", changes={"max_epochs": 2}, runs=tmp_path, progress=False)


def test_a_finished_run_is_not_run_twice(liquid_run, monkeypatch):
    monkeypatch.setattr(fit, "_run_trainer", lambda *_: pytest.fail("it trained again"))
    again = train.train(
        "LiqExp1N2", DATA, "quick", changes={"max_epochs": 2}, runs=liquid_run.path.parent, progress=False
    )
    assert again == liquid_run


def test_a_folder_with_another_run_is_refused(liquid_run, tmp_path):
    other = RunFolder(shutil.copytree(liquid_run.path, tmp_path / liquid_run.path.name))
    recipe = json.loads((other.path / "recipe.json").read_text())
    (other.path / "recipe.json").write_text(json.dumps({**recipe, "dataset_md5": "another"}))
    with pytest.raises(LiquidLensError, match="holds another run: its dataset_md5 differs;"):
        train.train("LiqExp1N2", DATA, "quick", changes={"max_epochs": 2}, runs=tmp_path, progress=False)


def test_threads_are_a_part_of_a_run(liquid_run, tmp_path):
    """Noted in its recipe; who asks for none gets the run as it is, who asks for others is told."""
    copied = RunFolder(shutil.copytree(liquid_run.path, tmp_path / liquid_run.path.name))
    threads = copied.recipe().threads
    assert threads == torch.get_num_threads()

    def again(threads):
        how = {"changes": {"max_epochs": 2}, "runs": tmp_path, "progress": False, "threads": threads}
        return train.train("LiqExp1N2", DATA, "quick", **how).path

    assert again(None) == again(threads) == copied.path
    with pytest.raises(LiquidLensError, match="holds another run: its threads differs;"):
        again(threads + 1)


def test_the_seed_determines_the_weights(tmp_path):
    weights = [
        load_file(run(tmp_path / str(i), epochs=1, seed=seed).path / "weights.safetensors")
        for i, seed in enumerate((0, 0, 1))
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_weights_are_averaged_over_steps(tmp_path):
    """Over one step they are the weights themselves, over more the mean: normalisation's moments, too."""
    last, of_one, of_many = (
        load_file(run(tmp_path, epochs=1, average_steps=steps).path / "weights-last.safetensors")
        for steps in (0, 1, 1000)
    )
    assert all(torch.equal(of_one[key], last[key]) for key in last)
    assert all(not torch.equal(of_many[key], last[key]) for key in last if last[key].is_floating_point())


def test_teachers_are_learnt_from(tmp_path):
    teacher = run(tmp_path / ("f" * 200), epochs=2)  # which is a part of its pupils' names
    inputs = torch.rand(16, 1, 28, 28, 28)
    wanted = teacher.load_model("best")(inputs).sigmoid()
    how = {"epochs": 3, "seed": 1, "learning_rate": 3e-3, "teachers": [str(teacher.path)]}
    little, much = (run(tmp_path, **how, teaching=share).load_model("last")(inputs).sigmoid() for share in (1e-3, 1.0))
    assert (much - wanted).abs().mean() < (little - wanted).abs().mean()
    with pytest.raises(LiquidLensError, match="cannot teach LiquidLens-S: its input differ from"):
        train.train("LiquidLens-S", DATA, size=(24, 24, 24), changes={"teachers": [str(teacher.path)]}, runs=tmp_path)


def test_unknown_names(tmp_path):
    with pytest.raises(LiquidLensError, match="Did you mean CNNExp4N1"):
        train.train("CNNExp4N11", DATA, runs=tmp_path)
    with pytest.raises(LiquidLensError, match="Did you mean quick"):
        train.train(MODEL, DATA, recipe="quik", runs=tmp_path)
    with pytest.raises(LiquidLensError, match="max_epochs=0 does not fit"):
        train.train(MODEL, DATA, changes={"max_epochs": 0}, runs=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["recipe.json", "metrics.json", "weights.safetensors"])
def test_run_folders_that_lack_a_file(liquid_run, tmp_path, name):
    copy = RunFolder(shutil.copytree(liquid_run.path, tmp_path / "run"))
    (copy.path / name).unlink()
    with pytest.raises(LiquidLensError, match=f"it has no {name}"):
        copy.recipe(), copy.metrics(), copy.load_model()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("recipe.json", b"{}", "model: Field required"),
        ("recipe.json", {"input": {"values": "mask", "size": [28, 28]}}, "LiqExp1N2 reads volumes, not images"),
        ("recipe.json", {"input": {"values": "hu", "size": [28, 28, 28]}}, "a window belongs to"),
        ("recipe.json", {"model": "LiqExp9N9"}, "There is no model named"),
        ("recipe.json", {"input": {"values": "mask", "size": [28, 4, 4]}}, "damaged: slices of 4 x 4 pixels are too"),
        ("recipe.json", b"\xff", "is damaged: the file: Invalid JSON"),
        ("metrics.json", b"{", "is damaged: the file: Invalid JSON"),
        ("weights.safetensors", b"garbage", "does not hold the weights of LiqExp1N2"),
    ],
)
def test_run_folders_with_broken_files(liquid_run, tmp_path, name, content, sentence):
    copy = RunFolder(shutil.copytree(liquid_run.path, tmp_path / "run"))
    if isinstance(content, dict):
        content = json.dumps({**json.loads((copy.path / name).read_text()), **content}).encode()
    (copy.path / name).write_bytes(content)
    with pytest.raises(LiquidLensError, match=sentence):
        copy.recipe(), copy.metrics(), copy.load_model()


def test_initialisation_starts_at_the_share_of_the_class():
    from liquidlens import models

    torch.manual_seed(0)
    model = models.build("LiqExp1N2")
    initialise.from_labels(model, torch.tensor([0] * 9 + [1]), outputs=1)
    probability = torch.sigmoid(model(torch.zeros(1, 1, 28, 28, 28)))
    assert 0.02 < probability.item() < 0.4
