"""Seconds per epoch of hse-2024's networks, against the same networks on plain ncps with PyTorch's defaults.

``make bench-training`` runs this.  The plain twin has ncps's own layers, convolutions over contiguous maps, and sends
every slice through its trunk.  One process, one CPU thread; an epoch is the median training step of a batch drawn from
the training scans, both networks in turn, times the number of batches.  Without VesselMNIST3D phantoms stand in.
``--bf16`` sets one training step with the recipe's field precision=bf16 beside one in float32 instead, and with
``--hand-back`` shows what these steps take where their memory is not kept.
"""

import argparse
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.exported import with_ncps
from benchmarks.liquid import alternate
from liquidlens import memory, models
from liquidlens.models import Classifier
from liquidlens.train import datasets
from liquidlens.train.loop.fit import resolve, splits
from liquidlens.train.recipes import settings_for

ROWS = {
    "two convolutions, AutoNCP": ("LiqExp1N2", "LiqExp1N6", "LiqExp3N4", "LiqExp3N5", "LiqExp5N1"),
    "four convolutions, AutoNCP": ("LiqExp4N2", "LiqExp4N5", "LiqExp4N6"),
    "two convolutions, fully connected": ("LiqExp2N2", "LiqExp2N6"),
    "no liquid layer": ("CNNExp1N1", "CNNExp2N4", "CNNExp4N1", "CNNExp4N3", "LSTMExp5N2"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--bf16", action="store_true", help="measure bfloat16 against float32")
    parser.add_argument("--hand-back", action="store_true", help="with --bf16: leave freed memory to the C library")
    parser.add_argument("--data", help="by default vesselmnist3d, or phantoms where it is not")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.bf16:
        if not arguments.hand_back:
            memory.keep_all()  # as `liquidlens train` does
        Console(width=110).print(bfloat16(arguments.repeats))
        return
    data = arguments.data or _at_hand("vesselmnist3d", "phantom-vessel3d")
    settings = settings_for("LiqExp1N2", "hse-2024", None)
    dataset = datasets.load(data)
    inputs, labels = splits(dataset, resolve("LiqExp1N2", data, dataset, settings))
    drawn = torch.randperm(len(labels["train"]), generator=torch.Generator().manual_seed(0))[: settings.batch_size]
    batch, targets = inputs["train"][drawn], labels["train"][drawn].float()[:, None]
    batches = -(-len(inputs["train"]) // settings.batch_size)
    empty = (batch == batch.amin()).flatten(3).all(3).float().mean()

    title = (
        f"Seconds per epoch, {data}, {batches} batches of {settings.batch_size}; {empty:.0%} of the slices are empty"
    )
    table = Table("", "network", "plain", "ours", "ratio", title=title)
    for kind, names in ROWS.items():
        for name in names:
            twins = plain(models.build(name)), models.build(name)
            steps = [partial(_step, twin, _adam(twin), batch, targets) for twin in twins]
            theirs, ours = (batches * milliseconds / 1000 for milliseconds in alternate(steps, arguments.repeats))
            table.add_row(kind, name, f"{theirs:.2f}", f"{ours:.2f}", f"{theirs / ours:.2f}x")
    Console(width=110).print(table)


def bfloat16(repeats: int) -> Table:
    """One training step of batches of 64, in float32 and with convolutions and linear layers in bfloat16."""
    table = Table("network", "float32", "bf16", "ratio", title="Milliseconds per training step, batches of 64")
    for name, size in (("EQ2425", 32), ("CRNet-FC", 112), ("CNNExp4N3", 28), ("LiqExp1N2", 28)):
        entry = models.entry(name)
        shape = (*entry.input_shape[:-2], size, size)
        model, batch = models.build(name, shape).train(), torch.rand(64, *shape)
        targets = torch.zeros(64, entry.outputs)
        both = [partial(_step, model, _adam(model), batch, targets, short) for short in (False, True)]
        whole, short = alternate(both, repeats)
        table.add_row(name, f"{whole:.1f}", f"{short:.1f}", f"{whole / short:.2f}x")
    return table


def plain(model: Classifier) -> Classifier:
    """The same network on plain ncps, with PyTorch's defaults."""
    twin = with_ncps(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    twin._maps_of_distinct = twin.trunk
    return twin.train()


def _at_hand(*names: str) -> str:
    where = {listing.name: listing.where for listing in datasets.sources()}
    return next(name for name in names if where[name] not in ("download", "not on this machine"))


def _adam(model: Classifier) -> torch.optim.Optimizer:
    return torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=5e-4)


def _step(
    model: Classifier, optimizer: torch.optim.Optimizer, batch: Tensor, targets: Tensor, short: bool = False
) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=short):
        outputs = model(batch).float()
    loss = binary_cross_entropy_with_logits(outputs, targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    main()
