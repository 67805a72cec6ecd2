"""What a dataset is: scans with labels in three splits, whatever they came from."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.manifest import Values

if TYPE_CHECKING:
    from liquidlens.train.datasets.table.facts import Facts

SPLITS = ("train", "val", "test")
#: The label names of poses: the camera's position in metres and its unit quaternion.
POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
Task = Literal["classes", "multi-label", "pose"]
#: At the end of a dataset's name: see `Dataset.held_out`.
HELD_OUT = "+held-out"
HELD_OUT_SHARE = 0.3


class Placed(NamedTuple):
    """A volume with what a field of view in millimetres needs to know of it.

    spacing: millimetres between its slices, rows, columns.  centre: the voxel to look at (slice, row, column), counted
    from 0; NaN for the middle.
    """

    pixels: NDArray[Any]
    spacing: NDArray[np.float32]
    centre: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    @property
    def ndim(self) -> int:
        return self.pixels.ndim


#: n scans: an array (n, ...), or a sequence of arrays that may differ in size, or of volumes with their places.
Scans = NDArray[Any] | Sequence[NDArray[Any] | Placed]

Item = TypeVar("Item")


class DataUnavailableError(LiquidLensError):
    """A dataset is neither on this machine nor to be had from its official address."""


@dataclass(frozen=True, eq=False)
class Decoded(Sequence[NDArray[Any] | Placed], Generic[Item]):
    """A sequence that decodes item i when it is asked for, so that a large set need not fit into memory decoded.

    keys: for each item a text that is another one where anything else is decoded: what is made of the item may be kept
    under it (see `train.datasets.cache`).  Empty if nothing is to be kept.
    """

    items: Sequence[Item]
    decode: Callable[[Item], NDArray[Any] | Placed]
    keys: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any] | Placed: ...
    @overload
    def __getitem__(self, index: slice) -> "Decoded[Item]": ...
    def __getitem__(self, index: int | slice) -> "NDArray[Any] | Placed | Decoded[Item]":
        if isinstance(index, slice):
            return Decoded(self.items[index], self.decode, self.keys[index])
        return self.decode(self.items[index])


@dataclass(frozen=True)
class Origin:
    """Where a scan of one's own comes from.  path: as the table has it.  patient: whose it is, or the path again where
    nobody knows.  facts: what was found in the file."""

    path: str
    patient: str
    facts: "Facts"

    @property
    def listed(self) -> tuple[str, tuple[float, ...] | None]:
        """What tells it from all others of its table, in which a scan may stand with several points."""
        return self.path, self.facts.centre


@dataclass(frozen=True, eq=False)
class Dataset:
    """Scans with labels, in the splits ``train``, ``val`` and ``test``.

    name: a registered name, or ``folder:`` and the name of an image folder, or ``table:`` and that of a table.
    label_names: the classes; the findings of a multi-label set; of poses `POSE`.
    values, channels: what the pixels mean, and how many there are at each place: 1, of colour images 3; see
        `liquidlens.manifest.InputContract`; `window` belongs to the values "hu".
    md5: of the official file where the dataset is one file, of all pixels and labels otherwise.
    scans: split -> n raw scans: uint8 0..255 ("grey", "mask"), float32 Hounsfield units ("hu"), float16 0..1
        ("features"); of one's own scans float32.  Volumes are (slices, rows, columns),
        images (rows, columns) or, with 3 channels, (rows, columns, 3), feature maps (channels, rows, columns).
        With a `spacing` they are `Placed`.
    labels: split -> (n,) int64 indices into `label_names`; multi-label (n, K) float32 of 0 and 1; pose (n, 7) float32,
        position and unit quaternion.
    spacing: millimetres between the voxels of what a network is shown of a volume; None: all of it, resized.
    normalisation: mean and standard deviation of pixels in [0, 1], where the papers normalise with fixed numbers.
    notes: what to know about one's own scans, in sentences: files that were left out, patients in two splits.
    origins: split -> of one's own scans, where each comes from; empty for others.

    Raises LiquidLensError where labels do not belong to scans and classes.
    """

    name: str
    label_names: tuple[str, ...]
    values: Values
    md5: str
    scans: dict[str, Scans]
    labels: dict[str, NDArray[Any]]
    task: Task = "classes"
    channels: int = 1
    window: tuple[float, float] | None = None
    spacing: tuple[float, float, float] | None = None
    normalisation: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    origins: dict[str, tuple[Origin, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split, scans in self.scans.items():
            labels = self.labels[split]
            if len(scans) == 0:
                raise LiquidLensError(f"{self.name} has no scans in the split {split}.")
            if len(scans) != len(labels):
                raise LiquidLensError(f"{self.name} has {len(scans)} scans and {len(labels)} labels in {split}.")
            if self.task == "classes":
                self._check_classes(split, labels)
            elif labels.shape[1:] != (len(self.label_names),):
                raise LiquidLensError(
                    f"{self.name} has labels of shape {labels.shape} in {split}, not {len(self.label_names)} per scan."
                )

    def _check_classes(self, split: str, labels: NDArray[np.int64]) -> None:
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.label_names)))
        if wrong.size:
            raise LiquidLensError(
                f"{self.name}: item {wrong[0]} of {split} has the label {labels[wrong[0]]}; "
                f"the classes are 0 to {len(self.label_names) - 1} ({', '.join(self.label_names)})."
            )

    def held_out(self) -> "Dataset":
        """The same without its test scans, in whose place 30 % of the training scans stand: what networks and recipes
        are chosen with.  Always the same scans; drawn one by one, or, of one's own scans, patient by patient."""
        count = len(self.scans["train"])
        own = self.origins.get("train", ())
        patients = np.unique([origin.patient for origin in own], return_inverse=True)[1] if own else np.arange(count)
        order = np.random.default_rng(0).permutation(patients.max() + 1)
        held = np.isin(patients, order[: round(HELD_OUT_SHARE * len(order))])
        chosen = {"test": np.flatnonzero(held), "train": np.flatnonzero(~held)}
        origins = {split: tuple(own[i] for i in indices) for split, indices in chosen.items() if own}
        parts = {split: picked(self.scans["train"], indices) for split, indices in chosen.items()}
        labels = {split: self.labels["train"][indices] for split, indices in chosen.items()}
        return replace(
            self,
            name=self.name + HELD_OUT,
            scans={**self.scans, **parts},
            labels={**self.labels, **labels},
            origins={**self.origins, **origins},
        )

    @property
    def volumes(self) -> bool:
        """Whether the scans are volumes, and not images or feature maps."""
        if self.values == "features" or self.channels != 1:
            return False
        own = self.origins.get("train")
        return (len(own[0].facts.shape) if own else self.scans["train"][0].ndim) == 3

    @property
    def synthetic(self) -> bool:
        return self.name.startswith("phantom-")


def picked(scans: Scans, items: NDArray[np.int64]) -> Scans:
    """The scans at these places; what is decoded when asked for stays so."""
    if isinstance(scans, np.ndarray):
        return scans[items]
    keys = keys_of(scans)
    return Decoded(items.tolist(), scans.__getitem__, [keys[i] for i in items] if keys else ())


def joined(first: Scans, second: Scans) -> Scans:
    """Two sets of scans, one after the other."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    count = len(first)
    keys = [keys_of(scans) for scans in (first, second)]
    return Decoded(
        range(count + len(second)),
        lambda i: first[i] if i < count else second[i - count],
        [*keys[0], *keys[1]] if all(keys) else (),
    )


def keys_of(scans: Scans) -> Sequence[str]:
    """See `Decoded`; empty for others."""
    return scans.keys if isinstance(scans, Decoded) else ()


def md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def md5_of(parts: Iterable[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # the checksum that datasets publish, not a protection
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
