"""How the server is started: every option of `liquidlens serve`, with its default and the reason for it."""

import ipaddress
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from liquidlens.cores import usable_cores
from liquidlens.errors import LiquidLensError
from liquidlens.imaging.budget import DEFAULT, Budget

#: What one uploaded scan may ask of the machine.  Models and viewer take some 16 bytes for each voxel, 2 GiB for the
#: largest: half a gigabyte of 512 x 512 x 512.
SERVED = replace(DEFAULT, pixels=2**27, seconds=60)

#: Where the password comes from: never the command line, which every user of the machine can read.
PASSWORD = "LIQUIDLENS_PASSWORD"  # noqa: S105  (a variable's name)


@dataclass(frozen=True)
class Settings:
    """host, port: where the server listens; port 0 takes a free one.
    allowed_hosts: further names by which browsers may call the server, such as that of a proxy in front of it, with a
        port (``lens.example.org:8443``) unless it is that of https or http.
    root_path: the path under which a proxy offers the server, such as ``/lens``; empty if it is not under a path.
    user, password: asked of everybody, for everything but the health endpoints, if there is a password.
    upload_bytes: the largest request, and so the largest upload.  A CT series of 500 slices has about 260 MB.
    queue_size: how many requests may wait, of the demo and of the protocol each; the next one is told to come later.
    concurrency: how many of them are worked on at once; by default one per core, and at least two, so that a small one
        need not wait for a large one.
    device, threads: as `serve.predict.predictor.Predictor` takes them; by default requests that are worked on at once
        share the cores.
    public_key: whose signature every model has to have, see `liquidlens.signing`; None asks for none.
    budget: what one uploaded scan may ask of the machine: 2^27 pixels and 60 seconds, else as `Budget` by itself.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    user: str = "liquidlens"
    password: str | None = field(default=None, repr=False)
    upload_bytes: int = 512 * 2**20
    queue_size: int = 64
    concurrency: int = field(default_factory=lambda: max(2, usable_cores()))
    device: str = "auto"
    threads: int | None = None
    public_key: Path | None = None
    budget: Budget = SERVED

    def __post_init__(self) -> None:
        for name in self.allowed_hosts:
            address(name)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def answers_to(self, host: str) -> bool:
        """Whether the server goes by this name.

        A page elsewhere can point a name of its own at 127.0.0.1 and then read what is served there (DNS rebinding), so
        a local server knows its names.  One that others reach is left to its operator, who may name them.
        """
        if not self.local and not self.allowed_hosts:
            return True
        allowed = {address(name)[0] for name in self.allowed_hosts}
        return host in {"localhost", "127.0.0.1", "::1", self.host.lower()} | allowed


def address(text: str) -> tuple[str, int | None]:
    """Name, in lower case, and port of ``lens.example.org:8443``; the port is None if there is none.  Raises
    LiquidLensError for anything else."""
    try:
        found = urlsplit(f"//{text}")
        name = found.hostname or ""
        if found.netloc != text or not re.fullmatch(r"[\w.:-]+", name):
            raise ValueError(text)
        return name, found.port
    except ValueError:
        raise LiquidLensError(
            f"{text!r} is no name of a server; give one as lens.example.org or a port with it."
        ) from None


def read_password(file: Path | None) -> str | None:
    """The password: the first line of a file, or the variable LIQUIDLENS_PASSWORD; None if there is neither.

    The variable is taken out of the environment, so that the processes that decode uploads do not inherit it.
    Raises LiquidLensError if the file cannot be read or the password is empty.
    """
    password, source = os.environ.pop(PASSWORD, None), f"${PASSWORD}"
    if file is not None:
        try:
            password, source = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise LiquidLensError(f"{file}: the password cannot be read ({error}).") from error
    if password == "":
        raise LiquidLensError(f"{source}: the password is empty.")
    return password
