"""Optimizers and learning rates of a recipe."""

from collections.abc import Iterator
from typing import Any

from torch import nn, optim

from liquidlens.errors import LiquidLensError
from liquidlens.train.recipes import Training


def configure(model: nn.Module, settings: Training, steps: int) -> dict[str, Any]:
    """Optimizer and learning-rate schedule as Lightning takes them; `steps`: optimizer steps of the whole training."""
    groups = list(parameter_groups(model, settings))
    optimizer: optim.Optimizer
    if settings.optimizer in ("adam", "adamw"):
        kind = optim.AdamW if settings.optimizer == "adamw" else optim.Adam
        optimizer = kind(groups, eps=settings.epsilon, weight_decay=settings.weight_decay)
    else:
        optimizer = optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)
    scheduler: optim.lr_scheduler.LRScheduler
    if settings.schedule == "one-cycle":
        scheduler = optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in groups],
            max(steps, 6),  # five would divide by zero: a rise of a single step
            pct_start=0.2,
            cycle_momentum=settings.optimizer != "sgd",  # SGD keeps the recipe's momentum
        )
        interval = "step"
    elif settings.schedule == "cosine-restarts":
        restarts = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, settings.restart_epochs)
        scheduler, interval = restarts, "epoch"
    else:
        return {"optimizer": optimizer}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}


def parameter_groups(model: nn.Module, settings: Training) -> Iterator[dict[str, Any]]:
    """Parameters by learning rate: one group for each named module, and one for all others (tum-2018, table 4.8).

    A module is named by itself, ``recurrent``, wherever it stands in the model.  Raises LiquidLensError for a name that
    no module has.
    """
    rest = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for module, rate in settings.module_learning_rates.items():
        own = [name for name in rest if f".{module}." in f".{name}"]
        if not own:
            paths = (name.split(".")[:-1] for name, _ in model.named_parameters())
            known = sorted({module for path in paths for module in path if module.isidentifier()})
            raise LiquidLensError(
                f"module_learning_rates names {module!r}, and the model has no such module with parameters of its own; "
                f"it has {', '.join(known)}."
            )
        yield {"params": [rest.pop(name) for name in own], "lr": rate}
    if rest:
        yield {"params": list(rest.values()), "lr": settings.learning_rate}
