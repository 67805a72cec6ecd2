"""The engine: places in, rows out, in their order and in little memory.

Worker processes read scans (`imaging.readers`).  Scans are taken in windows; within a window those of equal shape are
run together, and its rows come in the order of its scans.  A window ends after so many scans or bytes, counted from its
own beginning: a job that goes on after a window therefore runs the same batches as one that was never interrupted, and
gives the same digits.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from liquidlens.cores import usable_cores
from liquidlens.errors import LiquidLensError, printable
from liquidlens.imaging import Budget, Scan
from liquidlens.imaging.budget import DEFAULT
from liquidlens.imaging.collection import Found, Place, named
from liquidlens.imaging.readers import read_many
from liquidlens.serve.batch.inputs import is_told_elsewhere
from liquidlens.serve.batch.journal import Position
from liquidlens.serve.batch.tables import Row, columns
from liquidlens.serve.predict.prediction import Prediction
from liquidlens.serve.predict.predictor import Predictor

#: Scans per window, or batches if somebody says how large they are: scans of mixed shapes find others of their shape.
_SCANS, _BATCHES = 128, 4
#: Bytes of scans per window.  A large CT is a window of its own.
_BYTES = 64 * 2**20
#: Windows that are run at once: while the rows of one are made, the other one keeps the cores at work.
_AT_ONCE = 2


@dataclass(frozen=True)
class Options:
    """How scans are read and run.

    batch_size: scans of one shape that are run together; by default as many as `Predictor.together` says.
    readers: processes that read scans; by default one for each core, at most 8.
    budget: of one scan.
    """

    batch_size: int | None = None
    readers: int | None = None
    budget: Budget = DEFAULT

    @property
    def workers(self) -> int:
        return self.readers or min(8, usable_cores())


class Window(NamedTuple):
    """Scans that follow one another.

    rows: theirs.
    position: of the scan after them.
    places: how many places they are, a scan counting as its share of its place.
    """

    rows: list[Row]
    position: Position
    places: float


#: A place with its number, and one of its scans.
_Numbered = tuple[tuple[int, Place], Found]


def predict(
    predictor: Predictor, places: Iterable[tuple[int, Place]], options: Options, shard: str = "1/1"
) -> Iterator[Window]:
    """The rows of all scans in the places, which are numbered as the column ``input`` is to be.

    What cannot be read or judged is a row with its error.
    """
    expects = predictor.manifest.input
    found = read_many(
        ((numbered, numbered[1]) for numbered in places),
        options.workers,
        options.budget,
        axes=len(expects.size),
        colour=expects.channels == 3,
    )
    found = (one for one in found if not is_told_elsewhere(one[0][1], one[1].of))
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as model:
        under_way: deque[tuple[list[_Numbered], Future[list[Row]]]] = deque()
        # Meanwhile the next window is gathered, and the last one is kept by the caller.
        for window in _windows(found, _BATCHES * options.batch_size if options.batch_size else _SCANS):
            under_way.append((window, model.submit(_rows, predictor, window, options.batch_size, shard)))
            if len(under_way) > _AT_ONCE:
                yield _window(*under_way.popleft())
        while under_way:
            yield _window(*under_way.popleft())


def _window(scans: list[_Numbered], rows: Future[list[Row]]) -> Window:
    places = sum(1 / len(_numbers(place, found)) for (_, place), found in scans)
    (number, place), found = scans[-1]
    after = found.number + place.step
    goes_on = after in _numbers(place, found)
    return Window(rows.result(), (number, after) if goes_on else (number + 1, 0), places)


def _windows(found: Iterator[_Numbered], scans: int) -> Iterator[list[_Numbered]]:
    window: list[_Numbered] = []
    size = 0
    for numbered in found:
        window.append(numbered)
        scan = numbered[1].scan
        size += scan.pixels.nbytes if isinstance(scan, Scan) else 0
        if len(window) == scans or size >= _BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _rows(predictor: Predictor, window: list[_Numbered], batch_size: int | None, shard: str) -> list[Row]:
    names = [named(place.path, found.item) for (_, place), found in window]
    readable = [i for i, (_, found) in enumerate(window) if isinstance(found.scan, Scan)]
    scans = [scan for _, found in window if isinstance(scan := found.scan, Scan)]
    judged = predictor.predict_many(scans, [names[i] for i in readable], batch_size)
    answers: dict[int, Prediction | LiquidLensError] = dict(zip(readable, judged, strict=True))
    return [
        _row(predictor, number, place, found, answers.get(i, found.scan)) | {"shard": shard}  # type: ignore[arg-type]
        for i, ((number, place), found) in enumerate(window)
    ]


def columns_of(predictor: Predictor) -> dict[str, type]:
    """The columns of a table of this model's answers."""
    return columns(predictor.manifest.labels, predictor.manifest.input.spacing is not None)


def _row(predictor: Predictor, number: int, place: Place, found: Found, answer: Prediction | LiquidLensError) -> Row:
    row: Row = dict.fromkeys(columns_of(predictor))
    row |= {"input": number, "number": found.number, "path": text(place.path), "item": text(found.item)}
    row |= {"sha256": found.sha256, "model": predictor.manifest.model, "model_sha256": predictor.sha256}
    row["task"] = predictor.manifest.task
    if "at" in row:
        row["at"] = text(place.where) or None
    if isinstance(answer, LiquidLensError):
        return row | {"error": text(str(answer))}
    return row | {
        "label": answer.label,
        **{f"p_{label}": _digits(probability) for label, probability in answer.probabilities.items()},
        "threshold": answer.threshold,
        "abstained": answer.abstained,
        "ood_score": _digits(answer.ood_score),
        "ood": answer.ood,
        "device": answer.device,
        "milliseconds": round(answer.milliseconds["total"], 3),
        "notes": text(" ".join(answer.notes)) or None,
    }


def _digits(value: float) -> float:
    """Seven digits, which is what a float32 has."""
    return float(f"{value:.7g}")


def text(name: str) -> str:
    """A name as text that can be written anywhere: what is no letter that can be printed is shown as an escape."""
    return printable(name)


def _numbers(place: Place, found: Found) -> range:
    """The numbers of all scans of a place that are meant."""
    return range(found.of)[place.first : place.end : place.step] or range(found.number, found.number + 1)
