"""TLS as of DICOM's BCP 195 profile (PS3.15, B.9 to B.12): version 1.2 or 1.3, forward secrecy, authenticated
encryption, and certificates on both sides."""

import ssl

from liquidlens.errors import LiquidLensError
from liquidlens.serve.node.settings import TLS

#: Of TLS 1.2; those of 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


def for_callers(settings: TLS) -> ssl.SSLContext:
    """What those who connect have to keep to.  Raises LiquidLensError if a file cannot be used."""
    return _context(settings, ssl.PROTOCOL_TLS_SERVER)


def for_archive(settings: TLS) -> ssl.SSLContext:
    """What the archive has to keep to; its certificate has to bear its name."""
    return _context(settings, ssl.PROTOCOL_TLS_CLIENT)


def _context(settings: TLS, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:
        raise LiquidLensError(
            f"{settings.certificate}, {settings.key}: no certificate with its key ({error})."
        ) from error
    try:
        context.load_verify_locations(settings.authorities)
    except OSError as error:
        raise LiquidLensError(f"{settings.authorities}: no certificates of authorities ({error}).") from error
    return context
