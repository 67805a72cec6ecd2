"""The run folder: what training one recipe with one seed leaves on disk, all of it plain files.

recipe.json               everything that determines the run, resolved; with the versions it ran with
weights.safetensors       the weights at the lowest validation loss
weights-last.safetensors  the weights after the last epoch
history.csv               one line per epoch
metrics.json              validation and test metrics of both weights, calibration, epochs, seconds
unfinished.ckpt           only while the run is not finished: where to go on
"""

import os
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self, TypeVar

import pydantic
import safetensors
from safetensors.torch import load_file, save_file

import models
from imaging import LiquidLensError
from models.front import InputContract, Values
from train.datasets import Dataset
from train.recipes import Training

T = TypeVar("T", bound=pydantic.BaseModel)
Weights = Literal["best", "last"]
WEIGHT_FILES: dict[Weights, str] = {"best": "weights.safetensors", "last": "weights-last.safetensors"}


class RunRecipe(pydantic.BaseModel):
    """``recipe.json``: model, data, training settings, seed and versions of a run."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    model: str
    paper: str
    dataset: str
    dataset_md5: str
    labels: tuple[str, ...]
    values: Values
    size: tuple[int, ...]
    window: tuple[float, float] | None = None
    training: Training
    seed: int
    versions: dict[str, str]

    @pydantic.model_validator(mode="after")
    def _input_fits_the_model(self) -> Self:
        try:
            expected = models.entry(self.model).input_shape[1:]
        except LookupError as error:
            raise ValueError(str(error)) from error
        if self.size != expected:
            raise ValueError(f"{self.model} reads {expected}, not {self.size}")
        InputContract(self.values, self.size, self.window)  # raises ValueError if the window does not fit the values
        return self

    @classmethod
    def resolve(cls, model: str, dataset: Dataset, training: Training, seed: int) -> "RunRecipe":
        entry = models.entry(model)
        return cls(
            model=model,
            paper=entry.paper,
            dataset=dataset.name,
            dataset_md5=dataset.md5,
            labels=dataset.label_names,
            values=dataset.values,
            size=entry.input_shape[1:],
            training=training,
            seed=seed,
            versions={package: version(package) for package in ("liquidlens", "torch", "ncps", "lightning")},
        )

    @property
    def contract(self) -> InputContract:
        return InputContract(self.values, self.size, self.window)

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.model}-{self.training.recipe}-seed{self.seed}"

    def same_run(self, other: "RunRecipe") -> bool:
        """Whether the two describe the same run; versions may differ."""
        return self.model_dump(exclude={"versions"}) == other.model_dump(exclude={"versions"})


class WeightsMetrics(pydantic.BaseModel):
    """Figures of one set of weights: the temperature fitted on validation, and per split auc, accuracy at threshold
    0.5, accuracy_batch_mean (hse-2024's mean over batches), loss, ece, and ece_calibrated (after the temperature)."""

    temperature: float
    val: dict[str, float]
    test: dict[str, float]


class RunMetrics(pydantic.BaseModel):
    """``metrics.json``.  Epochs are counted from 0, as in ``history.csv``; seconds are those of the epochs."""

    epochs: int
    best_epoch: int
    seconds: float
    best: WeightsMetrics
    last: WeightsMetrics


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

    def recipe(self) -> RunRecipe:
        return self._read("recipe.json", RunRecipe)

    def metrics(self) -> RunMetrics:
        return self._read("metrics.json", RunMetrics)

    def load_model(self, which: Weights = "best") -> models.Classifier:
        """The trained model in evaluation mode."""
        recipe = self.recipe()
        path = self._existing(WEIGHT_FILES[which])
        try:
            model = models.build(recipe.model)
            model.load_state_dict(load_file(path))
        except (safetensors.SafetensorError, RuntimeError) as error:
            summary = re.sub(r"\s+", " ", str(error))[:200]
            raise LiquidLensError(f"{path} does not hold the weights of {recipe.model} ({summary}).") from error
        return model.eval()

    def save_weights(self, model: models.Classifier, which: Weights) -> None:
        name = WEIGHT_FILES[which]
        partial = self.path / f"{name}.partial"
        save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, partial)
        os.replace(partial, self.path / name)

    def write_text(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        partial = self.path / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path / name)

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
