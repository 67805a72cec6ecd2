"""The manifest: the JSON inside an exported ONNX file that says what the file is and how to read a scan for it.

It is stored under the metadata key ``liquidlens``.  It holds no times, no paths and nothing about patients, so that the
same run always gives the same bytes.
"""

from typing import Any, Literal

import pydantic

from imaging import LiquidLensError

KEY = "liquidlens"
FORMAT: Literal[1] = 1


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Input(_Part):
    """What the file's input ``scan`` must hold; the graph does the rest.

    values: ``grey`` (0..255, or 0..65535 if any pixel exceeds 255), ``hu`` (Hounsfield units, `window` mapped to 0..1
    and clipped), or ``mask`` (a segmented, cropped shape; what exceeds half of the maximum is inside).
    size: what the graph resizes to: (slices, rows, columns) of a volume, (rows, columns) of an image.
    channels: 3 for colour images, (batch, rows, columns, 3).
    mean, std: the network itself reads (x - mean) / std of the values x in 0..1.
    """

    values: Literal["grey", "hu", "mask"]
    size: tuple[int, ...] = pydantic.Field(min_length=2, max_length=3)
    window: tuple[float, float] | None = None
    channels: Literal[1, 3] = 1
    mean: float = 0.0
    std: float = 1.0


class OutOfDistribution(_Part):
    """The output ``ood``: a scan whose score exceeds `threshold` is unlike the training scans.

    `quantile` is the share of validation scans at or below the threshold.
    """

    threshold: float
    quantile: float


class Parameters(_Part):
    """Parameter counts: as the paper prints (None: it prints none), and as torch counts trainable ones."""

    published: int | None
    trainable: int


class Provenance(_Part):
    """Where the weights come from.

    changes: fields in which the training differed from the recipe.  validated_on_test: the weights, the temperature and
    the out-of-distribution threshold were chosen on the test scans, as kth-2021 does; ``val`` figures are theirs, too.
    """

    dataset: str
    dataset_md5: str
    recipe: str
    changes: dict[str, Any] = {}
    validated_on_test: bool = False
    seed: int
    weights: Literal["best", "last"]
    weights_sha256: str
    versions: dict[str, str]


class Manifest(_Part):
    """The whole manifest.  The last label is the positive class of a binary model.

    flags: the switches with which the model was built.
    task: ``classes``, whose probabilities sum to 1, or ``multi-label``, whose probabilities are independent.

    metrics: split -> figures of the run, as in its metrics.json: before calibration, at threshold 0.5, except
    ``ece_calibrated``.
    """

    format: Literal[1] = FORMAT
    model: str
    paper: str
    flags: tuple[str, ...] = ()
    task: Literal["classes", "multi-label"] = "classes"
    labels: tuple[str, ...] = pydantic.Field(min_length=2)
    input: Input
    threshold: float = pydantic.Field(ge=0, le=1)
    temperature: float = pydantic.Field(gt=0)
    out_of_distribution: OutOfDistribution
    parameters: Parameters
    metrics: dict[Literal["val", "test"], dict[str, float]]
    provenance: Provenance
    intended_use: str = "Research software, not a medical device."

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "Manifest":
        """Read the manifest from an ONNX file's metadata.  Raises LiquidLensError if there is none or it is damaged."""
        if KEY not in metadata:
            raise LiquidLensError(
                "the file carries no LiquidLens manifest, so what it expects is unknown; use `liquidlens export`."
            )
        try:
            return cls.model_validate_json(metadata[KEY])
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise LiquidLensError(f"the file's manifest is damaged: {where}: {first['msg']}.") from error
