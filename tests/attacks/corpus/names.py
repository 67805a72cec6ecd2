"""Words that a file brings along: HTML, control characters and a patient's name, in headers and in the names of files.

They hope to be shown: as a script on a page, as a command to a terminal, as a second line of a log.  Sentences have one
line without control characters, and what DICOM says of the patient is in none; that pages escape the rest is tested
where the pages are made.
"""

import zipfile
from functools import partial
from pathlib import Path

from tests.attacks.attack import Attack, Reads, Refused
from tests.attacks.formats import formats
from tests.imaging.dicoms import image, phantom, save, series

WHOLE = {whole.ending: whole.content for whole in formats()}
SCRIPT = "<script>alert(1)</script>"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def patient(name: str, fields: tuple[str, ...], broken: bool, folder: Path) -> Path:
    """An X-ray whose header says such a name wherever it can; also one that ends in the middle of its pixels."""
    dataset = image(phantom()[0].view("u2"))
    for field in fields:
        setattr(dataset, field, f"LEAK{name}")
    path = save(dataset, folder / "scan.dcm")
    if broken:
        path.write_bytes(path.read_bytes()[:-30])
    return path


def file_name(name: str, folder: Path) -> Path:
    """A broken scan of such a name."""
    (folder / name).write_bytes(WHOLE[".npy"][:-1])
    return folder / name


def member_name(name: str, content: bytes, folder: Path) -> Path:
    """An archive with a broken scan of such a name."""
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        archive.writestr(name, content)
    return folder / "scan.zip"


def two_series(folder: Path) -> Path:
    """The sentence that names the series of a folder, whose descriptions are hostile."""
    for number, dataset in enumerate((series(phantom())[0], series(phantom())[1])):
        dataset.SeriesInstanceUID = f"1.2.{number}"
        dataset.SeriesDescription, dataset.PatientName = f"LEAK{SCRIPT}", f"LEAK{SCRIPT}"
        save(dataset, folder / "ct" / f"{number}.dcm")
    return folder / "ct"


FIELDS = ("PatientName", "PatientID", "PatientComments", "ImageComments", "StudyDescription", "InstitutionName")
BROKEN = Refused(r"scan\.dcm: not a readable DICOM file; it may be damaged \(ValueError\)\.$")
ATTACKS = (
    Attack("patient: a script", "scan", partial(patient, SCRIPT, FIELDS, False), Reads((5, 6))),
    Attack("patient: a script, in a broken file", "scan", partial(patient, SCRIPT, FIELDS, True), BROKEN),
    Attack("patient: in the modality", "trusted", partial(patient, SCRIPT, ("Modality",), False), Reads((5, 6))),
    Attack(
        "patient: in the kind of pixels",
        "trusted",
        partial(patient, SCRIPT, ("PhotometricInterpretation",), False),
        Refused("photometric interpretation"),
    ),
    Attack(
        "patient: two series of many words", "trusted", two_series, Refused("2 series: #0 .*, 1 image of 5 x 6; #1")
    ),
    Attack(
        "file name: a script", "scan", partial(file_name, f"{SCRIPT.replace('/', '|')}.npy"), Refused("ends before")
    ),
    Attack("file name: a command to the terminal", "scan", partial(file_name, f"{ESCAPE}.npy"), Refused("ends before")),
    Attack("file name: two lines", "volumes", partial(file_name, "scan\nok.npy"), Refused("ends before")),
    Attack("file name: writes backwards", "scan", partial(file_name, "\u202egpj.npy"), Refused("ends before")),
    Attack("member: a script", "scan", partial(member_name, f"{SCRIPT}.npy", b"x"), Refused("not a readable NPY")),
    Attack("member: a command to the terminal", "scan", partial(member_name, f"{ESCAPE}.npy", b"x"), Refused("NPY")),
    Attack("member: two lines", "volumes", partial(member_name, "a\nscan.npy: fine.npy", b"x"), Refused("NPY")),
    Attack("member: two lines, that climb", "scan", partial(member_name, "../a\nb.npy", b"x"), Refused("outside")),
    Attack("array: a name of two lines", "scan", partial(member_name, "a\nb.npy", WHOLE[".npy"]), Reads((4, 5, 6))),
)
