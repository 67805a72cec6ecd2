"""Know the data first: what there is to say about one's own scans before a network sees them, as tables of text.

`liquidlens data` prints them and writes them to a page.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from liquidlens.errors import LiquidLensError
from liquidlens.train.datasets.dataset import SPLITS, Dataset
from liquidlens.train.datasets.reading import Reading
from liquidlens.train.datasets.shortcut import each_sign, shortcut
from liquidlens.train.datasets.table.collection import Collection
from liquidlens.train.datasets.table.facts import Facts
from liquidlens.train.evidence import Figure

HOW = (
    "How well the label is told by what should not tell it: the AUC of a forest that sees nothing else, "
    "cross-validated by patient. A model that is not clearly above it has learned nothing."
)
#: So many of a list are shown.
SHOWN = 20
#: An AUC from which on what should not tell the label tells it.
TELLS = 0.6


@dataclass(frozen=True)
class Section:
    """A part of the report: sentences, and a table with a header.  alarm: whether they want to be read."""

    title: str
    sentences: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    alarm: bool = False


def report(collection: Collection, reading: Reading, dataset: Dataset | None, why_not: str = "") -> list[Section]:
    """What there is to say.  dataset: what would be trained on; None if there is none, and `why_not`."""
    if not collection.facts:
        return [_unreadable(collection)]
    sections = [
        _classes(collection, dataset, why_not),
        _values(collection, reading),
        _numbers(collection),
        _storage(collection),
        _patients(collection),
        _duplicates(collection, dataset),
        _unreadable(collection),
        _shortcut(collection),
    ]
    return [section for section in sections if section.sentences or section.rows]


def _classes(collection: Collection, dataset: Dataset | None, why_not: str) -> Section:
    names = collection.listed.label_names
    patients = [patient for patient, _ in collection.patients]
    members: dict[str, list[int]] = {"all": list(range(len(collection.rows)))}
    if dataset is not None:
        rows = zip(collection.rows, collection.facts, strict=True)
        place = {(row.name, facts.centre): i for i, (row, facts) in enumerate(rows)}
        members |= {split: [place[origin.listed] for origin in dataset.origins[split]] for split in SPLITS}

    def counted(name: str, indices: list[int]) -> str:
        own = [i for i in indices if name in collection.rows[i].labels]
        return f"{len(own):,} ({len({patients[i] for i in own}):,})"

    lines = tuple((name, *(counted(name, indices) for indices in members.values())) for name in names)
    total = ("together", *(f"{len(own):,} ({len({patients[i] for i in own}):,})" for own in members.values()))
    sentences = [f"{len(collection.rows):,} scans; in brackets patients."]
    if dataset is None:
        sentences.append(f"They cannot be trained on: {why_not}")
    return Section("Classes", tuple(sentences), ("class", *members), (*lines, total), alarm=dataset is None)


def _values(collection: Collection, reading: Reading) -> Section:
    values = collection.values(reading)
    window = f" with the window {values.window[0]:g},{values.window[1]:g}" if values.window else ""
    why = f": {values.why}" if values.why else ""
    units = Counter(each.units or "not said" for each in collection.facts)
    modalities = Counter(each.modality or "not said" for each in collection.facts)
    return Section(
        "Values",
        (
            f"Read as {values.choice}{window}{why}. --values says otherwise.",
            f"Units: {_counter(units)}. Modality: {_counter(modalities)}.",
        ),
    )


def _along(facts: Facts, axis: int, what: str) -> float | None:
    """The size of a scan, or its spacing, along an axis from behind; None if it has none."""
    numbers = getattr(facts, what) or ()
    return numbers[axis] if len(numbers) >= -axis else None


def _numbers(collection: Collection) -> Section:
    """Sizes, spacings and values of each class: smallest, median and largest."""
    measures: dict[str, Callable[[Facts], float | None]] = {}
    for before, what in (("", "shape"), ("mm between ", "spacing")):
        for axis, name in enumerate(("slices", "rows", "columns"), start=-3):  # of images there are the last two
            measures[before + name] = partial(_along, axis=axis, what=what)
    measures |= {
        "lowest value": lambda each: each.low,
        "mean value": lambda each: each.mean,
        "highest value": lambda each: each.high,
        "bytes": lambda each: each.storage.bytes,
        "mask's volume": lambda each: each.mask.volume if each.mask else None,
        "mask's diameter": lambda each: each.mask.diameter if each.mask else None,
    }
    rows = []
    for name, measure in measures.items():
        cells = [_span(measure(each) for each in own) for own in _by_class(collection).values()]
        if any(cells):
            rows.append((name, *(cell or "not said" for cell in cells)))
    header = ("smallest / median / largest", *_by_class(collection))
    return Section("Sizes and values", (), header, tuple(rows))


def _storage(collection: Collection) -> Section:
    """Kinds of files, colour modes and bits of each class."""
    by_class = _by_class(collection)
    kinds = Counter((each.storage.kind, each.storage.mode, each.storage.bits) for each in collection.facts)
    rows = tuple(
        (
            f"{kind} {mode}{f', {bits} bits' if bits else ''}",
            *(str(sum(_stored(each) == (kind, mode, bits) for each in own)) for own in by_class.values()),
        )
        for (kind, mode, bits), _ in kinds.most_common(SHOWN)
    )
    return Section("Files", (), ("file", *by_class), rows)


def _stored(each: Facts) -> tuple[str, str, int | None]:
    return each.storage.kind, each.storage.mode, each.storage.bits


def _patients(collection: Collection) -> Section:
    sources = Counter(source or "nobody knows" for _, source in collection.patients)
    sentences = [f"Whose scans they are, by: {_counter(sources)}.", *collection.about_patients()]
    return Section("Patients", tuple(sentences), alarm=len(sentences) > 1)


def _duplicates(collection: Collection, dataset: Dataset | None) -> Section:
    """Scans with the same pixels under two names."""
    split_of = {} if dataset is None else {o.path: split for split in SPLITS for o in dataset.origins[split]}
    same = defaultdict(list)
    for i, each in enumerate(collection.facts):
        same[each.digest].append(collection.rows[i])
    found = []
    for rows in same.values():
        if len({row.source for row in rows}) > 1:  # not for several points of one scan
            labels = "" if len({row.labels for row in rows}) == 1 else " OF DIFFERENT LABELS"
            splits = sorted({split_of[row.name] for row in rows if row.name in split_of})
            parted = f" in {' and '.join(splits)}" if len(splits) > 1 else ""
            found.append(f"The same pixels{labels}{parted}: {', '.join(row.name for row in rows)}.")
    return Section("Duplicates", tuple(_first(found)), alarm=bool(found))


def _unreadable(collection: Collection) -> Section:
    found = [sentence for _, sentence in collection.failures]
    return Section("Unreadable", tuple(_first(found)), alarm=bool(found))


def _shortcut(collection: Collection) -> Section:
    patients = np.array([patient for patient, _ in collection.patients])
    labels = collection.labels
    found = shortcut(collection.facts, labels, patients)
    if found is None:
        return Section("Shortcuts", ("A class has too few patients for the shortcut check.",))
    alone = each_sign(collection.facts, labels, patients)
    rows = [("all of these together", str(found.auc)), *((name, str(figure)) for name, figure in alone.items())]
    if found.mask is not None:
        rows.append(("apart: the mask's volume and diameter", str(found.mask)))
    return Section(
        "Shortcuts",
        (
            HOW,
            *([_verdict(found.auc, alone)] if found.auc.low > TELLS else []),
        ),
        ("sign", "AUC (95 % interval)"),
        tuple(rows),
        alarm=found.auc.low > TELLS,
    )


def _verdict(found: Figure, alone: dict[str, Figure]) -> str:
    strongest = [name for name, figure in alone.items() if figure.low > TELLS][:3]
    return f"THE LABEL SHOWS without a look at the scan: AUC {found}{', in ' * bool(strongest)}{', '.join(strongest)}."


def _by_class(collection: Collection) -> dict[str, list[Facts]]:
    return {
        name: [each for row, each in zip(collection.rows, collection.facts, strict=True) if name in row.labels]
        for name in collection.listed.label_names
    }


def _span(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return " / ".join(f"{number:,.4g}" for number in (min(known), float(np.median(known)), max(known)))


def _counter(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _first(sentences: list[str]) -> list[str]:
    if len(sentences) <= SHOWN:
        return sentences
    return [*sentences[:SHOWN], f"... and {len(sentences) - SHOWN:,} more."]


def dataset_or_why(collection: Collection, reading: Reading, name: str) -> tuple[Dataset | None, str]:
    """What would be trained on, or why there is nothing."""
    try:
        return collection.dataset(reading, name), ""
    except LiquidLensError as error:
        return None, str(error)
