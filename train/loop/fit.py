"""Training one recipe with one seed into a run folder."""

import functools
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.files import as_csv
from liquidlens.train import datasets
from liquidlens.train.datasets import HELD_OUT, SPLITS, Dataset, Scans, joined, picked
from liquidlens.train.datasets.reading import PLAIN, Reading
from liquidlens.train.datasets.shortcut import shortcut_of
from liquidlens.train.loop import initialise, precision
from liquidlens.train.loop.callbacks import EarlyStop, Recorder, progress_display
from liquidlens.train.loop.evaluate import Batches, final_figures, temperature_of
from liquidlens.train.loop.lightning import ProgressBar, pl
from liquidlens.train.loop.losses import loss_of
from liquidlens.train.loop.module import TrainingModule, loader
from liquidlens.train.loop.prepare import prepare
from liquidlens.train.loop.volume import wide
from liquidlens.train.recipes import Training, settings_for
from liquidlens.train.run import RunFolder, RunMetrics, RunRecipe, WeightsMetrics
from liquidlens.words import counted

#: Makes ``metrics.json`` at the end of a training.
Conclusion = Callable[[RunFolder, Recorder], RunMetrics]


class InterruptedTrainingError(LiquidLensError):
    """Somebody has interrupted a training."""

    exit_code = 130


def train(
    model: str,
    data: str,
    recipe: str | None = None,
    seed: int = 0,
    changes: dict[str, Any] | None = None,
    flags: Sequence[str] = (),
    size: tuple[int, ...] | None = None,
    data_root: str | Path | None = None,
    runs: str | Path = "runs",
    skip_bad: bool = False,
    progress: bool = True,
    reading: Reading = PLAIN,
    threads: int | None = None,
) -> RunFolder:
    """Train `model` on the dataset `data`; returns the finished run folder ``runs/DATA-MODEL-RECIPE-seedSEED``.

    recipe: by default that of the model's paper; changes: other values for some of its fields.  flags: switches of the
    model, see `models.build`.  size: of the network's input, by default the paper's.  skip_bad: leave out scans of
    one's own that cannot be read; reading: how they are read.  threads: of the CPU, by default as many as torch takes;
    figures depend on them in the last digits.

    An interrupted run goes on where it stopped, with the same result (on the same machine); a finished one is
    returned as it is.  Raises LiquidLensError for unknown names, missing data, what does not fit together, or a folder
    that holds another run.
    """
    settings = settings_for(model, recipe, changes)
    dataset = datasets.load(data, data_root, skip_bad, reading)
    if progress:
        say_notes(dataset, settings)
    resolved = resolve(model, data, dataset, settings, seed, flags, size, reading, threads)
    folder = RunFolder(Path(runs) / resolved.name)
    check_same_run(folder, resolved)
    return folder if folder.finished else train_on(dataset, resolved, folder, progress)


def say_notes(dataset: Dataset, settings: Training) -> None:
    """What to know about one's own scans, and about the precision on this machine, on stderr."""
    for sentence in (*dataset.notes, *precision.notes(settings.precision)):
        print(f"Note: {sentence}", file=sys.stderr)


def train_on(
    dataset: Dataset,
    resolved: RunRecipe,
    folder: RunFolder,
    progress: bool = True,
    conclude: Conclusion | None = None,
) -> RunFolder:
    """Train a recipe on its dataset into a folder that does not hold another run; conclude: gives ``metrics.json``."""
    settings = resolved.training
    inputs, labels = splits(dataset, resolved, augmented=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    begun = (folder.path / "recipe.json").is_file()  # a run that goes on keeps the versions and threads it began with
    torch.set_num_threads(resolved.threads or (folder.recipe().threads if begun else None) or torch.get_num_threads())
    if not begun:
        folder.write_json("recipe.json", resolved.model_copy(update={"threads": torch.get_num_threads()}))
    if dataset.origins:
        folder.write_text("split.csv", as_csv(_split_rows(dataset, resolved)))
    pl.seed_everything(resolved.seed, verbose=False)
    network = resolved.build()
    if settings.initialise_from_labels:
        initialise.from_labels(network, labels["train"], resolved.outputs)
    recorder = Recorder(folder, settings)
    teachers = [_teacher(RunFolder(Path(path)), resolved) for path in settings.teachers]
    loss = loss_of(settings, labels["train"], len(resolved.labels))
    module = TrainingModule(network, settings, resolved.seed, resolved.task, resolved.input, loss, teachers)
    _run_trainer(module, inputs, labels, recorder, progress)
    folder.save_weights(module.kept, "last")
    if conclude is None:
        metrics = _final_metrics(folder, recorder, inputs, labels)
        metrics = metrics.model_copy(update={"shortcut": shortcut_of(dataset) if dataset.origins else None})
    else:
        metrics = conclude(folder, recorder)
    folder.write_json("metrics.json", metrics)
    folder.checkpoint.unlink()
    return folder


def _teacher(folder: RunFolder, pupil: RunRecipe) -> models.Classifier:
    """The trained model of a run.  Raises LiquidLensError if it reads or answers other things than its pupil."""
    recipe = folder.recipe()
    for what in ("input", "labels", "outputs"):
        if getattr(recipe, what) != getattr(pupil, what):
            raise LiquidLensError(f"{folder.path} cannot teach {pupil.model}: its {what} differ from the pupil's.")
    return folder.load_model()


def _split_rows(dataset: Dataset, recipe: RunRecipe) -> list[dict[str, str]]:
    """Path, patient and split of every scan, as the run uses it: ``unused`` if it is not in its subset.  The final
    model of a cross-validation is trained on all of them."""
    rows = []
    for split, (parts, items) in _members(dataset, recipe).items():
        origins = [origin for part in parts for origin in dataset.origins[part]]
        used = range(len(origins)) if items is None else set(items.tolist())
        for i, origin in enumerate(origins):
            rows.append({"path": origin.path, "patient": origin.patient, "split": split if i in used else "unused"})
        if recipe.reading.whole:
            break
    return rows


def resolve(
    model: str,
    data: str,
    dataset: Dataset,
    settings: Training,
    seed: int = 0,
    flags: Sequence[str] = (),
    size: tuple[int, ...] | None = None,
    reading: Reading = PLAIN,
    threads: int | None = None,
) -> RunRecipe:
    """The complete recipe of a run on `dataset`, which was loaded as `data`.  Raises LiquidLensError if the parts do
    not fit together."""
    if not 0 <= seed < 2**32:
        raise LiquidLensError(f"A seed is a number from 0 to {2**32 - 1}, not {seed}.")
    named = data.removesuffix(HELD_OUT)
    if not (named in datasets.names() or named.startswith(datasets.NAMED)):
        named = str(Path(named).resolve())
    source = named + (HELD_OUT if data.endswith(HELD_OUT) else "")
    made = RunRecipe.resolve(model, tuple(flags), size, dataset, source, settings, seed, reading)
    return made.model_copy(update={"threads": threads})


@torch.no_grad()
def evaluate(model: models.Classifier, inputs: Tensor, labels: Tensor, batch_size: int) -> Batches:
    """(outputs, targets) per batch, in evaluation mode; on a GPU if there is one."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    model.eval().to(device)
    batches = zip(inputs.split(batch_size), labels.split(batch_size), strict=True)
    return [(model(batch.to(device)).cpu(), truth) for batch, truth in batches]


def logits_of(model: models.Classifier, recipe: RunRecipe, inputs: Tensor) -> NDArray:
    """The answers (n, K) of a run's network to prepared inputs, before calibration."""
    torch.manual_seed(recipe.seed)  # networks with random initial states draw them in evaluation, too
    batches = evaluate(model, inputs, torch.zeros(len(inputs)), recipe.training.evaluation_batch_size)
    return torch.cat([outputs for outputs, _ in batches]).numpy()


def splits(dataset: Dataset, recipe: RunRecipe, augmented: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Prepared inputs and labels of each split, as many and such as the recipe takes.

    augmented: "train" is what augmentation starts from, which may show more of a scan than the network sees; where the
    recipe measures these scans, "seen" is what it sees.
    """
    scans, truth = raw_splits(dataset, recipe)
    same = recipe.training.validate_on_test
    contracts = dict.fromkeys(SPLITS, recipe.input)
    if augmented:
        contracts["train"] = wide(recipe.input, recipe.training)
    inputs = {split: prepare(scans[split], contracts[split]) for split in scans if not (same and split == "val")}
    if augmented and recipe.training.measure_training:
        as_seen = contracts["train"] == recipe.input
        inputs["seen"] = inputs["train"] if as_seen else prepare(scans["train"], recipe.input)
        truth["seen"] = truth["train"]
    labels = {split: torch.from_numpy(truth[split]) for split in truth}
    return (inputs | {"val": inputs["test"]} if same else inputs), labels


def raw_splits(dataset: Dataset, recipe: RunRecipe) -> tuple[dict[str, Scans], dict[str, NDArray]]:
    """Raw scans and labels of each split, as many and such as the recipe takes."""
    scans, truth = dict[str, Scans](), dict[str, NDArray]()
    for split, (parts, items) in _members(dataset, recipe).items():
        scans[split] = functools.reduce(joined, [dataset.scans[part] for part in parts])
        truth[split] = np.concatenate([dataset.labels[part] for part in parts])
        if items is not None:
            scans[split], truth[split] = picked(scans[split], items), truth[split][items]
    if recipe.training.validate_on_test:
        scans["val"], truth["val"] = scans["test"], truth["test"]
    return scans, truth


def _members(dataset: Dataset, recipe: RunRecipe) -> dict[str, tuple[tuple[str, ...], NDArray[np.int64] | None]]:
    """Of each split that a run uses, the dataset's splits that are joined for it, and which of their scans it has if
    not all."""
    settings = recipe.training
    parts: dict[str, tuple[str, ...]] = {"train": ("train",), "val": ("val",), "test": ("test",)}
    if settings.validate_on_test:  # the validation scans are training scans then, the first ones as in the file
        parts = {"train": ("val", "train"), "test": ("test",)}
    wanted = {"train": settings.subset, "val": settings.validation_subset, "test": settings.test_subset}
    members = {}
    for split, joint in parts.items():
        count, some = sum(len(dataset.labels[part]) for part in joint), wanted[split]
        members[split] = joint, None if some is None else draw_subset(count, some, settings.subset_seed)
    return members


def draw_subset(count: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Which of `count` scans a subset holds; it depends on these numbers alone, so that all models and seeds
    train on the same scans.  Raises LiquidLensError if there are fewer."""
    if wanted > count:
        raise LiquidLensError(f"A subset of {wanted} cannot be drawn from {count} scans.")
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def check_same_run(folder: RunFolder, recipe: RunRecipe) -> None:
    """Raise LiquidLensError if the folder holds another run."""
    if (folder.path / "recipe.json").is_file() or (folder.path / "metrics.json").is_file():
        differing = folder.recipe().differences(recipe)
        if differing:
            differ = "differs" if len(differing) == 1 else "differ"
            raise LiquidLensError(
                f"{folder.path} holds another run: its {', '.join(differing)} {differ}; remove it or name another "
                "--runs."
            )


def _run_trainer(
    module: TrainingModule, inputs: dict[str, Tensor], labels: dict[str, Tensor], recorder: Recorder, progress: bool
) -> None:
    settings = module.training_settings
    batch_size, evaluation = settings.batch_size, settings.evaluation_batch_size
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    display = progress_display() if progress else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")  # the arrays are in memory already
        warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's use of a name that torch has renamed
        trainer = pl.Trainer(
            devices=1,  # a run folder has one writer
            max_epochs=settings.max_epochs,
            gradient_clip_val=settings.clip_gradient,
            callbacks=_callbacks(settings, recorder, display),
            num_sanity_val_steps=0,
            enable_progress_bar=isinstance(display, ProgressBar),
            enable_checkpointing=False,
            enable_model_summary=False,
            logger=False,
        )
        held = _held(inputs, labels, trainer.strategy.root_device)
        train_loader = loader(*held["train"], batch_size, module.seed if settings.shuffle else None, training=True)
        measured = ("val", "seen") if settings.measure_training else ("val",)
        val_loaders = [loader(*held[split], evaluation) for split in measured]
        checkpoint = _resume_from(recorder.folder)
        try:
            with precision.without_denormals():
                trainer.fit(module, train_loader, val_loaders, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            if not trainer.interrupted:  # Lightning makes an exit of an interruption
                raise
            done = counted(len(recorder.history), "epoch")
            raise InterruptedTrainingError(f"Interrupted after {done}: the same command goes on from there.") from None


def _held(
    inputs: dict[str, Tensor], labels: dict[str, Tensor], device: torch.device
) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs and labels for training, by split: on the device that trains if they take no more than half of what is
    free there, since small networks would wait for every batch that is copied."""
    splits = [split for split in ("train", "val", "seen") if split in inputs]
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if 2 * sum(inputs[split].nbytes for split in splits) > free:
            device = torch.device("cpu")
    return {split: (inputs[split].to(device), labels[split].to(device)) for split in splits}


def _callbacks(settings: Training, recorder: Recorder, display: pl.Callback | None) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = []
    if settings.statistics:
        from liquidlens.train.loop.statistics import Statistics  # here, because TensorBoard takes seconds to import

        callbacks.append(Statistics(recorder.folder))  # before the recorder, whose checkpoint holds its rows
    callbacks.append(recorder)
    if settings.stop != "never":
        callbacks.append(EarlyStop(settings))
    if display is not None:
        callbacks.append(display)
    return callbacks


def _resume_from(folder: RunFolder) -> Path | None:
    """The checkpoint of an interrupted run, if there is a sound one."""
    if not folder.checkpoint.is_file():
        return None
    try:
        torch.load(folder.checkpoint, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged archive raises whatever it leads to
        raise LiquidLensError(f"{folder.checkpoint} is damaged: remove {folder.path} to train anew.") from error
    return folder.checkpoint


def _final_metrics(folder: RunFolder, recorder: Recorder, inputs, labels) -> RunMetrics:
    history = recorder.history
    columns = [name for name in history[0] if name not in ("epoch", "seconds")]
    recipe = folder.recipe()
    return RunMetrics(
        epochs=len(history),
        best_epoch=recorder.best_epoch,
        seconds=round(sum(row["seconds"] for row in history), 1),
        mean_over_epochs={name: float(np.mean([row[name] for row in history])) for name in columns},
        best=measure(folder.load_model("best"), recipe, inputs, labels),
        last=measure(folder.load_model("last"), recipe, inputs, labels),
    )


def measure(
    model: models.Classifier, recipe: RunRecipe, inputs: dict[str, Tensor], labels: dict[str, Tensor]
) -> WeightsMetrics:
    """Temperature and figures of trained weights, on prepared inputs and labels of each split."""
    loss = loss_of(recipe.training, labels["train"], len(recipe.labels))
    batch_size = recipe.training.evaluation_batch_size
    torch.manual_seed(recipe.seed)  # networks with random initial states draw them in evaluation, too
    val, test = (evaluate(model, inputs[split], labels[split], batch_size) for split in ("val", "test"))
    temperature = temperature_of(recipe.task, val)
    return WeightsMetrics(
        temperature=temperature,
        val=final_figures(recipe.task, val, loss, temperature),
        test=final_figures(recipe.task, test, loss, temperature),
    )
