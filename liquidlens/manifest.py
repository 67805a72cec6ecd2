"""The manifest: the JSON inside an exported ONNX file that describes the file and how to read a scan for it.

It is stored under the metadata key ``liquidlens``, and its SHA-256 under ``liquidlens.sha256``.  It holds no times, no
paths and nothing about patients, so that the same run always gives the same bytes.
"""

import hashlib
import math
from typing import Any, Literal, Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from liquidlens.errors import LiquidLensError, printable

KEY, CHECKSUM = "liquidlens", "liquidlens.sha256"
#: What kind of scans the model was trained on stands under a key of its own: readers of version 1 refuse a field in the
#: manifest that they do not know, and do not look at other keys.
TRAINED_ON, TRAINED_ON_CHECKSUM = "liquidlens.trained_on", "liquidlens.trained_on.sha256"
FORMAT: Literal[1] = 1
#: Numbers of one network input; a model is run once on so many zeros when it is loaded.
MAX_INPUT = 2**26

Values = Literal["grey", "hu", "mask", "relative", "features"]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class InputContract:
    """How raw pixels become the network's input; in a file, what its input ``scan`` must hold: the graph does the rest.

    values: what the pixels mean.
        ``grey``: 8-bit grey values 0..255, or 16-bit ones 0..65535 if any pixel of the scan exceeds 255.
        ``hu``: CT numbers in Hounsfield units; `window` (low, high) is mapped to 0..1 and clipped.
        ``mask``: a segmented, cropped shape; any value above half of the scan's maximum is inside, and again after
        resizing.
        ``relative``: values without a unit, as of MR; three standard deviations of the scan below and above its mean
        are mapped to 0..1, and clipped.  With a `spacing` that is what lies in the field of view, not the whole scan.
        ``features``: no pixels but feature maps, (channels, rows, columns) of this very size; no file reads them.
    size: what a scan is resized to, (slices, rows, columns) of a volume, (rows, columns) of an image.
    spacing: millimetres between the voxels of `size`: volumes are not resized as wholes, but read in a field of view of
        this extent around a point.  The file then has two more inputs, ``spacing`` and ``centre`` (see
        `models.field_of_view`); None: it has not.
    channels: 1, or 3 for colour images, whose raw pixels are (rows, columns, 3).
    mean, std: the network's input is (x - mean) / std of the values x in [0, 1].
    """

    values: Values
    size: tuple[int, ...] = pydantic.Field(min_length=2, max_length=3)
    window: tuple[float, float] | None = None
    channels: int = 1
    mean: float = 0.0
    std: float = 1.0
    spacing: tuple[float, float, float] | None = pydantic.Field(
        default=None, exclude_if=lambda spacing: spacing is None
    )

    @pydantic.model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if (self.values == "hu") != (self.window is not None):
            raise ValueError("a window belongs to the values 'hu', and to them alone")
        if self.channels != 1 and self.values != "features" and (self.channels != 3 or len(self.size) != 2):
            raise ValueError(f"scans are grey, or colour images; there are none of {self.channels} channels")
        if not self.std > 0:
            raise ValueError("std is a scale, above 0")
        if self.spacing is not None and (len(self.size) != 3 or self.values == "features"):
            raise ValueError("a spacing in millimetres is for volumes")
        if self.spacing is not None and not all(0 < step < math.inf for step in self.spacing):
            raise ValueError("a spacing is three lengths in millimetres, above 0")
        if min(self.size) < 1 or math.prod(self.size) > MAX_INPUT:
            raise ValueError(f"a network reads 1 to {MAX_INPUT:,} numbers, not {' x '.join(map(str, self.size))}")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one network input, (channels, *size)."""
        return (self.channels, *self.size)

    @property
    def extent(self) -> tuple[float, ...] | None:
        """Millimetres that the field of view reaches along each axis; None if the model reads scans as wholes."""
        return self.spacing and tuple(n * step for n, step in zip(self.size, self.spacing, strict=True))


class TrainedOn(_Part):
    """The kind of scans that a model was trained on.

    modalities: DICOM's codes, such as ``CT`` (``SEG`` for segmented shapes).  body_part: in a word, if it is one.
    """

    modalities: tuple[str, ...] = pydantic.Field(min_length=1)
    body_part: str = ""

    def __str__(self) -> str:
        return " or ".join(self.modalities) + f" of the {self.body_part}" * bool(self.body_part)


class OutOfDistribution(_Part):
    """The output ``ood``: a scan whose score exceeds `threshold` is unlike the training scans.

    `quantile` is the share of validation scans at or below the threshold.
    """

    threshold: float
    quantile: float


class Operating(_Part):
    """How probabilities become an answer; chosen on the validation scans.

    threshold: above it the second of two classes, or a label, is predicted; of more classes the likeliest is.
    rule: how the threshold was chosen.
    abstain: a binary model is not sure if the probability of its last label lies within (low, high).
    abstain_margin: a model of several classes is not sure if its two likeliest differ by less.
    """

    threshold: float = pydantic.Field(ge=0, le=1)
    rule: str
    abstain: tuple[float, float] | None = None
    abstain_margin: float | None = None


class Parameters(_Part):
    """Parameters, counted four ways.

    published: as the paper prints (None: it prints none).  trainable: as torch counts.  effective: those that can
    change the answer, so without those of synapses that do not exist.  stored: numbers among the file's weights.
    """

    published: int | None
    trainable: int
    effective: int
    stored: int


class Wiring(_Part):
    """The synapses of one liquid layer.

    layer: its name in the torch network; output: the output of the file that holds its states.
    neurons: one letter each, m(otor), c(ommand), i(nter).  sensory_fan_in: how many inputs each neuron reads.
    recurrent: one text per neuron where synapses start, one sign per neuron where they end: "+" excites, "-" inhibits,
    "." is no synapse; an untyped one (of a CfC) is "+".
    """

    layer: str
    cell: Literal["LTC", "CfC"]
    output: str
    features: int
    neurons: str
    sensory_fan_in: tuple[int, ...]
    recurrent: tuple[str, ...]

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        units = len(self.neurons)
        lengths = {len(self.sensory_fan_in), len(self.recurrent), *map(len, self.recurrent)}
        if lengths - {units} or set(self.neurons) - set("mci") or set("".join(self.recurrent)) - set("+-."):
            raise ValueError(f"the wiring of {self.layer} is not one of {units} neurons")
        return self


class Stored(_Part):
    """One initializer: what it is for, the torch tensors that it comes from, and how.

    digest: the first 32 digits of the SHA-256 of its data type, its shape and its bytes in little-endian order, as
    `export.graph.records.digest` computes it.
    """

    digest: str
    kind: Literal["weights", "masks", "constants"]
    sources: tuple[str, ...] = pydantic.Field(default=(), exclude_if=lambda sources: not sources)
    how: str


class Provenance(_Part):
    """Where the weights come from.

    dataset_note: what to know of the dataset before results are compared.
    changes: fields in which the training differed from the recipe.  validated_on_test: the weights, the temperature and
    the out-of-distribution threshold were chosen on the test scans, as kth-2021 does; ``val`` figures are theirs, too.
    cross_validated: the figures are those of a cross-validation's models; this one was trained on all scans, and tested
    on none.
    """

    dataset: str
    dataset_md5: str
    dataset_note: str = ""
    recipe: str
    changes: dict[str, Any] = {}
    validated_on_test: bool = False
    cross_validated: bool = pydantic.Field(default=False, exclude_if=lambda whole: not whole)
    seed: int
    weights: Literal["best", "last"]
    weights_sha256: str
    versions: dict[str, str]


class Manifest(_Part):
    """The whole manifest.  The last label is the positive class of a binary model.

    flags: the switches with which the model was built.
    task: ``classes``, whose probabilities sum to 1, or ``multi-label``, whose probabilities are independent.

    precision: how weights are stored and computed with.  profile: how the loop over time is written; None if there is
    no liquid layer.
    metrics: split -> figures of the run, as in its metrics.json: before calibration, at threshold 0.5, except
    ``ece_calibrated`` and, at the operating threshold, ``sensitivity``, ``specificity``, ``accuracy_at_threshold``.
    trained_on: what kind of scans, None if that is not known; stored beside the manifest, not in its JSON.
    initializers: every tensor that the file stores.  graph_digest: of all the rest of the graph.
    """

    format: Literal[1] = FORMAT
    model: str
    paper: str
    flags: tuple[str, ...] = ()
    task: Literal["classes", "multi-label"] = "classes"
    labels: tuple[str, ...] = pydantic.Field(min_length=2)
    precision: Literal["fp32", "fp16", "int8-dynamic", "int8-static"] = "fp32"
    profile: Literal["loop", "unrolled", "step"] | None = None
    input: InputContract
    operating: Operating
    temperature: float = pydantic.Field(gt=0)
    out_of_distribution: OutOfDistribution
    parameters: Parameters
    metrics: dict[Literal["val", "test"], dict[str, float]]
    provenance: Provenance
    wiring: tuple[Wiring, ...] = ()
    initializers: dict[str, Stored]
    graph_digest: str
    intended_use: str = "Research software, not a medical device."
    trained_on: TrainedOn | None = pydantic.Field(default=None, exclude=True)

    @pydantic.field_validator("input")
    @classmethod
    def _is_of_scans(cls, contract: InputContract) -> InputContract:
        if contract.values == "features":
            raise ValueError("a file reads scans, not feature maps")
        return contract

    @pydantic.field_validator("labels")
    @classmethod
    def _are_distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels):
            raise ValueError("two labels have the same name")
        return labels

    def to_json(self) -> str:
        return self.model_dump_json()

    def to_metadata(self) -> dict[str, str]:
        """The metadata of an ONNX file with this manifest."""
        extra = {} if self.trained_on is None else _with_checksum(TRAINED_ON, self.trained_on.model_dump_json())
        return metadata(self.to_json()) | extra

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "Manifest":
        """Read the manifest from an ONNX file's metadata.

        Raises LiquidLensError if there is none, if it is damaged, if it is not the one that was exported, or if its
        texts are more than lines of printable letters.
        """
        if KEY not in metadata:
            raise LiquidLensError(
                "the file carries no LiquidLens manifest, so what it expects is unknown; use `liquidlens export`."
            )
        for key, checksum in ((KEY, CHECKSUM), (TRAINED_ON, TRAINED_ON_CHECKSUM)):
            if key in metadata and metadata.get(checksum) != _checksum(metadata[key]):
                raise LiquidLensError("the file's manifest is not the one that was exported: its checksum differs.")
        try:
            manifest = cls.model_validate_json(metadata[KEY])
            if TRAINED_ON in metadata:
                trained_on = TrainedOn.model_validate_json(metadata[TRAINED_ON])
                manifest = manifest.model_copy(update={"trained_on": trained_on})
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise LiquidLensError(f"the file's manifest is damaged: {where}: {first['msg']}.") from error
        _check_text(manifest.model_dump(mode="json"), "the text")
        if manifest.trained_on is not None:
            _check_text(manifest.trained_on.model_dump(mode="json"), TRAINED_ON)
        return manifest


def _check_text(value: Any, where: str) -> None:
    """Raise LiquidLensError if a text or a name is more than one line of printable letters: pages, tables and terminals
    show it."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_text(name, where)
            _check_text(item, name)
    elif isinstance(value, list):
        for item in value:
            _check_text(item, where)
    elif isinstance(value, str) and printable(value) != value:
        raise LiquidLensError(
            f"the file's manifest is damaged: {where}: {value[:80]!r} is no line of printable letters."
        )


def metadata(manifest: str) -> dict[str, str]:
    """The metadata of an ONNX file for a manifest's JSON: the text and its checksum."""
    return _with_checksum(KEY, manifest)


def _with_checksum(key: str, text: str) -> dict[str, str]:
    return {key: text, f"{key}.sha256": _checksum(text)}


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def abstains(operating: Operating, probabilities: NDArray) -> NDArray[np.bool_]:
    """On which scans, probabilities (n, classes), a model is not sure: (n,)."""
    if operating.abstain is not None:
        low, high = operating.abstain
        return (low < probabilities[:, 1]) & (probabilities[:, 1] < high)
    if operating.abstain_margin is not None:
        second, first = np.sort(probabilities, 1)[:, -2:].T
        return first - second < operating.abstain_margin
    return np.zeros(len(probabilities), bool)
