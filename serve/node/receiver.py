"""The receiver: answers C-ECHO, and C-STORE once the image is on the disk."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_RELEASE_RQ
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from liquidlens.errors import LiquidLensError
from liquidlens.serve.node import tls
from liquidlens.serve.node.arrivals import Arrivals
from liquidlens.serve.node.door import HANDSHAKE_SECONDS, PDU_BYTES, Door, plain
from liquidlens.serve.node.settings import Settings

#: Answers to C-STORE, PS3.4 B.2.3.
SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
#: A-ASSOCIATE-RJ, PS3.8 9.3.4: for good, by the user of the service, for its title.
_WRONG_TITLE = 1, 1, 3
#: What unpacks to any size before it can be looked at: nobody sends images in it.
_DEFLATED = ("1.2.840.10008.1.2.1.99",)

logger = logging.getLogger(__name__)

_config.LOG_HANDLER_LEVEL = "none"  # its lines quote what was sent


class Receiver:
    """Listens from its beginning to `stop`.

    say: is told what became of an image: ``stored``, ``refused`` or ``no room``.
    Raises LiquidLensError if the port is taken.
    """

    def __init__(self, settings: Settings, arrivals: Arrivals, say: Callable[[str], None]):
        node, self._arrivals, self._say = settings.node, arrivals, say
        self._senders = {(sender.title, sender.address) for sender in settings.senders}
        # Images are written as they come, and never held: pynetdicom does so in the folder for temporary files.
        self._tempdir = tempfile.tempdir
        _config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(arrivals.spool.incoming)
        entity = AE(node.title)
        entity.require_called_aet = True
        entity.maximum_associations = 2**16  # the door counts; pynetdicom counts those that were hung up on as well
        entity.maximum_pdu_size = PDU_BYTES
        entity.acse_timeout = entity.dimse_timeout = HANDSHAKE_SECONDS
        entity.network_timeout = node.silent_seconds
        syntaxes = [syntax for syntax in ALL_TRANSFER_SYNTAXES if syntax not in _DEFLATED]
        contexts = [build_context(Verification)]
        contexts += [build_context(context.abstract_syntax, syntaxes) for context in AllStoragePresentationContexts]
        try:
            self.door = entity.make_server(
                (node.host, node.port),
                contexts=contexts,
                ssl_context=None if settings.tls is None else tls.for_callers(settings.tls),
                evt_handlers=[
                    (evt.EVT_C_ECHO, lambda _: SUCCESS),
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_PDU_RECV, self._on_pdu),
                    (evt.EVT_REQUESTED, self._check),
                ],
                server_class=Door,
                node=node,
                addresses=frozenset(address for _, address in self._senders),
                over=self._over,
            )
        except OSError as error:
            raise LiquidLensError(f"cannot listen at {node.host}, port {node.port}: {error.strerror}.") from error
        self.port: int = self.door.server_address[1]
        self._thread = threading.Thread(target=self.door.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more connections, give associations that are open so long to end, and end them."""
        self.door.stop()
        until = time.monotonic() + seconds
        while self.door.established() and time.monotonic() < until:
            time.sleep(0.05)
        for association in self.door.established():
            association.abort()
        tempfile.tempdir = self._tempdir

    def _check(self, event: evt.Event) -> None:
        """Reject whoever calls by a title that is not that of its address."""
        requestor = event.assoc.requestor
        if (requestor.primitive.calling_ae_title, plain(requestor.address_info.address)) not in self._senders:
            event.assoc.acse.send_reject(*_WRONG_TITLE)
            event.assoc.kill()

    def _store(self, event: evt.Event) -> int:
        try:
            file = event.dataset_path
            if file is None:
                raise LiquidLensError("an image: its message is empty.")
            self._arrivals.take(file, event.assoc)
        except LiquidLensError as error:
            logger.warning("refused: %s", error)  # it begins with "an image: "
            self._say("refused")
            return NOT_UNDERSTOOD
        except OSError as error:
            logger.error("an image could not be kept: %s", error.strerror or error)
            self._say("no room")
            return OUT_OF_RESOURCES
        self._say("stored")
        return SUCCESS

    def _on_pdu(self, event: evt.Event) -> None:
        if isinstance(event.pdu, A_RELEASE_RQ):  # before the connection ends, which looks the same in both cases
            self._arrivals.hung_up(event.assoc, properly=True)

    def _over(self, association: Association) -> None:
        """A sender that has not let go by now was cut off."""
        self._arrivals.hung_up(association, properly=False)
