"""The sender: takes reports to the archive with C-STORE."""

from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, build_context

from liquidlens.imaging.formats import dicom
from liquidlens.serve.node import tls
from liquidlens.serve.node.settings import TLS, Archive

#: Seconds for the connection, and for the archive's answer to each report.
SECONDS = 30
#: Answers to C-STORE that are no success, but with which the report is kept: PS3.4 B.2.3.
_WARNINGS = range(0xB000, 0xC000)


class UnreachableError(Exception):
    """The archive is not there, or hung up: later it may be."""


class RefusedError(Exception):
    """The archive said that it does not take this report."""


class Sender:
    """Knows the archive.  title: of the node.  Raises LiquidLensError if its certificates cannot be used."""

    def __init__(self, archive: Archive, title: str, secrets: TLS | None):
        self._archive = archive
        self._entity = AE(title)
        self._entity.connection_timeout = self._entity.acse_timeout = self._entity.dimse_timeout = SECONDS
        self._tls = (tls.for_archive(secrets), archive.host) if archive.tls and secrets is not None else None

    def send(self, files: Sequence[Path]) -> None:
        """Send the results of one series.  Raises UnreachableError or RefusedError, with a sentence's end."""
        with dicom.quiet():
            results = [dcmread(file) for file in files]
        contexts = {(result.SOPClassUID, result.file_meta.TransferSyntaxUID) for result in results}
        association = self._entity.associate(
            self._archive.host,
            self._archive.port,
            contexts=[build_context(*context) for context in sorted(contexts)],
            ae_title=self._archive.title,
            tls_args=self._tls,
        )
        if association.is_rejected:
            raise UnreachableError("the archive does not accept associations of this node")
        if not association.is_established:
            raise UnreachableError("the archive does not answer")
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        try:
            for result in results:
                if result.SOPClassUID not in accepted:
                    raise RefusedError(f"the archive does not take a {result.SOPClassUID.name}")
                status = association.send_c_store(result).get("Status")
                if status is None:
                    raise UnreachableError("the archive hung up")
                if status != 0 and status not in _WARNINGS:
                    raise RefusedError(f"the archive refused it with status 0x{status:04X}")
        finally:
            association.release()
