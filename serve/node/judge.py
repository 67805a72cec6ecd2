"""Judging: a complete series becomes an answer and what is to be sent, or a named failure."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom.uid import generate_uid

from liquidlens.errors import LiquidLensError
from liquidlens.imaging import Scan
from liquidlens.imaging.budget import Budget
from liquidlens.imaging.safely import Reader
from liquidlens.serve.node import picture, report, rules
from liquidlens.serve.node.journal import Answer, Journal, Series
from liquidlens.serve.node.settings import Settings
from liquidlens.serve.node.spool import Spool
from liquidlens.serve.predict.prediction import Prediction
from liquidlens.serve.predict.predictor import Predictor
from liquidlens.serve.predict.presentation import presented


class IgnoredError(Exception):
    """No rule is about this series; the message says what it is."""


class Judged(NamedTuple):
    """The answer, what is to be sent by the name of its file, and how long each stage took, in seconds."""

    answer: Answer
    prediction: Prediction
    files: dict[str, bytes]
    seconds: dict[str, float]


class Judge:
    """Holds the models of all rules.  `judge` may be called by several threads at once, each of which has a worker
    process that reads.

    predictors: by the rule's name.
    Raises LiquidLensError if a model cannot be loaded.
    """

    def __init__(self, settings: Settings, budget: Budget):
        node, self._rules, self._budget = settings.node, settings.rules, budget
        loaded = {
            model: Predictor(model, node.device, node.threads, node.public_key)
            for model in dict.fromkeys(rule.model for rule in settings.rules)
        }
        self.predictors = {rule.name: loaded[rule.model] for rule in settings.rules}
        self._readers = threading.local()

    def judge(self, series: Series, names: Sequence[str], spool: Spool, journal: Journal) -> Judged:
        """names: the files of its images.

        The same images and model give the same report with the same UIDs, to the byte: what was answered before, and
        when, is looked up.  Raises LiquidLensError if the series cannot be judged, IgnoredError if no rule fits.
        """
        if not names:
            raise LiquidLensError("none of its images is here any more.")
        folder = spool.images_of(series.key)
        images = rules.headers([folder / name for name in names], self._budget)
        facts = rules.facts(images)
        rule = rules.first_match(self._rules, facts)
        if rule is None:
            what = "a node's own" if facts.own else f"{facts.modality or 'no modality'}, {facts.slices} slices"
            raise IgnoredError(f"no rule is about it ({what})")
        started = time.monotonic()
        predictor = self.predictors[rule.name]
        scan = self._read(folder, predictor.manifest.input.channels == 3)
        read = time.monotonic()
        prediction = predictor.predict(scan, "the series")
        predicted = time.monotonic()
        uid = generate_uid(entropy_srcs=["report", predictor.sha256, rule.name, series.study, series.uid, *names])
        known = journal.answer(uid)
        values = presented(predictor.manifest, scan)
        answer = known or Answer(
            uid,
            series.key,
            time.time(),
            rule.name,
            predictor.manifest.model,
            predictor.sha256,
            _kept(prediction),
            float(values.mean()),
            float(values.std()),
        )
        files = {"report.dcm": report.structured(answer, images, predictor.manifest)}
        if rule.picture and not (
            answer.prediction["ood"] or answer.prediction["abstained"]
        ):  # else there is no finding
            files["picture.dcm"] = picture.capture(answer, images, predictor, scan)
        seconds = {"read": read - started, "predict": predicted - read, "report": time.monotonic() - predicted}
        return Judged(answer, prediction, files, seconds)

    def _read(self, folder: Path, colour: bool) -> Scan:
        """Read a series in this thread's worker process."""
        if not hasattr(self._readers, "reader"):
            self._readers.reader = Reader(self._budget)
        try:
            return self._readers.reader.read(folder, colour=colour)
        except LiquidLensError as error:  # the path of the folder says nothing to whoever reads of it
            raise LiquidLensError(str(error).removeprefix(f"{folder}: ")) from None


def _kept(prediction: Prediction) -> dict:
    """What the journal keeps of a prediction: not how long it took, nor where."""
    return {name: value for name, value in prediction.to_json().items() if name not in ("milliseconds", "device")}
