"""One training run as PyTorch Lightning sees it: batches, loss, optimizer and figures per epoch."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from liquidlens.manifest import InputContract
from liquidlens.models import Classifier
from liquidlens.train.datasets import Task
from liquidlens.train.loop import optimizer
from liquidlens.train.loop.augment import jitter, mirror
from liquidlens.train.loop.evaluate import Batches, epoch_figures
from liquidlens.train.loop.lightning import pl
from liquidlens.train.loop.losses import Loss, soft_cross_entropy
from liquidlens.train.loop.scanner import another_scanner
from liquidlens.train.loop.volume import VolumeAugmentation
from liquidlens.train.recipes import Training


class ShuffledBatches(Sampler[list[int]]):
    """Index batches in an order drawn from seed and epoch alone, so that a resumed run sees the same batches."""

    def __init__(self, count: int, batch_size: int, seed: int):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:  # Lightning calls this before every epoch
        self.epoch = epoch

    def __len__(self) -> int:
        return len(trained_on(torch.empty(self.count), self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        for batch in trained_on(torch.randperm(self.count, generator=generator), self.batch_size):
            yield batch.tolist()


def trained_on(order: Tensor, batch_size: int) -> Sequence[Tensor]:
    """The batches of an order (n,).  A single scan that is left over joins the last one: batch normalisation has no
    deviation of one."""
    batches = order.split(batch_size)
    if batch_size == 1 or len(batches) == 1 or len(batches[-1]) > 1:
        return batches
    return *batches[:-2], torch.cat(batches[-2:])


def loader(
    inputs: Tensor, labels: Tensor, batch_size: int, seed: int | None = None, training: bool = False
) -> DataLoader:
    """Batches of (inputs, labels), whole ones indexed at once; shuffled, for a training, if a seed is given."""
    order: Sampler[list[int]] | list[list[int]]
    if seed is None:
        places = torch.arange(len(inputs))
        batches = trained_on(places, batch_size) if training else places.split(batch_size)
        order = [batch.tolist() for batch in batches]
    else:
        order = ShuffledBatches(len(inputs), batch_size, seed)
    # A generator of its own: starting a DataLoader draws a number, and dropout's draws must not depend on when.
    return DataLoader(TensorDataset(inputs, labels), sampler=order, batch_size=None, generator=torch.Generator())


class TrainingModule(pl.LightningModule):
    """A model in training, by the loss, optimizer and augmentation of its recipe.

    Batches are inputs (batch, *input shape) and targets: class numbers (batch,), or rows (batch, K) of labels or poses.
    After every epoch, the epoch's figures stand in ``epoch_metrics``: those of validation begin with ``val_``, those of
    a second validation loader, the training scans in evaluation mode, with ``train_``.
    """

    def __init__(
        self,
        model: Classifier,
        training: Training,
        seed: int,
        task: Task,
        contract: InputContract,
        loss: Loss,
        teachers: Sequence[Classifier] = (),
    ):
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False) if training.average_steps else None
        self.contract = contract
        self.training_settings = training
        self.seed = seed
        self.task = task
        self.loss = loss
        self._teachers = tuple(teachers)  # no modules of this one, whose checkpoint does not hold them
        self.epoch_metrics: dict[str, float] = {}
        self._augment: Callable[[Tensor], Tensor] | None = None
        self._losses: list[Tensor] = []
        self._measured: dict[str, Batches] = {}

    @property
    def kept(self) -> Classifier:
        """The model that is validated and kept: the one in training, or its moving average."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self):
        return optimizer.configure(self.model, self.training_settings, int(self.trainer.estimated_stepping_batches))

    def on_fit_start(self) -> None:
        for teacher in self._teachers:
            teacher.eval().to(self.device)

    def on_train_epoch_start(self) -> None:
        seed = self.seed * 1_000_003 + self.current_epoch
        torch.manual_seed(seed)  # dropout and random states, also after resuming
        self._augment = self._augmentation(seed)
        self._losses = []

    def _augmentation(self, seed: int) -> Callable[[Tensor], Tensor] | None:
        settings = self.training_settings
        if settings.augmentation == "jitter" and self.contract.spacing is not None:
            return VolumeAugmentation(self.contract, settings)
        if settings.augmentation == "jitter":
            return lambda inputs: jitter(inputs, self.contract.values == "mask", settings.shift, settings.scale)
        if settings.augmentation == "mirror":
            return lambda inputs: mirror(inputs, round(settings.shift))
        if settings.augmentation == "scanner":
            how = settings.shift, settings.scale, settings.turn, settings.intensity
            return lambda inputs: another_scanner(inputs, *how)
        if settings.augmentation == "truong-2022":
            # Here, because MONAI takes seconds to import.
            from liquidlens.train.loop.radiograph import ChestAugmentation

            return ChestAugmentation(seed)
        return None

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        if self._augment is not None:  # which is about values in [0, 1]
            mean, std = self.contract.mean, self.contract.std
            inputs = (self._augment(inputs * std + mean) - mean) / std
        outputs = self._outputs(self.model, inputs)
        loss = self.loss(outputs, targets)
        if self._teachers:
            independent = self.task == "multi-label"
            taught = soft_cross_entropy(outputs, self._taught(inputs, independent), independent)
            loss = torch.lerp(loss, taught, self.training_settings.teaching)
        self._losses.append(loss.detach())
        return loss

    def _outputs(self, model: Classifier, inputs: Tensor) -> Tensor:
        short = self.training_settings.precision == "bf16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=short):
            return model(inputs).float()

    @torch.no_grad()
    def _taught(self, inputs: Tensor, independent: bool) -> Tensor:
        """The mean probabilities (batch, K) of the teachers."""
        answers = torch.stack([teacher(inputs) for teacher in self._teachers])
        one_sigmoid = independent or answers.shape[2] == 1
        return (answers.sigmoid() if one_sigmoid else answers.softmax(2)).mean(0)

    @torch.no_grad()
    def on_train_batch_end(self, outputs, batch, batch_idx: int) -> None:
        if self.average is None:
            return
        # The first steps count for less: the average is over those that there were.
        share = 1 / min(self.global_step, self.training_settings.average_steps)
        kept, new = (
            [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
            for model in (self.average, self.model)
        )
        torch._foreach_lerp_(kept, new, share)

    def on_validation_epoch_start(self) -> None:
        self._measured = {"val": []}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        inputs, targets = batch
        measured = self._measured.setdefault("train" if dataloader_idx else "val", [])
        measured.append((self._outputs(self.kept, inputs).cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        self.epoch_metrics = {"epoch": self.current_epoch, "train_loss": float(torch.stack(self._losses).mean())}
        for split, batches in self._measured.items():
            figures = epoch_figures(self.task, batches, self.loss)
            if split == "train":
                del figures["loss"]  # the column train_loss is that of training, with dropout and augmentation
            self.epoch_metrics |= {f"{split}_{name}": value for name, value in figures.items()}
        for name in shown_figures(self.epoch_metrics):
            self.log(name, self.epoch_metrics[name], prog_bar=True)


def shown_figures(epoch_metrics: dict[str, float]) -> list[str]:
    """The names of the figures that a person watches."""
    watched = ("val_loss", "val_accuracy", "val_auc", "val_position_error", "val_orientation_error")
    return [name for name in watched if name in epoch_metrics]
