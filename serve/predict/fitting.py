"""Which scans a model may judge: its input contract and what it was trained on, held against what a scan says."""

from collections.abc import Iterable, Mapping

from liquidlens.imaging import Scan
from liquidlens.imaging.display import display_window
from liquidlens.manifest import Manifest

_AXES = {2: "a 2D image", 3: "a volume"}
#: What people call scans of one or several of DICOM's modalities.
KINDS = {
    "X-ray": {"CR", "DX", "RG"},
    "CT": {"CT"},
    "MR": {"MR"},
    "Ultrasound": {"US"},
    "Photograph": {"ES", "OP", "XC"},
    "Microscopy": {"GM", "SM"},
    "OCT": {"OPT"},
    "Segmented shape": {"SEG"},
}
#: The kinds that are volumes, where nothing else is said; the others are images.
_VOLUMES = {"CT", "MR", "Segmented shape"}
#: DICOM's code for what has none: it says nothing.
_OTHER = "OT"


def refusal(manifest: Manifest, scan: Scan) -> str | None:
    """Why a model does not read a scan, as the end of a sentence; None if it does."""
    model, expects, shape = manifest.model, manifest.input, scan.pixels.shape
    if expects.channels == 3:
        if len(shape) != 3 or shape[2] != 3:
            return f"{model} reads colour images, and this is none."
    elif len(shape) != len(expects.size):
        return f"{model} reads {_AXES[len(expects.size)]}, and this is {_AXES[len(shape)]}."
    known, modality = manifest.trained_on, _modality(scan)
    if known is not None and modality is not None and modality not in known.modalities:
        return f"{model} was trained on {known}, and this is of modality {modality}."
    if expects.values == "hu" and scan.units != "HU" and scan.modality is not None:
        what = "a CT in other units" if scan.modality == "CT" else f"of modality {scan.modality}"
        return f"{model} reads CT in Hounsfield units, and this is {what}."
    return None


def kind(manifest: Manifest) -> str:
    """Which scans a model reads, in the words of a person who has one: what was trained on, or what the values are.
    Models of one kind read scans of as many axes."""
    contract, known = manifest.input, manifest.trained_on
    is_volume = len(contract.size) == 3
    codes = {"mask": ("SEG",), "hu": ("CT",)}.get(contract.values) or (known.modalities if known else ())
    if not codes:
        return "Volume" if is_volume else "Colour image" if contract.channels == 3 else "Image"
    name = next((name for name, some in KINDS.items() if some.issuperset(codes)), " or ".join(codes))
    usual = name in _VOLUMES
    return name if is_volume == usual else f"{name} {'volume' if is_volume else 'slice'}"


def by_kind(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    """The names of models by the kind of scans that they read; kinds in the order of `KINDS`, others after them."""

    def place(name: str) -> int:
        return next((i for i, known in enumerate(KINDS) if name.startswith(known)), len(KINDS))

    kinds = {name: kind(manifest) for name, manifest in manifests.items()}
    ordered = sorted(dict.fromkeys(kinds.values()), key=place)
    return {one: [name for name, own in kinds.items() if own == one] for one in ordered}


def notes(manifest: Manifest, scan: Scan) -> tuple[str, ...]:
    """What has to be assumed of a scan that a model reads."""
    found = []
    values, known = manifest.input.values, manifest.trained_on
    if values == "grey" and (window := display_window(scan)) is not None:
        found.append(f"Grey values from {window[0]:g} to {window[1]:g} were taken for black to white.")
    if values == "hu" and scan.units != "HU":
        found.append("The file does not say what its values are: they were taken for Hounsfield units.")
    own, extent = manifest.input.spacing, manifest.input.extent
    if own is not None and scan.spacing is None:
        found.append(f"The file does not say how far its voxels are apart: {_by(own)} mm was taken, the model's own.")
    if extent is not None and scan.centre is None:
        found.append(f"No point was given: the model looked at {_by(extent)} mm around the middle of the scan.")
    if values == "mask" and not _is_shape(scan):
        found.append("The scan holds more than two values: the model was trained on segmented shapes alone.")
    elif values != "mask" and known is not None and _modality(scan) is None:
        found.append(f"The file does not say what kind of scan it is: the model was trained on {known}.")
    return tuple(found)


def doubts(manifest: Manifest, scan: Scan) -> int:
    """How badly a scan that the model reads fits it: 0 where all that it says is what the model was trained on."""
    values, known = manifest.input.values, manifest.trained_on
    if values == "mask":
        return 0 if _is_shape(scan) else 3
    if _is_shape(scan):
        return 2
    if values == "hu" and scan.units != "HU":
        return 1
    return int(known is None or _modality(scan) is None)


def offered(manifests: Mapping[str, Manifest], scan: Scan) -> list[str]:
    """The names of the models that read a scan, those that it fits best first."""
    reads = [name for name, manifest in manifests.items() if refusal(manifest, scan) is None]
    return sorted(reads, key=lambda name: doubts(manifests[name], scan))


def _by(lengths: Iterable[float]) -> str:
    return " x ".join(f"{length:g}" for length in lengths)


def _modality(scan: Scan) -> str | None:
    return None if scan.modality == _OTHER else scan.modality


def _is_shape(scan: Scan) -> bool:
    """Whether there are two values at most, as in a segmented shape."""
    pixels = scan.pixels
    return bool(((pixels == pixels.min()) | (pixels == pixels.max())).all())  # a quarter of the time of `np.isin`
