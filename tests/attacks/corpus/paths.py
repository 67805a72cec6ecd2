"""Archives and folders that point elsewhere: names that climb, absolute paths, links, devices and pipes.

They hope that a member is written or read outside of its archive, that a link in a folder never ends, or that a reader
waits for a device or a pipe for ever.  A link in a folder to a scan elsewhere is followed: whoever may read the folder
may read the scan, and data sets are often made of links.
"""

import os
import socket
import stat
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.formats import VOLUME, formats

SCAN = formats()[0].content


def member(name: str, mode: int, folder: Path) -> Path:
    """An archive whose only member has such a name and such a mode of Unix."""
    entry = zipfile.ZipInfo("placeholder")
    entry.filename = name  # as it is: ZipInfo would cut it at a NUL
    entry.external_attr = mode << 16
    with zipfile.ZipFile(folder / "paths.zip", "w") as archive:
        archive.writestr(entry, SCAN)
    return folder / "paths.zip"


def elsewhere(folder: Path) -> tuple[Path, Path]:
    """A folder to be opened, and a scan outside of it."""
    (folder / "study").mkdir()
    np.save(folder / "scan.npy", VOLUME)
    return folder / "study", folder / "scan.npy"


def link(target: str, name: str, folder: Path) -> Path:
    """A folder with nothing but a link."""
    study, _ = elsewhere(folder)
    os.symlink(target, study / name)
    return study


def pipe(folder: Path) -> Path:
    study, _ = elsewhere(folder)
    os.mkfifo(study / "scan.npy")
    return study


def the_pipe_itself(folder: Path) -> Path:
    return pipe(folder) / "scan.npy"


def mailbox(folder: Path) -> Path:
    """A socket of Unix; its path is short, whatever that of the folder is."""
    study, _ = elsewhere(folder)
    before = os.getcwd()
    os.chdir(study)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("scan.npy")
    finally:
        os.chdir(before)
    return study


def selection(item: str, folder: Path) -> str:
    """An item of an archive that is a path."""
    return f"{member('inside.npy', 0, folder)}#{item}"


def itself(folder: Path) -> Path:
    """Beside a scan, links to the folder that holds them, in many folders."""
    study, scan = elsewhere(folder)
    for number in range(3):
        (study / f"{number}").mkdir()
        for other in range(3):
            os.symlink(study, study / f"{number}" / f"{other}")
    (study / "scan.npy").write_bytes(scan.read_bytes())
    return study


OUTSIDE, LINK = Refused("points outside of it; pack it again"), Refused("is a link; pack the file itself")
NO_SCAN, NO_FILE = Refused("no scan"), Refused("there is no such file")
NAMES = {
    "climbs": "../scan.npy",
    "climbs later": "a/../../scan.npy",
    "is absolute": "/etc/scan.npy",
    "climbs as on Windows": "..\\..\\scan.npy",
    "has a drive": "C:scan.npy",
    "is on a network": "\\\\server\\share\\scan.npy",
}
ATTACKS = (
    *(Attack(f"zip: a name that {what}", "scan", partial(member, name, 0), OUTSIDE) for what, name in NAMES.items()),
    Attack("zip: a name with a NUL", "trusted", partial(member, "scan.npy\0.png", 0), Reads((4, 5, 6))),
    Attack("zip: a name of 5,000 letters", "trusted", partial(member, "a" * 5_000, 0), Refused("has 5,000 letters")),
    Attack("zip: a link", "scan", partial(member, "scan.npy", stat.S_IFLNK | 0o777), LINK),
    Attack("zip: a link, as a place", "volumes", partial(member, "scan.npy", stat.S_IFLNK | 0o777), LINK),
    Attack("zip: a device", "trusted", partial(member, "scan.npy", stat.S_IFCHR | 0o666), Reads((4, 5, 6))),
    Attack("zip: an item that climbs", "trusted", partial(selection, "../scan.npy"), Refused("there is no item")),
    Attack("folder: a link to a scan elsewhere", "scan", partial(link, "../scan.npy", "scan.npy"), Reads((4, 5, 6))),
    Attack(
        "folder: a link to a file that is none", "scan", partial(link, "/etc/passwd", "a.npy"), Refused("readable NPY")
    ),
    Attack("folder: a link to /dev/zero", "scan", partial(link, "/dev/zero", "scan.npy"), NO_SCAN),
    Attack("folder: a link to /dev/zero, as a place", "volumes", partial(link, "/dev/zero", "scan.npy"), NO_FILE),
    Attack("folder: a link to itself", "scan", partial(link, "scan.npy", "scan.npy"), NO_SCAN),
    Attack("folder: a link to nothing", "volumes", partial(link, "nothing", "scan.npy"), NO_FILE),
    Attack("folder: links to the folder itself", "volumes", itself, Reads((4, 5, 6))),
    Attack("folder: links to the folder itself, as a scan", "scan", itself, Reads((4, 5, 6))),
    Attack("folder: a pipe", "scan", pipe, NO_SCAN),
    Attack("folder: a pipe, as a place", "volumes", pipe, NO_FILE),
    Attack("a pipe", "scan", the_pipe_itself, NO_FILE),
    Attack("folder: a socket", "volumes", mailbox, NO_FILE),
)
