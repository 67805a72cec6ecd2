"""The run folder: what training one recipe with one seed leaves on disk, all of it plain files.

recipe.json               everything that determines the run, resolved; with the versions it ran with
split.csv                 of one's own scans: path, patient and split of each
weights.safetensors       the weights after the best epoch, by the recipe's `select`
weights-last.safetensors  the weights after the last epoch
history.csv               one line per epoch
metrics.json              validation and test metrics of both weights, calibration, epochs, seconds
out-of-fold.csv, fold-N/  of a cross-validated run: the answers for every scan, and the runs that gave them
unfinished.ckpt           only while the run is not finished: where to go on

What reads and compares recipes and figures needs no torch; it is loaded with the weights.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
import pydantic

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.files import replacing
from liquidlens.manifest import InputContract
from liquidlens.train.datasets import POSE, Dataset, Task, own, picked
from liquidlens.train.datasets.reading import PLAIN, Reading
from liquidlens.train.evidence import CrossValidation, Shortcut
from liquidlens.train.names import Network, Rule
from liquidlens.train.recipes import Training, rule

if TYPE_CHECKING:
    from liquidlens.models import Classifier

T = TypeVar("T", bound=pydantic.BaseModel)
Weights = Literal["best", "last"]
WEIGHT_FILES: dict[Weights, str] = {"best": "weights.safetensors", "last": "weights-last.safetensors"}
#: Bytes of a run's dataset, network and rule; longer ones are cut.  File systems take names of 255.
LONGEST = 200


class RunRecipe(pydantic.BaseModel):
    """``recipe.json``: model, data, training settings, seed and versions of a run.

    dataset: its name, or the path of an image folder.
    outputs: number of logits K.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    flags: tuple[str, ...] = ()
    paper: str
    dataset: str
    dataset_md5: str
    #: How one's own scans are read; nothing of other datasets.
    reading: Reading = pydantic.Field(default=PLAIN, exclude_if=lambda reading: reading == PLAIN)
    task: Task
    labels: tuple[str, ...]
    outputs: int
    input: InputContract
    training: Training
    seed: int
    #: CPU threads of the training, on which its figures depend in the last digits; None where nobody has noted them.
    threads: int | None = pydantic.Field(default=None, exclude_if=lambda threads: threads is None)
    versions: dict[str, str]

    @pydantic.model_validator(mode="after")
    def _model_fits(self) -> Self:
        one_logit = self.task == "classes" and len(self.labels) == 2 and self.outputs == 1
        if self.outputs != len(self.labels) and not one_logit:
            raise ValueError(f"{self.outputs} outputs do not fit {len(self.labels)} labels")
        try:
            models.check(self.model, self.input.input_shape, self.outputs, self.flags)
        except LiquidLensError as error:
            raise ValueError(str(error)) from error
        return self

    @classmethod
    def resolve(
        cls,
        model: str,
        flags: tuple[str, ...],
        size: tuple[int, ...] | None,
        dataset: Dataset,
        source: str,
        training: Training,
        seed: int,
        reading: Reading = PLAIN,
    ) -> "RunRecipe":
        """The recipe of a run, complete.

        size: of the network's input, by default the paper's; source: where `dataset` is loaded from again.
        Raises LiquidLensError if model, data and training settings do not fit together.
        """
        import torch

        from liquidlens.train.loop.optimizer import parameter_groups

        entry = models.entry(model)
        binary = dataset.task == "classes" and len(dataset.label_names) == 2
        outputs = 1 if entry.outputs == 1 and binary else len(dataset.label_names)
        reads, holds = (
            "volumes" if volumes else "images" for volumes in (len(entry.input_shape) == 4, dataset.volumes)
        )
        if reads != holds:
            raise LiquidLensError(f"{model} reads {reads}, and {dataset.name} holds {holds}.")
        _check_task(model, dataset, training, outputs)
        if dataset.task == "pose":
            maps = dataset.scans["train"][0].shape
            if size is not None or maps != entry.input_shape:
                raise LiquidLensError(
                    f"{model} reads feature maps of {entry.input_shape}, and {dataset.name} has {maps}."
                )
        try:
            contract = InputContract(
                values=dataset.values,
                size=size or entry.input_shape[1:],
                window=dataset.window,
                channels=dataset.channels,
                spacing=dataset.spacing,
            )
            mean, std = _normalisation(dataset, contract, training)
            contract = replace(contract, mean=mean, std=std)
            made = cls(
                model=model,
                flags=flags,
                paper=entry.paper,
                dataset=source,
                dataset_md5=dataset.md5,
                reading=reading,
                task=dataset.task,
                labels=dataset.label_names,
                outputs=outputs,
                input=contract,
                training=training,
                seed=seed,
                versions={package: version(package) for package in ("liquidlens", "torch", "ncps", "lightning")},
            )
            with torch.device("meta"):  # nothing is allocated, or drawn
                list(parameter_groups(made.build(), training))
            return made
        except (ValueError, LiquidLensError) as error:
            reason = _reason(error) if isinstance(error, pydantic.ValidationError) else str(error)
            raise LiquidLensError(f"{model} cannot be trained on {dataset.name}: {reason.rstrip('.')}.") from error

    def build(self) -> "Classifier":
        """The model, freshly initialised.  Raises ValueError if it cannot be built."""
        return models.build(self.model, self.input.input_shape, self.outputs, self.flags)

    @property
    def name(self) -> str:
        """What the run is called: dataset, network and rule, of long ones the beginning and a checksum; seed and
        cross-validation."""
        dataset = self.dataset.rstrip("/").rpartition("/")[2].removeprefix("folder:").removeprefix("table:")
        if own(self.dataset):
            dataset = re.sub(r"\.\w+$", "", dataset)
        what = re.sub(r"[^\w.+=@,-]", "", f"{dataset}-{self.network}-{self.rule}").encode()
        if len(what) > LONGEST:
            what = what[:LONGEST] + b"-" + hashlib.sha256(what).hexdigest()[:12].encode()
        folds = f"-{self.reading.folds}folds" if self.reading.folds else ""
        return f"{what.decode(errors='ignore')}-seed{self.seed}{folds}"

    @property
    def network(self) -> Network:
        papers = self.input.size == models.entry(self.model).input_shape[1:]
        return Network(self.model, self.flags, None if papers else self.input.size)

    @property
    def rule(self) -> Rule:
        return rule(self.training)

    def differences(self, other: "RunRecipe") -> list[str]:
        """The fields in which another run differs from this one; versions may, and threads that one leaves open."""
        words: Any = {"versions": True, "training": {"about"}, "threads": None in (self.threads, other.threads)}
        ours, theirs = self.model_dump(exclude=words), other.model_dump(exclude=words)
        for fields in (ours, theirs):
            fields |= fields.pop("training")
        return [field for field in ours | theirs if ours.get(field) != theirs.get(field)]  # defaults may be left out


def _reason(error: pydantic.ValidationError) -> str:
    """The sentence of a validator, or else pydantic's."""
    first = error.errors()[0]
    return str(first.get("ctx", {}).get("error", first["msg"]))


def _check_task(model: str, dataset: Dataset, training: Training, outputs: int) -> None:
    """Losses, selection and augmentation have to fit what is learnt; poses need a network that reads feature maps."""
    name = dataset.name
    if (dataset.task == "pose") != (models.entry(model).outputs == len(POSE)):
        raise LiquidLensError(
            f"{model} does not fit {name}: PoseNet's heads read phantom-pose data, and nothing else does."
        )
    if (dataset.task == "pose") != (training.loss == "pose"):
        fitting = "tum-2018-pose" if dataset.task == "pose" else "quick, or the recipe of the model's paper"
        raise LiquidLensError(f"The recipe {training.recipe} does not fit {name}; take {fitting}.")
    if training.loss == "double-softmax" and (outputs == 1 or dataset.task == "multi-label"):
        raise LiquidLensError(
            f"The softmax of {training.recipe} is for one of several classes: --set loss=cross-entropy."
        )
    if training.class_weights != "none" and training.loss != "cross-entropy":
        raise LiquidLensError(
            f"Class weights are for cross entropy, and the loss of {training.recipe} is {training.loss}."
        )
    if dataset.task == "pose" and training.select == "accuracy":
        raise LiquidLensError("A pose has no accuracy by which the best epoch could be selected: --set select=loss.")
    if training.augmentation == "truong-2022" and dataset.volumes:
        raise LiquidLensError(
            f"The augmentation of {training.recipe} is for images, and {name} holds volumes: --set augmentation=none."
        )


def _normalisation(dataset: Dataset, contract: InputContract, training: Training) -> tuple[float, float]:
    """Mean and standard deviation; of a dataset without usual ones, those of up to 1,000 of its training inputs."""
    if training.normalise == "none":
        return 0.0, 1.0
    if training.normalise != "dataset":
        return training.normalise
    if dataset.normalisation is not None:
        return dataset.normalisation
    from liquidlens.train.loop.prepare import prepare

    scans = dataset.scans["train"]
    chosen = np.linspace(0, len(scans) - 1, min(len(scans), 1000)).astype(int)
    inputs = prepare(picked(scans, chosen), contract)
    return float(inputs.mean()), max(float(inputs.std()), 1e-3)


#: Figures that are not defined, such as the AUC of scans of one class, are the text "NaN": JSON has no such number.
_METRICS = pydantic.ConfigDict(ser_json_inf_nan="strings")


class WeightsMetrics(pydantic.BaseModel):
    """Figures of one set of weights: the temperature fitted on validation, and per split those of
    `train.loop.evaluate.final_figures`, at threshold 0.5."""

    model_config = _METRICS

    temperature: float
    val: dict[str, float]
    test: dict[str, float]


class RunMetrics(pydantic.BaseModel):
    """``metrics.json``.  Epochs are counted from 0, as in ``history.csv``; seconds are those of the epochs.

    mean_over_epochs: the columns of ``history.csv`` averaged over all epochs; kth-2021 reports recall like this.
    shortcut, cross_validation: of one's own scans, see `train.evidence`.  Where there is a cross-validation, ``val``
    and ``test`` are its figures: this model has seen every scan.
    """

    model_config = _METRICS

    epochs: int
    best_epoch: int
    seconds: float
    mean_over_epochs: dict[str, float]
    best: WeightsMetrics
    last: WeightsMetrics
    shortcut: Shortcut | None = pydantic.Field(default=None, exclude_if=lambda found: found is None)
    cross_validation: CrossValidation | None = pydantic.Field(default=None, exclude_if=lambda found: found is None)

    def of(self, weights: Weights) -> WeightsMetrics:
        return self.best if weights == "best" else self.last


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "unfinished.ckpt"

    @property
    def finished(self) -> bool:
        return all((self.path / name).is_file() for name in ("recipe.json", "metrics.json", *WEIGHT_FILES.values()))

    def check_finished(self, which: Weights = "best") -> None:
        """Raise LiquidLensError if this is no finished run with these weights."""
        for name in ("recipe.json", WEIGHT_FILES[which], "metrics.json"):
            self._existing(name)

    def recipe(self) -> RunRecipe:
        return self._read("recipe.json", RunRecipe)

    def metrics(self) -> RunMetrics:
        return self._read("metrics.json", RunMetrics)

    def load_model(self, which: Weights = "best") -> "Classifier":
        """The trained model in evaluation mode."""
        import safetensors.torch

        recipe = self.recipe()
        path = self._existing(WEIGHT_FILES[which])
        try:
            model = recipe.build()
        except ValueError as error:
            raise LiquidLensError(f"{self.path / 'recipe.json'} is damaged: {error}.") from error
        try:
            model.load_state_dict(safetensors.torch.load_file(path))
        except (safetensors.SafetensorError, RuntimeError) as error:
            summary = re.sub(r"\s+", " ", str(error))[:200]
            raise LiquidLensError(f"{path} does not hold the weights of {recipe.model} ({summary}).") from error
        return model.eval()

    def save_weights(self, model: "Classifier", which: Weights) -> None:
        import safetensors.torch

        tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
        with replacing(self.path / WEIGHT_FILES[which]) as partial:
            # Not save_file, whose errors of a full disk are no OSError.
            partial.write_bytes(safetensors.torch.save(tensors))

    def write_text(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        with replacing(self.path / name) as partial:
            partial.write_text(text, encoding="utf-8")

    def write_json(self, name: str, content: pydantic.BaseModel) -> None:
        self.write_text(name, content.model_dump_json(indent=2) + "\n")

    def _read(self, name: str, kind: type[T]) -> T:
        try:
            return kind.model_validate_json(self._existing(name).read_bytes())
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise LiquidLensError(f"{self.path / name} is damaged: {where}: {first['msg']}.") from error

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if path.is_file():
            return path
        if not self.path.is_dir():
            raise LiquidLensError(f"There is no run folder {self.path}; `liquidlens train` makes one.")
        raise LiquidLensError(
            f"{self.path} is not a finished run: it has no {name}. The same `liquidlens train` command finishes it."
        )
