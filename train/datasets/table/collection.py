"""One's own scans, read once: what the files hold, whose they are, and the datasets that can be made of them."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.read import split as source_and_item
from liquidlens.train.datasets.cache import key_of
from liquidlens.train.datasets.dataset import SPLITS, Dataset, Decoded, Origin, Placed, md5_of
from liquidlens.train.datasets.reading import Reading
from liquidlens.train.datasets.table.facts import Facts, colours_of, greys_of, pixels_of, where_of
from liquidlens.train.datasets.table.inquiry import ask
from liquidlens.train.datasets.table.rows import Listed, Row
from liquidlens.train.datasets.table.splits import members_of
from liquidlens.train.datasets.table.values import Values, about_depths, check_values, values_of
from liquidlens.words import counted

#: How file names give the patient: person123_bacteria_4, IM-0115-0001, NORMAL2-IM-1427-0001, LIDC-IDRI-0001_R_1,
#: patient_12_slice_3, sub-01_T1w.
PATIENT = re.compile(
    r"(?<![a-z0-9])(person\d+|(?:normal2-)?im-\d+(?=-)|lidc-idri-\d+|patient[-_]?\d+|sub-[a-z0-9]+)", re.IGNORECASE
)
NO_PATIENTS = (
    "NO PATIENTS ARE KNOWN: neither a column, nor DICOM, nor the file names tell whose a scan is, so every scan counts "
    "as a patient of its own. If patients have several scans, the figures flatter: add a column 'patient'."
)


@dataclass(frozen=True, eq=False)
class Collection:
    """Scans that were listed and read.

    where: the table or the folder.  rows, facts: of the scans that could be read; failures: the others, each with its
    sentence.  notes: what else there is to say.
    """

    where: Path
    listed: Listed
    rows: tuple[Row, ...]
    facts: tuple[Facts, ...]
    failures: tuple[tuple[Row, str], ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def patients(self) -> tuple[tuple[str, str], ...]:
        """Of each scan the patient, and from where it is known: the table, DICOM, the file name, or nowhere ("").

        DICOM's IDs become numbers, in the order in which they come.
        """
        numbers: dict[str, int] = {}
        return tuple(self._patient(row, each, numbers) for row, each in zip(self.rows, self.facts, strict=True))

    def _patient(self, row: Row, each: Facts, numbers: dict[str, int]) -> tuple[str, str]:
        if row.patient is not None:
            return row.patient, "table"
        if each.storage.patient is not None:
            return f"patient {numbers.setdefault(each.storage.patient, len(numbers) + 1)}", "DICOM"
        named = patient_named(str(row.source))
        return (named, "file name") if named else (row.name, "")

    @property
    def labels(self) -> NDArray[Any]:
        """(n,) int64 class numbers, or (n, K) float32 of 0 and 1."""
        names = self.listed.label_names
        if self.listed.task == "classes":
            return np.array([names.index(row.labels[0]) for row in self.rows], np.int64)
        return np.array([[name in row.labels for name in names] for row in self.rows], np.float32)

    def values(self, reading: Reading) -> Values:
        return values_of(self.facts, reading)

    def dataset(self, reading: Reading, name: str) -> Dataset:
        """The dataset of this reading.  Raises LiquidLensError for values that do not fit and classes that cannot be
        split."""
        values = self.values(reading)
        for row, each in zip(self.rows, self.facts, strict=True):
            check_values(values.choice, each, str(row.source))
        labels, names = self.labels, self.listed.label_names
        patients = np.array([patient for patient, _ in self.patients])
        given = [row.split for row in self.rows]
        members = members_of(labels, names, patients, given, reading, str(self.where))
        decode = {"colour": colours_of, "grey": greys_of}.get(values.choice, pixels_of)
        if reading.spacing is not None:
            self._check_spacings()
        else:
            self._check_listed_once()

        def decoded(i: int) -> NDArray[Any] | Placed:
            pixels = decode(self.rows[i].source)
            return pixels if reading.spacing is None else Placed(pixels, *where_of(self.facts[i]))

        def key(i: int) -> str:
            each, item = self.facts[i], source_and_item(str(self.rows[i].source))[1]
            place = () if reading.spacing is None else (each.spacing, each.centre)
            return key_of(decode.__name__, each.content, each.storage.kind, item, *place)

        return Dataset(
            name=name,
            label_names=names,
            values="grey" if values.choice == "colour" else values.choice,
            md5=md5_of(self._identity(i, reading).encode() for i in range(len(self.rows))),
            scans={
                split: Decoded(members[split].tolist(), decoded, [key(i) for i in members[split]]) for split in SPLITS
            },
            labels={split: labels[members[split]] for split in SPLITS},
            task=self.listed.task,
            channels=3 if values.choice == "colour" else 1,
            window=values.window,
            spacing=reading.spacing,
            notes=(*self.notes, *self._said(values, reading), *self.about_patients(reading.folds is None)),
            origins={
                split: tuple(Origin(self.rows[i].name, self.patients[i][0], self.facts[i]) for i in members[split])
                for split in SPLITS
            },
        )

    def _check_listed_once(self) -> None:
        """Raise LiquidLensError if a scan is listed for several points, which whole scans do not tell apart."""
        listed: dict[Path, Row] = {}
        for row in self.rows:
            before = listed.setdefault(row.source, row)
            if before is not row:
                raise LiquidLensError(
                    f"{row.where}: {row.name} was listed before, in {before.where}; list each scan once, or look at "
                    "its points with --spacing 1."
                )

    def _check_spacings(self) -> None:
        """Raise LiquidLensError, naming the scan, if one is no volume or does not say how large it is."""
        for row, each in zip(self.rows, self.facts, strict=True):
            if len(each.shape) != 3:
                raise LiquidLensError(f"{row.source} is an image, and --spacing is for volumes: leave it out.")
            if each.spacing is None:
                raise LiquidLensError(
                    f"{row.source} does not say how far its voxels are apart, which --spacing has to know: save it as "
                    "NIfTI or DICOM, whose headers do, or leave --spacing out."
                )

    def _identity(self, i: int, reading: Reading) -> str:
        row, each = self.rows[i], self.facts[i]
        point = (each.point if reading.spacing is None else each.centre) or ()
        said = (row.name, *row.labels, self.patients[i][0], row.split or "", each.digest, *map(repr, point))
        return "\0".join((*said, "\n"))

    def _said(self, values: Values, reading: Reading) -> list[str]:
        """What is said about the values, and about what is given and not used."""
        notes = about_depths(self.facts) if values.choice in ("grey", "relative") else []
        if values.why:
            window = f" with the window {values.window[0]:g},{values.window[1]:g}" if values.window else ""
            notes.append(f"Read as {values.choice}{window}: {values.why}. --values says otherwise.")
        if reading.spacing is None and any(row.point or row.point_mm for row in self.rows):
            notes.append("The table's points are not used, for whole scans are resized: --spacing 1 looks around them.")
        tested = sum(row.split == "test" for row in self.rows)
        if reading.folds is not None and tested:
            notes.append(
                "THE SPLITS THAT ARE GIVEN ARE NOT USED: --folds parts all scans anew, and its final model is trained "
                f"on the {counted(tested, 'test scan')}, too. Leave them out to test it with them."
            )
        return notes

    def about_patients(self, splits_used: bool = True) -> list[str]:
        """Sentences about scans whose patient is not known, and about patients in two splits that were given, if those
        are used."""
        unknown = sum(not source for _, source in self.patients)
        if unknown == len(self.rows):
            return [NO_PATIENTS]
        notes = []
        if unknown:
            notes.append(f"{unknown} of {len(self.rows)} scans tell no patient; each counts as a patient of its own.")
        of_split = {
            split: {patient for row, (patient, _) in zip(self.rows, self.patients, strict=True) if row.split == split}
            for split in SPLITS
        }
        shared = sorted((of_split["train"] | of_split["val"]) & of_split["test"])
        if shared and splits_used:
            names = ", ".join([*shared[:3], "..."] if len(shared) > 3 else shared)
            count = counted(len(shared), "patient")
            notes.append(f"The test split shares {count} with another one ({names}): its figures will be too good.")
        return notes


def collect(where: Path, listed: Listed, skip_bad: bool = False) -> Collection:
    """Read every scan that is listed.

    Raises LiquidLensError, unless `skip_bad`, for the first one that cannot be read, and if images and volumes are
    mixed or a class has no readable scan.
    """
    collection = survey(where, listed)
    if collection.failures and not skip_bad:
        sentence = collection.failures[0][1]
        raise LiquidLensError(f"{sentence} Mend or remove it, or leave out such files with --skip-bad.")
    example: dict[int, Row] = {}
    for row, each in zip(collection.rows, collection.facts, strict=True):
        example.setdefault(len(each.shape), row)
    if len(example) == 2:
        raise LiquidLensError(
            f"{example[2].source} is an image and {example[3].source} a volume; a dataset is one or the other."
        )
    left = {label for row in collection.rows for label in row.labels}
    for name in listed.label_names:
        if name not in left:
            why = next((f": {sentence}" for row, sentence in collection.failures if name in row.labels), ".")
            raise LiquidLensError(f"No scan of the class {name} in {where} can be read{why}")
    return collection


def survey(where: Path, listed: Listed) -> Collection:
    """Read every scan that is listed, and keep the sentences about those that cannot be read."""
    rows, facts, failures = [], [], []
    for row, found in zip(listed.rows, ask(listed.rows, where.name), strict=True):
        if isinstance(found, LiquidLensError):
            failures.append((row, str(found)))
        else:
            facts.append(found)
            rows.append(row)
    notes = (*listed.notes, *(sentence for _, sentence in failures))
    return Collection(where, listed, tuple(rows), tuple(facts), tuple(failures), notes)


def patient_named(source: str) -> str | None:
    """The patient that the name of a file tells, or that of an item in it, in lower case."""
    file, item = source_and_item(source)
    found = PATIENT.search(file.name) or PATIENT.search(item)
    return found.group().lower() if found else None
