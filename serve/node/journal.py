"""The journal: how far each series is, and what was answered, in one SQLite database.

    arriving -> complete -> answered -> sent
                         -> ignored
             or at any point -> failed

Every change is on the disk before the call that makes it returns (``synchronous=FULL``), so that a kill at any moment
leaves each series in one of these states; what was under way is done again, with the same result.  There are UIDs here
and nothing else about a patient.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from liquidlens.errors import LiquidLensError

State = Literal["arriving", "complete", "answered", "sent", "ignored", "failed"]
#: States that a series leaves only if more of it arrives.
OVER: tuple[State, ...] = ("sent", "ignored", "failed")

_TABLES = """
CREATE TABLE IF NOT EXISTS series (
    key TEXT PRIMARY KEY, study TEXT NOT NULL, uid TEXT NOT NULL,
    state TEXT NOT NULL, since REAL NOT NULL, reason TEXT NOT NULL DEFAULT '',
    whole INTEGER NOT NULL DEFAULT 0, announced INTEGER, images TEXT NOT NULL DEFAULT '[]', report TEXT);
CREATE INDEX IF NOT EXISTS by_state ON series (state);
CREATE TABLE IF NOT EXISTS answer (
    report TEXT PRIMARY KEY, key TEXT NOT NULL, time REAL NOT NULL, rule TEXT NOT NULL, model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL, prediction TEXT NOT NULL, mean REAL NOT NULL, deviation REAL NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    key TEXT NOT NULL, image TEXT NOT NULL, time REAL NOT NULL, PRIMARY KEY (key, image));
CREATE TABLE IF NOT EXISTS model (sha256 TEXT PRIMARY KEY, expected TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Series:
    """key: the name of its folder.  study, uid: its UIDs.  since: when it came to its state, in seconds since 1970.
    reason: why it failed or was ignored.  whole: whether no sender of it was cut off.  announced: how many images it is
    to have, if that was said.  images: the names of the files that its report is about.  report: that one's UID."""

    key: str
    study: str
    uid: str
    state: State
    since: float
    reason: str
    whole: bool
    announced: int | None
    images: tuple[str, ...]
    report: str | None


@dataclass(frozen=True)
class Answer:
    """What a model said of a series.  report: the UID of the report.  time: in seconds since 1970.  prediction: as
    `Prediction.to_json`.  mean, deviation: of the values that the model was given."""

    report: str
    key: str
    time: float
    rule: str
    model: str
    model_sha256: str
    prediction: dict[str, Any]
    mean: float
    deviation: float


class Journal:
    """An open journal; all methods may be called by several threads at once, and raise OSError if the disk is full."""

    def __init__(self, path: Path, only_read: bool = False):
        """Open a journal, which is begun if it is not there.  Raises LiquidLensError if it is none."""
        if only_read and not path.is_file():
            raise LiquidLensError(f"{path}: there is no such journal.")
        self._lock = threading.RLock()
        try:
            address = f"{path.absolute().as_uri()}?mode={'ro' if only_read else 'rwc'}"
            self._base = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
            if not only_read:
                self._base.execute("PRAGMA journal_mode=WAL")
                self._base.execute("PRAGMA synchronous=FULL")
                self._base.executescript(_TABLES)
            self._base.execute("SELECT 1 FROM series, answer LIMIT 1")
        except sqlite3.Error as error:
            raise LiquidLensError(f"{path} is no journal of a node ({error}); move it out of the way.") from error

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def arrive(self, key: str, study: str, uid: str, announced: int | None) -> None:
        """An image of this series is here, from a sender that has not hung up yet."""
        with self._lock:
            known = self.find(key)
            if known is None:
                self._change(
                    "INSERT INTO series (key, study, uid, state, since, announced) VALUES (?, ?, ?, 'arriving', ?, ?)",
                    (key, study, uid, time.time(), announced),
                )
            elif known.state in OVER:
                self._change(
                    "UPDATE series SET state='arriving', since=?, reason='', whole=0, announced=? WHERE key=?",
                    (time.time(), announced, key),
                )
            elif known.whole or (announced or 0) > (known.announced or 0):
                most = max(announced or 0, known.announced or 0) or None
                self._change("UPDATE series SET whole=0, announced=? WHERE key=?", (most, key))

    def refuse(self, key: str, image: str) -> None:
        """The image of this name could not be kept: its series is not whole, if it is arriving."""
        self._change("INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (key, image, time.time()))
        self._change("UPDATE series SET whole=0 WHERE key=? AND state='arriving'", (key,))

    def refused(self) -> dict[str, dict[str, float]]:
        """By series, the names of images that were refused, and when."""
        found: dict[str, dict[str, float]] = {}
        for key, image, when in self._rows("SELECT * FROM refused"):
            found.setdefault(key, {})[image] = when
        return found

    def forget_refused(self, key: str, image: str | None = None) -> None:
        """It came after all, or nobody asks any more; None: all images of the series."""
        self._change("DELETE FROM refused WHERE key=? AND image=coalesce(?, image)", (key, image))

    def let_go(self, key: str) -> None:
        """Its sender has hung up, as it should."""
        self._change("UPDATE series SET whole=1 WHERE key=?", (key,))

    def move(self, key: str, old: State, new: State, reason: str = "") -> bool:
        """Change a series' state; False if it is not in the old one."""
        sql = "UPDATE series SET state=?, since=?, reason=? WHERE key=? AND state=?"
        return self._change(sql, (new, time.time(), reason, key, old)) == 1

    def answered(self, answer: Answer, images: Sequence[str]) -> None:
        """Keep the answer to a complete series, about the files of these names."""
        values = (*vars(answer).values(),)
        with self._lock, self._base:
            self._change("BEGIN")
            self._change(
                "INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                tuple(json.dumps(value) if isinstance(value, dict) else value for value in values),
            )
            self._change(
                "UPDATE series SET state='answered', since=?, images=?, report=? WHERE key=? AND state='complete'",
                (time.time(), json.dumps(list(images)), answer.report, answer.key),
            )

    def know(self, sha256: str, expected: Mapping[str, float]) -> None:
        """Keep what is expected of a model's answers, see `drift.expected`."""
        self._change("INSERT OR REPLACE INTO model VALUES (?, ?)", (sha256, json.dumps(expected)))

    def expected(self, sha256: str) -> dict[str, float]:
        rows = self._rows("SELECT expected FROM model WHERE sha256=?", sha256)
        return json.loads(rows[0][0]) if rows else {}

    def find(self, key: str) -> Series | None:
        return next(self._series("WHERE key=?", key), None)

    def all_in(self, state: State) -> list[Series]:
        """The series in a state, the oldest first."""
        return list(self._series("WHERE state=? ORDER BY since", state))

    def counts(self) -> dict[str, int]:
        """How many series are in each state."""
        return dict(self._rows("SELECT state, count(*) FROM series GROUP BY state"))

    def answer(self, report: str) -> Answer | None:
        """What was answered in the report with this UID."""
        return next(iter(self._answers("WHERE report=?", report)), None)

    def answers(self) -> list[Answer]:
        """All answers, in their order."""
        return self._answers("ORDER BY time")

    def _series(self, where: str, *values: Any) -> Iterator[Series]:
        for row in self._rows(f"SELECT * FROM series {where}", *values):  # noqa: S608 (our own words)
            key, study, uid, state, since, reason, whole, announced, images, report = row
            names = tuple(json.loads(images))
            yield Series(key, study, uid, state, since, reason, bool(whole), announced, names, report)

    def _answers(self, where: str, *values: Any) -> list[Answer]:
        rows = self._rows(f"SELECT * FROM answer {where}", *values)  # noqa: S608 (our own words)
        return [
            Answer(report, key, when, rule, model, sha256, json.loads(prediction), mean, deviation)
            for report, key, when, rule, model, sha256, prediction, mean, deviation in rows
        ]

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._base.execute(sql, values).fetchall()

    def _change(self, sql: str, values: Sequence[Any] = ()) -> int:
        with self._lock:
            try:
                return self._base.execute(sql, values).rowcount
            except sqlite3.OperationalError as error:  # the disk is full, or away
                raise OSError(f"the journal cannot be written: {error}") from error
