"""The node in one process: receive, judge, send, and tidy, until it is told to stop."""

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from liquidlens.errors import LiquidLensError
from liquidlens.files import lock
from liquidlens.imaging.budget import DEFAULT, Budget
from liquidlens.serve.batch.journal import opened
from liquidlens.serve.monitoring import Monitor
from liquidlens.serve.node import drift
from liquidlens.serve.node.arrivals import Arrivals
from liquidlens.serve.node.journal import Journal, Series, State
from liquidlens.serve.node.judge import IgnoredError, Judge
from liquidlens.serve.node.receiver import Receiver
from liquidlens.serve.node.sender import RefusedError, Sender, UnreachableError
from liquidlens.serve.node.settings import Node, Settings
from liquidlens.serve.node.spool import Spool
from liquidlens.serve.node.web import Poller, Storer
from liquidlens.serve.server.log import discreet, origin
from liquidlens.words import counted

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

#: Seconds between two looks at what is due, and between two sweeps of what nobody comes back to.
TICK, SWEEP = 0.2, 60
#: Seconds for which open associations, and what is being judged, are waited for at the end.
DRAIN_SECONDS = 20
#: Seconds after which an archive that did not answer, or refused a report, is asked again, at first and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

logger = logging.getLogger(__name__)


class _Pause:
    """Each is twice as long as the one before."""

    _seconds = _until = 0.0

    def begin(self) -> None:
        self._seconds = min(LONGEST_PAUSE, 2 * self._seconds or FIRST_PAUSE)
        self._until = time.monotonic() + self._seconds

    @property
    def lasts(self) -> bool:
        return time.monotonic() < self._until


class Running:
    """A node from its beginning to `stop`; its folder may be used by one process only.

    Raises LiquidLensError if the folder, a model, a certificate or the port cannot be used.
    """

    def __init__(self, settings: Settings, budget: Budget = DEFAULT):
        node = self._settings = settings.node
        self.spool = Spool(node.folder, node.reserve_bytes)
        self._lock = opened(node.folder / "lock")
        lock(self._lock, node.folder)  # before anything that is there is touched
        self.journal = Journal(node.folder / "journal.db")
        self.judge = Judge(settings, budget)
        for predictor in self.judge.predictors.values():
            self.journal.know(predictor.sha256, drift.expected(predictor.manifest))
        self.monitor = Monitor(self.judge.predictors)
        self.monitor.watch("series", "Series by how far they are.", "state", self.journal.counts)
        self._arrivals = Arrivals(self.journal, self.spool, node)
        web = settings.web
        self._sender: Sender | Storer
        if settings.archive is not None:
            self._sender = Sender(settings.archive, node.title, settings.tls)
        else:
            assert web is not None  # noqa: S101  (`Settings` sees to it)
            self._sender = Storer(web, settings.tls)
        self._poller = Poller(web, settings.tls, self._arrivals) if web is not None and web.modality else None
        self._poll_seconds = web.poll_seconds if web is not None else 0.0
        self._complete: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for key in self._arrivals.recover():
            self._complete.put(key)
        self._stopped = threading.Event()
        self.receiver = Receiver(settings, self._arrivals, lambda what: self.monitor.requests.labels(what).inc())
        self._metrics = None
        if node.metrics_port:
            self._metrics = _serve_figures(node, self.monitor)
        works = [self._judge_all] * node.workers + [self._send_all, self._look_around]
        works += [self._poll_all] * (self._poller is not None)
        self._threads = [threading.Thread(target=self._go_on, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more, end what is under way, and leave the rest to the next start."""
        self.receiver.stop(DRAIN_SECONDS)
        self._stopped.set()
        for _ in range(self._settings.workers):
            self._complete.put(None)
        until = time.monotonic() + DRAIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.1, until - time.monotonic()))
        if self._metrics is not None:
            self._metrics.shutdown()
        self.journal.close()
        self._lock.close()

    def _go_on(self, work: Callable[[], None]) -> None:
        """Do a work again and again, whatever goes wrong once: a full disk, for example, which somebody clears."""
        while not self._stopped.is_set():
            try:
                work()
            except Exception as error:
                why = (error.strerror or error) if isinstance(error, OSError) else origin(error)
                logger.error("the node's own work failed, and is tried again: %s", why)
                self.monitor.failures.labels("node").inc()
                self._stopped.wait(FIRST_PAUSE)

    def _look_around(self) -> None:
        swept = -float(SWEEP)
        while not self._stopped.wait(TICK):
            for key in self._arrivals.due():
                self._complete.put(key)
            if time.monotonic() - swept >= SWEEP:
                swept = time.monotonic()
                self._arrivals.sweep()

    def _poll_all(self) -> None:
        assert self._poller is not None  # noqa: S101  (else this does not run)
        while not self._stopped.is_set():
            try:
                self._poller.poll()
            except UnreachableError as error:
                self.monitor.failures.labels("poll").inc()
                logger.warning("nothing could be looked for: %s", error)
            self._stopped.wait(self._poll_seconds)

    def _judge_all(self) -> None:
        while (key := self._complete.get()) is not None and not self._stopped.is_set():
            try:
                self._judge(key)
            except BaseException:
                self._complete.put(key)  # it is still complete, and nobody else would come back to it
                raise

    def _judge(self, key: str) -> None:
        series = self.journal.find(key)
        if series is None or series.state != "complete":
            return
        names = self.spool.images(key)
        before, now = set(series.images), set(names)
        if now < before:  # a repetition, cut short: its report is there
            self._end(series, "sent", names)
            return
        try:
            if not before <= now:
                raise LiquidLensError(
                    f"{counted(len(now - before), 'image')} came after the report about {len(before)} others: send "
                    "the whole series again."
                )
            judged = self.judge.judge(series, names, self.spool, self.journal)
        except IgnoredError as why:
            self._end(series, "ignored", names, str(why))
            return
        except OSError:
            raise  # of the disk, and no fault of the series
        except Exception as error:
            told = str(error) if isinstance(error, LiquidLensError) else f"the node's own work failed: {origin(error)}"
            self._end(series, "failed", names, told)
            return
        if self.spool.images(key) != names:  # more came meanwhile: it is not complete after all
            self.journal.move(key, "complete", "arriving")
            return
        self.spool.put_results(key, judged.files)
        self.journal.answered(judged.answer, names)
        for stage, seconds in judged.seconds.items():
            self.monitor.seconds.labels(stage).observe(seconds)
        self.monitor.answer(judged.answer.rule, judged.prediction)
        logger.info("series %s: answered by rule %s", key, judged.answer.rule)

    def _send_all(self) -> None:
        archive, reports = _Pause(), dict[str, _Pause]()
        while not self._stopped.wait(TICK):
            if archive.lasts:
                continue
            waiting = self.journal.all_in("answered")
            reports = {series.key: reports.get(series.key, _Pause()) for series in waiting}
            for series in waiting:
                if reports[series.key].lasts:
                    continue
                try:
                    self._send(series)
                    archive = _Pause()
                except UnreachableError as error:
                    archive.begin()
                    self._put_off(series, str(error))
                    break
                except Exception as error:  # of this report: the others do not wait for it
                    archive = _Pause()
                    reports[series.key].begin()
                    refused = isinstance(error, RefusedError)
                    self._put_off(series, str(error) if refused else f"the node's own work failed: {origin(error)}")
                if self._stopped.is_set():
                    return

    def _send(self, series: Series) -> None:
        files = self.spool.results(series.key)
        if not files:  # somebody took them away
            self.journal.move(series.key, "answered", "complete")
            self._complete.put(series.key)
            return
        started = time.monotonic()
        self._sender.send(files)
        self.monitor.seconds.labels("send").observe(time.monotonic() - started)
        self._end(series, "sent", list(series.images))

    def _put_off(self, series: Series, why: str) -> None:
        """Try again later, unless this has been tried for long enough."""
        self.monitor.failures.labels("send").inc()
        logger.warning("series %s: its report was not sent: %s", series.key, why)
        if time.time() - series.since >= 3600 * self._settings.give_up_hours:
            self._end(series, "failed", list(series.images), f"its report was not sent: {why}")

    def _end(self, series: Series, state: State, judged: list[str], reason: str = "") -> None:
        ended = self._arrivals.settle(series.key, series.state, state, judged, reason)
        if ended and state == "failed":
            self.monitor.failures.labels("series").inc()
            logger.error("series %s: failed: %s", series.key, reason)
        elif ended:
            logger.info("series %s: %s%s", series.key, state, f", {reason}" if reason else "")


def run(settings: Settings, budget: Budget, say: Callable[[str], None], json_log: bool = False) -> None:
    """Run a node until SIGINT or SIGTERM, then end what is under way.

    say: is told what runs and where.  json_log: whether the log is JSON.  Raises LiquidLensError as `Running` does.
    """
    os.umask(0o077)
    told = threading.Event()
    with _ended_by_signals(told):
        running = Running(settings, budget)
        for rule in settings.rules:
            predictor = running.judge.predictors[rule.name]
            say(f"{rule.name}: {predictor.manifest.model} on {predictor.device}, {predictor.path}")
        where = f"{settings.node.title} at {settings.node.host}, port {running.receiver.port}"
        say(f"Research use only, not a medical device. {where}, until Ctrl+C.")
        with discreet(json_log):
            told.wait()
            running.stop()


def _serve_figures(node: Node, monitor: Monitor) -> "WSGIServer":
    try:
        return start_http_server(node.metrics_port, node.metrics_host, monitor.registry)[0]
    except OSError as error:
        where = f"{node.metrics_host}, port {node.metrics_port}"
        raise LiquidLensError(f"cannot serve /metrics at {where}: {error.strerror}.") from error


@contextmanager
def _ended_by_signals(told: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
