"""What a node is told: one TOML file, ``RULES.toml``, with the tables below."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from liquidlens.errors import LiquidLensError

_STRICT = pydantic.ConfigDict(extra="forbid")
#: An application entity's title: what a DICOM program is called.
Title = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.-]{1,16}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
#: The smallest and the largest that is meant.
Range = tuple[float, float]


@dataclass(frozen=True, config=_STRICT)
class TLS:
    """certificate, key: PEM files of the node itself, shown to those who call it and to the archive.
    authorities: a PEM file with the certificates that may have signed those of the others; whoever shows none of them
        is turned away.
    """

    certificate: Path
    key: Path
    authorities: Path


@dataclass(frozen=True, config=_STRICT)
class Node:
    """folder: where images wait and the journal lies; the node makes it for its user alone.
    title: what the node is called; who calls it by another title is turned away.
    host, port: where it listens; 0.0.0.0 lets other machines in.
    device, threads: as of `liquidlens predict`.
    public_key: whose signature every model has to have; none asks for none.
    workers: series that are judged at once.
    idle_seconds: a series is complete when nothing came for so long after its sender has hung up.
    interrupted_seconds: how long the rest of a series is waited for whose sender was cut off, before that is a failure.
    keep_days: days that the images of a failed series are kept.
    give_up_hours: hours for which a report is offered to an archive that does not take it.
    associations: how many may be open at once; beyond, the one that has been silent for longest is ended.
    silent_seconds: how long an association may be silent.
    image_bytes: the largest image, as it is sent.
    reserve_bytes: space on the disk that is left free; an image that would take it is refused, and its sender keeps it.
    metrics_host, metrics_port: where Prometheus finds ``/metrics``; port 0 is none.
    """

    folder: Path
    title: Title = "LIQUIDLENS"
    host: str = "127.0.0.1"
    port: Port = 11112
    device: str = "auto"
    threads: Count | None = None
    public_key: Path | None = None
    workers: Count = 1
    idle_seconds: Seconds = 30
    interrupted_seconds: Seconds = 3600
    keep_days: Annotated[float, Field(ge=0)] = 7
    give_up_hours: Annotated[float, Field(gt=0)] = 72
    associations: Count = 16
    silent_seconds: Seconds = 60
    image_bytes: Count = 512 * 2**20
    reserve_bytes: Annotated[int, Field(ge=0)] = 2**30
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0


@dataclass(frozen=True, config=_STRICT)
class Sender:
    """title, address: what a program that may send is called, and the IP address from which it calls."""

    title: Title
    address: str


@dataclass(frozen=True, config=_STRICT)
class Web:
    """url: where an archive offers DICOMweb, such as ``https://pacs.example.org/dicom-web``; with the certificates of
        [tls], if there are any.
    modality: what to look for; nothing is looked for without.
    poll_seconds: how often it is looked.
    days: only studies of so many days; 0: all that there are.
    user, password_file: for HTTP Basic; the file's first line is the password.
    store: whether reports are stored here with STOW, and not sent to [archive].
    """

    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    modality: tuple[str, ...] = ()
    poll_seconds: Seconds = 30
    days: Annotated[int, Field(ge=0)] = 2
    user: str = "liquidlens"
    password_file: Path | None = None
    store: bool = False


@dataclass(frozen=True, config=_STRICT)
class Archive:
    """title, host, port: where reports are sent with C-STORE.
    tls: whether through TLS, with the certificate of the node.
    """

    title: Title
    host: str
    port: Port
    tls: bool = False


@dataclass(frozen=True, config=_STRICT)
class Rule:
    """name: what the rule is called, in the journal and in figures.
    model: an exported file, a bundle, or the name of a pretrained model.
    modality: DICOM's codes, such as ``["CR", "DX"]``; empty: any, as of all below.
    body_part: Body Part Examined, such as ``CHEST``; case does not matter.
    description: a pattern of the series' description, such as ``*lung*``; case does not matter.
    image_type: words that Image Type has to have, such as ``["ORIGINAL", "AXIAL"]``.
    slices: the smallest and the largest number of slices.
    slice_spacing, pixel_spacing: the smallest and the largest distance between slices, and between pixels, mm.
    picture: whether a picture of the key slice is sent beside the report.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    model: str
    modality: tuple[str, ...] = ()
    body_part: str = ""
    description: str = ""
    image_type: tuple[str, ...] = ()
    slices: tuple[int, int] | None = None
    slice_spacing: Range | None = None
    pixel_spacing: Range | None = None
    picture: bool = False


@dataclass(frozen=True, config=_STRICT)
class Settings:
    """node: the table ``[node]``.
    rules: a table ``[[rules]]`` for each rule; the first one that fits a series names its model.
    senders: a table ``[[senders]]`` for each program that may send.
    archive: the table ``[archive]``; not needed if ``[web]`` stores reports.
    web: the table ``[web]``.
    tls: the table ``[tls]``; with it the node takes no connection without TLS.
    """

    node: Node
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    senders: tuple[Sender, ...] = ()
    archive: Archive | None = None
    web: Web | None = None
    tls: TLS | None = None

    @pydantic.model_validator(mode="after")
    def _fits(self) -> "Settings":
        names = [rule.name for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rules are called {', '.join(sorted(twice))}")
        stored = self.web is not None and self.web.store
        if stored == (self.archive is not None):
            raise ValueError("reports go either to [archive] or, with store = true, to [web]")
        if not self.senders and not (self.web is not None and self.web.modality):
            raise ValueError("nobody may send: name [[senders]], or the modality that [web] is to look for")
        if self.archive is not None and self.archive.tls and self.tls is None:
            raise ValueError("the archive is to be reached through TLS: a table [tls] names the certificates")
        return self


def read(path: Path) -> Settings:
    """The settings in a file; its paths are meant from the folder in which it lies.  Raises LiquidLensError if the file
    cannot be read, or says something else than this module knows."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise LiquidLensError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    try:
        return pydantic.TypeAdapter(Settings).validate_python(_placed(told, path.parent))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise LiquidLensError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}.") from error


def _placed(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables, with paths from `folder`."""
    for table, names in (
        ("node", ("folder", "public_key")),
        ("tls", ("certificate", "key", "authorities")),
        ("web", ("password_file",)),
    ):
        inside = told.get(table)
        if isinstance(inside, dict):
            inside |= {name: str(folder / inside[name]) for name in names if isinstance(inside.get(name), str)}
    rules = told.get("rules")
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and isinstance(rule.get("model"), str) and (folder / rule["model"]).exists():
            rule["model"] = str(folder / rule["model"])  # else it is the name of a pretrained one
    return told
