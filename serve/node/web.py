"""DICOMweb: series that are looked for and fetched (QIDO, WADO), and reports that are stored (STOW)."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import ParseError

import requests
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import add_certs_to_session, create_session, create_session_from_user_pass
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from liquidlens.errors import LiquidLensError
from liquidlens.imaging.formats import dicom
from liquidlens.serve.node.arrivals import CUT_OFF, Arrivals
from liquidlens.serve.node.journal import Series
from liquidlens.serve.node.sender import SECONDS, RefusedError, UnreachableError
from liquidlens.serve.node.settings import TLS, Web
from liquidlens.serve.node.spool import hashed
from liquidlens.serve.settings import read_password

#: Series are taken as they are kept: nobody is to compress them anew.
_AS_KEPT = (("application/dicom", "*"),)
_DAY = 86_400
#: Media types of an answer to STOW that `dicomweb_client` reads.
_ANSWERS = ("application/dicom+json", "application/json", "application/dicom+xml", "application/xml")

logger = logging.getLogger(__name__)


def connected(web: Web, tls: TLS | None) -> requests.Session:
    """For requests to an archive.  Raises LiquidLensError if the password cannot be read."""
    password = read_password(web.password_file) if web.password_file is not None else None
    session = create_session_from_user_pass(web.user, password) if password else create_session()
    if tls is not None and web.url.startswith("https:"):
        add_certs_to_session(session, str(tls.authorities))
        session.cert = (str(tls.certificate), str(tls.key))
    session.request = _patient(session.request)
    return session


def _patient(request: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
    """No request waits for ever, as those of `requests` do by themselves."""

    def limited(*args: object, **more: object) -> requests.Response:
        return request(*args, **{"timeout": SECONDS, **more})

    return limited


class Poller:
    """Looks for series in an archive and takes those whose number of images has not changed since the last look."""

    def __init__(self, web: Web, tls: TLS | None, arrivals: Arrivals):
        self._web, self._arrivals = web, arrivals
        self._client = DICOMwebClient(web.url, session=connected(web, tls))
        self._seen: dict[str, int] = {}  # key -> how many images there were
        self._late: dict[str, float] = {}  # key of a series that could not be fetched -> when: it comes last

    def poll(self) -> int:
        """Look once, and fetch what is there; how many series that were.  Raises UnreachableError.

        A series that cannot be fetched is logged, keeps no other waiting, and is tried again at the next look.
        """
        fetched, found, unanswered = 0, list[tuple[str, str, int]](), None
        try:
            for modality in self._web.modality:
                try:
                    found += self._found(modality)
                except Exception as error:  # whatever is raised of what was answered; the others may be answered well
                    unanswered = error
            for study, series, number in sorted(found, key=lambda one: self._late.get(hashed(*one[:2]), 0)):
                key = hashed(study, series)
                if self._seen.get(key) == number and not _has(self._arrivals.journal.find(key), number):
                    fetched += self._fetch(study, series, number)
                self._seen[key] = number
        except requests.RequestException as error:
            unanswered = error
        if unanswered is not None:
            raise UnreachableError(
                f"the archive does not answer as it should ({type(unanswered).__name__})"
            ) from unanswered
        return fetched

    def _found(self, modality: str) -> Iterator[tuple[str, str, int]]:
        since = time.strftime("%Y%m%d-", time.gmtime(time.time() - _DAY * self._web.days))
        found = self._client.search_for_series(
            fields=["NumberOfSeriesRelatedInstances"],
            search_filters={"Modality": modality, **({"StudyDate": since} if self._web.days else {})},
            get_remaining=True,
        )
        for one in map(Dataset.from_json, found):
            names = "StudyInstanceUID", "SeriesInstanceUID", "NumberOfSeriesRelatedInstances"
            study, series, number = (one.get(name) for name in names)
            if number is None:
                logger.warning(
                    "series %s: the archive does not say how many images it has", hashed(str(study), str(series))
                )
            else:
                yield str(study), str(series), int(number)

    def _fetch(self, study: str, series: str, number: int) -> bool:
        sender, spool, key = object(), self._arrivals.spool, hashed(study, series)
        file = spool.incoming / f"{key}.dcm"
        self._late[key] = time.monotonic()
        try:
            for image in self._client.iter_series(study, series, media_types=_AS_KEPT):
                if not spool.has_room(0):
                    raise UnreachableError("the disk is nearly full")
                with dicom.quiet():
                    dcmwrite(file, image, enforce_file_format=True)
                self._arrivals.take(file, sender, number)
                file.unlink()  # what was filed is a link to it
        except (requests.ConnectionError, requests.Timeout, UnreachableError):
            raise  # the archive is away, or the disk full, for all series
        except Exception as error:  # whatever pydicom raises of what was sent; some of it quotes the image
            if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                raise  # of the disk
            why = str(error) if isinstance(error, LiquidLensError) else type(error).__name__
            logger.warning("series %s: it could not be fetched: %s", key, why)
            return False
        finally:
            file.unlink(missing_ok=True)
            self._arrivals.hung_up(sender, properly=True)
        del self._late[key]
        return True


class Storer:
    """Stores reports with STOW."""

    def __init__(self, web: Web, tls: TLS | None):
        session = connected(web, tls)
        session.hooks["response"].append(self._look_at)
        self._client = DICOMwebClient(web.url, session=session)
        self._understood = False

    def _look_at(self, answer: requests.Response, **_: object) -> None:
        """dicomweb_client knows media types without parameters only, and takes what it does not know for success.
        Status 200 says that all was stored (PS3.18 10.5.3), and needs no words."""
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        answer.headers["Content-Type"] = kind
        self._understood = kind in _ANSWERS or (answer.status_code == 200 and not answer.content)

    def send(self, files: Sequence[Path]) -> None:
        """As of `Sender.send`."""
        with dicom.quiet():
            results = [dcmread(file) for file in files]
        try:
            answer = self._client.store_instances(results)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "an error"
            kind = UnreachableError if status in (408, 429, 502, 503, 504) else RefusedError
            raise kind(f"the archive answered {status}") from error
        except (requests.JSONDecodeError, ParseError) as error:
            raise RefusedError("the archive's answer cannot be read") from error
        except requests.RequestException as error:
            raise UnreachableError(f"the archive does not answer ({type(error).__name__})") from error
        if not self._understood:
            raise RefusedError("the archive's answer does not say whether it was stored")
        if failed := answer.get("FailedSOPSequence"):
            raise RefusedError(f"the archive refused it with status 0x{int(failed[0].get('FailureReason', 0)):04X}")


def _has(known: Series | None, number: int) -> bool:
    """Whether so many images of a series were taken already."""
    if known is None or known.state == "arriving" or known.reason == CUT_OFF:
        return False
    return len(known.images) >= number or known.announced == number
