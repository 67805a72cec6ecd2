"""Every hostile DICOM file of the corpus is sent to a node, whose next C-ECHO is answered as before."""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import uid
from pydicom.filereader import read_preamble
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import CTImageStorage

from liquidlens.serve.node import settings
from liquidlens.serve.node.journal import OVER
from liquidlens.serve.node.running import Running
from tests.attacks.attack import SECRET, corpus
from tests.device.node.archive import free_port
from tests.device.node.conftest import rules, wait
from tests.device.node.test_door import answers, associate

#: By default every fourth, with LIQUIDLENS_ATTACKS=all each (`make attacks`).
ATTACKS = [attack for attack in corpus("scan", "trusted", "volumes") if "DICOM" in attack.name][
    :: 1 if os.environ.get("LIQUIDLENS_ATTACKS") == "all" else 4
]
#: Series Instance UID as explicit little endian has it, before which the study's belongs.
SERIES = struct.pack("<HH2s", 0x20, 0x0E, b"UI")


def data_sets(place: Path) -> list[bytes]:
    """The data sets of the DICOM files of an attack, with a study, so that they come as far as a reader."""
    found = []
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if not file.is_file() or file.stat().st_size > 2**24:
            continue
        content = file.read_bytes()
        if b"DICM" not in content[:256]:
            continue
        stream = io.BytesIO(content)
        read_preamble(stream, force=True)
        rest = stream.read()
        length = struct.unpack("<I", rest[8:12])[0] if rest[:6] == b"\x02\x00\x00\x00UL" else 0
        body = rest[12 + length :]
        study = uid.generate_uid().encode()
        study += b"\0" * (len(study) % 2)
        element = struct.pack("<HH2sH", 0x20, 0x0D, b"UI", len(study)) + study
        found.append(body.replace(SERIES, element + SERIES, 1))
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    """One node for all of them."""
    path = rules(tmp_path_factory.mktemp("node"), free_port(), free_port(), idle=0.2, interrupted=0.5)
    running = Running(settings.read(path))
    yield running
    running.stop()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_hostile_file_ends_in_a_refusal_or_in_a_named_failure(attack, running, tmp_path, capfd):
    place = attack.make(tmp_path)
    sent = data_sets(Path(str(place).partition("#")[0])) if not isinstance(place, Path) or place.exists() else []
    if not sent:
        pytest.skip("no DICOM files")
    for content in sent:
        association = associate(running.receiver.port)
        (context,) = (one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage)
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, uid.generate_uid()
        request.DataSet = io.BytesIO(content)
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, context.context_id)
        _, answer = association.dimse.get_msg(block=True)
        assert answer is not None
        assert answer.Status in (0, 0xC000)
        association._reactor_checkpoint.set()
        association.release()
        assert answers(running.receiver.port)
    wait(lambda: set(running.journal.counts()) <= {*OVER, "answered"})
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err
    assert SECRET not in "".join(one.reason for one in running.journal.all_in("failed"))
    assert answers(running.receiver.port)
