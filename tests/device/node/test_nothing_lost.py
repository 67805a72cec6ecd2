"""Whatever dies at whatever moment: each study ends in one report."""

import errno
import functools
import random
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest

from liquidlens.errors import LiquidLensError
from liquidlens.serve.node.arrivals import Arrivals
from liquidlens.serve.node.journal import Journal
from liquidlens.serve.node.sender import RefusedError
from tests.device.node import studies
from tests.device.node.archive import Archive, free_port, is_there
from tests.device.node.conftest import rules, wait
from tests.device.node.test_door import associate


class Node:
    """A node in a process of its own, which dies and comes back."""

    def __init__(self, told: Path, port: int):
        self._told, self._port = told, port
        self._log = told.with_suffix(".log").open("ab")

    def start(self) -> None:
        command = [sys.executable, "-m", "liquidlens", "node", str(self._told)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        wait(lambda: self._process.poll() is not None or self._is_there())
        assert self._process.poll() is None, self._told.with_suffix(".log").read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def _is_there(self) -> bool:
        association = associate(self._port)
        if association.is_established:
            association.release()
            return True
        return False


def send(port: int, files: list[Path]) -> None:
    """Send one study as an archive does: again and again until every image was taken and the node let go."""
    while True:
        association = associate(port)
        if association.is_established:
            try:
                taken = [association.send_c_store(file).get("Status") == 0 for file in files]
            except RuntimeError:  # the node died in between
                continue
            if all(taken) and association.is_established:
                association.release()
                if association.is_released:
                    return
            else:
                association.abort()
        time.sleep(0.1)


def _have_ended(sending: list[Future], number: float) -> bool:
    return sum(one.done() for one in sending) >= number


def siege(folder: Path, number: int, kills: int, stops: int, seed: int = 0) -> dict[str, int]:
    """Send so many X-rays to a node that is killed, with its archive stopped, at random moments; what is there in the
    end: ``reports`` in the archive, ``studies`` with a report, and the states of the journal."""
    rng, port = random.Random(seed), free_port()  # noqa: S311  (moments, no secrets)
    archive = Archive(folder / "archive", port, route=False)
    node = Node(rules(folder, port, archive.port, idle=0.5), port)
    files = [studies.xray(folder / f"{i}.dcm", i) for i in range(number)]
    archive.start()
    node.start()
    events = ["kill"] * kills + ["stop"] * stops
    rng.shuffle(events)
    with ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(send, port, [file]) for file in files]
        share = number / (len(events) + 1)
        for at, event in enumerate(events, 1):
            wait(functools.partial(_have_ended, sending, at * share), 600)
            time.sleep(rng.uniform(0, 1.5))
            if event == "kill":
                node.kill()
                node.start()
            else:
                archive.stop()
                time.sleep(rng.uniform(1, 3))
                archive.start()
        for one in sending:
            one.result()
    journal = Journal(folder / "node" / "journal.db", only_read=True)
    wait(lambda: journal.counts().get("sent", 0) + journal.counts().get("failed", 0) == number, 600)
    assert node.end() == 0
    reports = archive.reports()
    found = {
        "reports": len(reports),
        "studies": len({archive.ask(f"/instances/{name}/study")["ID"] for name in reports}),
    }
    counts = journal.counts()
    journal.close()
    archive.stop()
    assert list((folder / "node" / "series").iterdir()) == []
    assert "LEAK" not in (folder / "RULES.log").read_text()
    return found | counts


def test_kills_and_stops_lose_nothing_and_double_nothing(tmp_path):
    if not is_there():
        pytest.skip("needs Orthanc and dcmtk: apt-get install orthanc orthanc-dicomweb dcmtk")
    assert siege(tmp_path, number=8, kills=2, stops=1) == {"reports": 8, "studies": 8, "sent": 8}


def test_a_series_that_was_cut_off_is_waited_for_and_then_fails_by_name(node, tmp_path):
    running = node(interrupted=1.5)
    slices = studies.ct(tmp_path / "ct")
    cut = associate(running.receiver.port)
    for file in slices[:5]:
        assert cut.send_c_store(file).Status == 0
    cut.abort()
    wait(lambda: running.journal.counts() == {"failed": 1})
    (failed,) = running.journal.all_in("failed")
    assert "cut off" in failed.reason
    again = associate(running.receiver.port)  # its sender tries again, with all of it
    for file in slices:
        assert again.send_c_store(file).Status == 0
    again.release()
    wait(lambda: running.journal.counts() == {"answered": 1})  # there is no archive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_breaks_its_association_is_cut_off_and_may_send_again(node, tmp_path):
    """pynetdicom's thread dies of a message that it does not know, and no event of its own says so."""
    running = node(idle=0.1)
    slices = studies.ct(tmp_path / "ct")
    broken = associate(running.receiver.port)
    for file in slices[:5]:
        assert broken.send_c_store(file).Status == 0
    elements = [(0x0100, b"\x77\x77"), (0x0110, b"\x09\x00"), (0x0800, b"\x01\x01")]  # 0x7777: there is no such command
    command = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements)
    message = struct.pack("<HHLL", 0, 0, 4, len(command)) + command
    value = struct.pack(">LBB", len(message) + 2, 1, 3) + message
    broken.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, len(value)) + value)
    wait(lambda: not running._arrivals._senders)
    assert running.journal.counts() == {"arriving": 1}
    again = associate(running.receiver.port)
    for file in slices:
        assert again.send_c_store(file).Status == 0
    again.release()
    wait(lambda: running.journal.counts() == {"answered": 1})
    broken.kill()


@pytest.mark.parametrize("cut_first", [False, True])
def test_half_a_series_is_not_whole_because_who_brings_the_other_half_lets_go(node, tmp_path, cut_first):
    running = node(idle=0.1)
    arrivals, slices = running._arrivals, studies.ct(tmp_path / "ct")
    arrivals.take(copied(running, slices[0]), "cut")
    arrivals.take(copied(running, slices[1]), "other")
    for sender in ["cut", "other"] if cut_first else ["other", "cut"]:
        arrivals.hung_up(sender, properly=sender != "cut")
    time.sleep(1)
    assert running.journal.counts() == {"arriving": 1}
    arrivals.take(copied(running, slices[2]), "other")  # begun before the rest came: its end says no more than before
    for file in slices:
        arrivals.take(copied(running, file), "again")
    arrivals.hung_up("again", properly=True)
    arrivals.hung_up("other", properly=True)
    wait(lambda: running.journal.counts() == {"answered": 1})


def test_of_two_numbers_that_a_series_is_to_have_the_larger_one_counts(node, tmp_path):
    """A fetch was broken off, and the archive has more of the series by now."""
    running = node(idle=0.1)
    arrivals, slices = running._arrivals, studies.ct(tmp_path / "ct")
    for fetch, files in (("broken off", slices[:2]), ("again", slices[:-1])):
        for file in files:
            arrivals.take(copied(running, file), fetch, 10 if fetch == "broken off" else len(slices))
        arrivals.hung_up(fetch, properly=True)
    time.sleep(1)
    assert running.journal.counts() == {"arriving": 1}
    arrivals.take(copied(running, slices[-1]), "the rest", len(slices))
    wait(lambda: running.journal.counts() == {"answered": 1})


def test_an_image_that_the_disk_did_not_take_is_missed_after_a_restart_too(node, tmp_path, monkeypatch):
    running = node(idle=0.1)
    arrivals, slices = running._arrivals, studies.ct(tmp_path / "ct")
    for file in slices[1:]:
        arrivals.take(copied(running, file), "one")
    with monkeypatch.context() as patch:
        patch.setattr("liquidlens.serve.node.spool.os.link", full)
        with pytest.raises(OSError, match="No space left"):
            arrivals.take(copied(running, slices[0]), "one")
    arrivals.hung_up("one", properly=True)
    restarted = Arrivals(running.journal, running.spool, running._settings)
    restarted.take(copied(running, slices[1]), "two")
    restarted.hung_up("two", properly=True)
    time.sleep(1)
    assert running.journal.counts() == {"arriving": 1}
    restarted.take(copied(running, slices[0]), "three")
    restarted.hung_up("three", properly=True)
    wait(lambda: running.journal.counts() == {"answered": 1})
    assert running.journal.refused() == {}


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_series_of_which_an_image_was_refused_waits_for_it(node, tmp_path):
    """Its sender hangs up properly: by DICOM it is for the sender to offer the image again."""
    running = node(idle=0.1)
    slices, image = studies.ct(tmp_path / "ct"), studies.xray(tmp_path / "xray.dcm")
    first = associate(running.receiver.port)
    for file in [image, *slices[:-2]]:
        assert first.send_c_store(file).Status == 0
    running.spool._reserve = 2**62
    for file in slices[-2:]:
        assert first.send_c_store(file).Status == 0xA700
    running.spool._reserve = 0
    first.release()
    wait(lambda: running.journal.counts() == {"answered": 1, "arriving": 1})
    time.sleep(1)
    assert running.journal.counts() == {"answered": 1, "arriving": 1}
    second = associate(running.receiver.port)
    for file in slices[-2:]:
        assert second.send_c_store(file).Status == 0
    second.release()
    wait(lambda: running.journal.counts() == {"answered": 2})
    assert max(len(one.images) for one in running.journal.all_in("answered")) == len(slices)


def test_an_image_that_was_refused_is_waited_for_whatever_other_associations_do(node, tmp_path):
    running = node(idle=0.1)
    slices = studies.ct(tmp_path / "ct")
    for number, file in enumerate(slices):  # an association for each image, as some archives have it
        running.spool._reserve = 0 if number else 2**62  # the first: a pause after it may be longer than `idle`
        association = associate(running.receiver.port)
        assert association.send_c_store(file).Status == (0 if number else 0xA700)
        association.release()
    time.sleep(1)
    assert running.journal.counts() == {"arriving": 1}
    association = associate(running.receiver.port)
    assert association.send_c_store(slices[0]).Status == 0
    association.release()
    wait(lambda: running.journal.counts() == {"answered": 1})
    running.spool._reserve = 2**62
    association = associate(running.receiver.port)
    assert association.send_c_store(studies.xray(tmp_path / "xray.dcm")).Status == 0xA700
    association.release()
    assert running.journal.counts() == {"answered": 1}, "its sender has it, and nothing else is known of it"


def test_what_is_there_already_is_not_missing_and_what_has_no_uid_is(node, tmp_path):
    """Whoever brings it, and if it comes after all others."""
    running = node(idle=0.1)
    arrivals, slices = running._arrivals, studies.ct(tmp_path / "ct")
    for file in slices:
        arrivals.take(copied(running, file), "one")
    with arrivals._lock:  # nothing is judged in between
        arrivals.hung_up("one", properly=True)
        running.spool._reserve = 2**62
        with pytest.raises(OSError, match="nearly full"):
            arrivals.take(copied(running, slices[1]), "two")
        arrivals.hung_up("two", properly=True)
        running.spool._reserve = 0
    wait(lambda: running.journal.counts() == {"answered": 1})
    xray = studies.xray(tmp_path / "xray.dcm")
    with arrivals._lock:
        arrivals.take(copied(running, xray), "three")
        arrivals.hung_up("three", properly=True)
        broken = pydicom.dcmread(xray)
        broken.SOPInstanceUID = "1.2.03.4"
        broken.save_as(running.spool.incoming / "broken.dcm")
        with pytest.raises(LiquidLensError):
            arrivals.take(running.spool.incoming / "broken.dcm", "four")
        arrivals.hung_up("four", properly=True)
    time.sleep(1)
    assert running.journal.counts() == {"answered": 1, "arriving": 1}


def test_an_image_whose_uid_is_none_leaves_its_series_incomplete_and_no_other(node, tmp_path):
    running = node(idle=0.1)
    arrivals, slices = running._arrivals, studies.ct(tmp_path / "ct")
    arrivals.take(copied(running, studies.xray(tmp_path / "xray.dcm")), "one")
    for file in slices[1:]:
        arrivals.take(copied(running, file), "one")
    broken = pydicom.dcmread(slices[0])
    broken.SOPInstanceUID = "1.2.03.4"
    broken.save_as(running.spool.incoming / "broken.dcm")
    with pytest.raises(LiquidLensError, match="an image: its SOPInstanceUID is missing or no UID"):
        arrivals.take(running.spool.incoming / "broken.dcm", "one")
    arrivals.hung_up("one", properly=True)
    wait(lambda: running.journal.counts() == {"answered": 1, "arriving": 1})
    time.sleep(1)
    assert running.journal.counts() == {"answered": 1, "arriving": 1}


@pytest.mark.parametrize("error", [RefusedError("the archive refused it with status 0xA700"), KeyError("LEAK")])
def test_a_report_that_cannot_be_sent_is_offered_again_and_keeps_no_other_waiting(
    node, tmp_path, monkeypatch, caplog, error
):
    for pause in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"liquidlens.serve.node.running.{pause}", 0.01)
    running = node()
    offered = dict.fromkeys("01", 0)

    def send(files):
        """One of two reports is refused ten times."""
        (number,) = [one for one in "01" if pydicom.dcmread(files[0]).PatientID == f"X{one}"]
        offered[number] += 1
        if number == "0" and offered[number] <= 10:
            raise error

    monkeypatch.setattr(running._sender, "send", send)
    for number in range(2):
        running._arrivals.take(copied(running, studies.xray(tmp_path / f"{number}.dcm", number)), number)
        running._arrivals.hung_up(number, properly=True)
    wait(lambda: running.journal.counts() == {"sent": 2})
    assert offered == {"0": 11, "1": 1}
    assert "its report was not sent" in caplog.text
    assert "LEAK" not in caplog.text


def test_two_series_that_come_interleaved_are_two(node, tmp_path):
    running = node()
    series = [studies.ct(tmp_path / "one", 0), studies.ct(tmp_path / "two", 5)]
    association = associate(running.receiver.port)
    for number in range(max(map(len, series))):
        for files in series:
            if number < len(files):
                assert association.send_c_store(files[number]).Status == 0
                assert association.send_c_store(files[number]).Status == 0  # and each of them twice
    association.release()
    wait(lambda: running.journal.counts() == {"answered": 2})
    assert {len(one.images) for one in running.journal.all_in("answered")} == {len(files) for files in series}


def test_what_comes_after_the_report_alone_is_no_series(node, tmp_path):
    running = node(idle=0.3)
    slices = studies.ct(tmp_path / "ct")
    datasets = [pydicom.dcmread(file) for file in slices]
    assert len(datasets) > 3
    order = sorted(range(len(slices)), key=lambda i: float(datasets[i].ImagePositionPatient[2]))
    arrivals = running._arrivals
    for i in order[:-2]:
        arrivals.take(copied(running, slices[i]), "one")
    arrivals.hung_up("one", properly=True)
    wait(lambda: running.journal.counts() == {"answered": 1})
    (answered,) = running.journal.all_in("answered")
    running._end(answered, "sent", list(answered.images))  # as if the archive had taken it
    arrivals.take(copied(running, slices[order[-1]]), "two")
    arrivals.hung_up("two", properly=True)
    wait(lambda: running.journal.counts() == {"failed": 1})
    assert "1 image came after the report" in running.journal.all_in("failed")[0].reason


def copied(running, file: Path) -> Path:
    target = running.spool.incoming / file.name
    target.write_bytes(file.read_bytes())
    return target
