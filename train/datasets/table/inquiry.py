"""Asking all files of a table for their facts, once: what was found is kept, and they are not opened again."""

import functools
import json
from collections.abc import Sequence
from dataclasses import replace

import pydantic

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.storage import storage
from liquidlens.train.datasets.cache import Cache, key_of, opened, state_of
from liquidlens.train.datasets.readers import BUDGET, each
from liquidlens.train.datasets.table.facts import Facts, facts_of
from liquidlens.train.datasets.table.rows import Row


def ask(rows: Sequence[Row], name: str) -> list[Facts | LiquidLensError]:
    """What is found in each scan, or why nothing is.  name: of the table or folder, for people."""
    cache = opened()
    if cache is None:
        return list(each(rows, _facts_or_why, f"reading {name}"))
    keys = [key_of("facts", *_states(row), row.point, row.point_mm) for row in rows]
    known = {i: facts for i, key in enumerate(keys) if (facts := _known(cache.get(key))) is not None}
    missing = [i for i in range(len(rows)) if i not in known]
    fresh: dict[int, Facts | LiquidLensError] = {}
    for i, found in zip(missing, each([rows[i] for i in missing], _facts_or_why, f"reading {name}"), strict=True):
        fresh[i] = found
        if isinstance(found, Facts):  # at once: an interruption loses nothing that was read
            cache.put(keys[i], _facts_as_json().dump_json(_of_patient(found, None)))
    return _with_patients(rows, keys, known, fresh, cache)


def _facts_or_why(row: Row) -> Facts | LiquidLensError:
    try:
        return facts_of(row)
    except LiquidLensError as error:
        return error


def _states(row: Row) -> list[list]:
    return [state_of(source) for source in (row.source, row.mask) if source is not None]


def _known(content: bytes | None) -> Facts | None:
    if content is None:
        return None
    try:
        return _facts_as_json().validate_json(content)
    except pydantic.ValidationError:
        return None


@functools.cache
def _facts_as_json() -> pydantic.TypeAdapter[Facts]:
    return pydantic.TypeAdapter(Facts)


def _with_patients(
    rows: Sequence[Row],
    keys: Sequence[str],
    known: dict[int, Facts],
    fresh: dict[int, Facts | LiquidLensError],
    cache: Cache,
) -> list[Facts | LiquidLensError]:
    """All answers, with the patients of those DICOM files whose row names none.

    A patient's ID is not kept, nor a key of it: only who of these scans is the same one, as numbers.  Where there are
    other scans than before, the headers are read again.
    """
    answers = [known[i] if i in known else fresh[i] for i in range(len(rows))]
    told = {
        i: answer
        for i, answer in enumerate(answers)
        if isinstance(answer, Facts) and rows[i].patient is None and answer.storage.kind == "DICOM"
    }
    key = key_of("patients", [keys[i] for i in told])
    numbers = _numbers(cache.get(key), len(told))
    if numbers is None:
        stored = (storage(rows[i].source, BUDGET) if i in known else facts.storage for i, facts in told.items())
        patients = [one.patient or "" for one in stored]
        order = {patient: number for number, patient in enumerate(dict.fromkeys(filter(None, patients)), 1)}
        numbers = [order.get(patient) for patient in patients]
        cache.put(key, json.dumps(numbers).encode())
    for (i, facts), number in zip(told.items(), numbers, strict=True):
        answers[i] = _of_patient(facts, None if number is None else str(number))
    return answers


def _numbers(content: bytes | None, count: int) -> list[int | None] | None:
    """Who is who among so many scans."""
    if content is None:
        return None
    numbers = json.loads(content)
    return numbers if len(numbers) == count else None


def _of_patient(facts: Facts, patient: str | None) -> Facts:
    return replace(facts, storage=replace(facts.storage, patient=patient))
