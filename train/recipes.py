"""Recipes: how a model is trained, as plain data.  A model, a dataset, a recipe and a seed determine a run."""

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from liquidlens import models
from liquidlens.errors import LiquidLensError, unknown
from liquidlens.train.names import Rule


class Training(BaseModel):
    """The training settings of a recipe.

    Every field can be set on the command line: ``--set batch_size=32``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The recipe's name, and in a word whose it is.
    recipe: str
    about: str = ""

    loss: Literal["cross-entropy", "double-softmax", "bce-dice", "mse", "pose"] = "cross-entropy"
    #: "balanced": every class weighs as much as any other, however few its scans; of several labels at once, having a
    #: label weighs as much as not having it.  Probabilities then say more of rare classes than there is.
    class_weights: Literal["none", "balanced"] = "none"
    #: So much of cross entropy's targets is shared out among all classes (Szegedy et al., 2016).
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    #: Finished runs whose mean probabilities are learnt beside the labels (Hinton et al., 2015), of scans as they are
    #: augmented; and the share of the loss that they have.
    teachers: tuple[str, ...] = ()
    teaching: float = Field(default=0.5, gt=0, le=1)
    #: Weight of the orientation in the loss "pose".
    beta: float = Field(default=1.0, gt=0)

    #: "adamw": Adam whose weight decay is not part of the gradient (Loshchilov and Hutter, 2019).
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(gt=0)
    #: Learning rates of single modules by name, such as {"recurrent": 2, "output": 0.5}; others keep `learning_rate`.
    module_learning_rates: dict[str, PositiveFloat] = {}
    #: SGD's momentum, Adam's epsilon, and weight decay (L2, but of "adamw") of any.
    momentum: float = Field(default=0.0, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    #: The learning rate over time: constant; one cycle (Smith, 2018) up to `learning_rate` and down to nothing; or a
    #: cosine down to nothing that restarts every `restart_epochs` (Loshchilov and Hutter, 2017).
    schedule: Literal["constant", "one-cycle", "cosine-restarts"] = "constant"
    restart_epochs: int = Field(default=10, gt=0)
    #: Largest norm of the gradient; None: not clipped.
    clip_gradient: float | None = Field(default=None, gt=0)
    #: The weights that are validated and kept are a moving average over so many steps, about; 0: the last ones.
    average_steps: int = Field(default=0, ge=0)
    batch_size: int = Field(gt=0)
    #: Batch size of validation and test; some papers average over these batches.
    evaluation_batch_size: int = Field(default=64, gt=0)
    #: "bf16": convolutions and linear layers are trained in bfloat16, faster on processors with AMX and on GPUs; liquid
    #: layers, losses, the optimizer and the figures at the end stay in float32.
    precision: Literal["float32", "bf16"] = "float32"
    #: False: every epoch sees the training scans in the same order.
    shuffle: bool = True
    max_epochs: int = Field(gt=0)

    #: What the best epoch has: the lowest validation loss, or the highest validation accuracy.  "last": the last epoch
    #: counts, to which one cycle and the average of weights lead.
    select: Literal["loss", "accuracy", "last"] = "loss"
    #: When training ends before `max_epochs`, see `train.loop.callbacks`: "rise" after `patience` epochs that are worse
    #: than the best by more than `tolerance`; "no-gain" after more than `patience` epochs since the best.
    stop: Literal["never", "rise", "no-gain"] = "never"
    patience: int = Field(default=10, gt=0)
    tolerance: float = Field(default=0.0, ge=0)

    #: Train, validate and test on this many scans of a split; they are drawn with `subset_seed`: the same ones for
    #: every model and seed.  `validation_subset` has no meaning where test scans validate.
    subset: int | None = Field(default=None, gt=0)
    validation_subset: int | None = Field(default=None, gt=0)
    test_subset: int | None = Field(default=None, gt=0)
    subset_seed: int = Field(default=0, ge=0)
    #: The test scans stand in for the validation scans (kth-2021); nothing is then chosen on scans of its own.
    validate_on_test: bool = False
    #: The network's input is (x - mean) / std of pixels x in [0, 1]: two numbers, "dataset" for the dataset's usual
    #: ones or else those of its training scans, or "none".
    normalise: Literal["none", "dataset"] | tuple[float, float] = "none"

    #: "jitter": moved by up to `shift` pixels, scaled by up to `scale`; "mirror": mirrored along all axes, moved by up
    #: to `shift` whole pixels (loop.augment).  "scanner": moved and scaled like that, turned by up to `turn` degrees,
    #: volumes also by right angles, mirrored, and with other exposure, contrast, shading, sharpness and noise, as much
    #: as `intensity` says (loop.scanner).  "truong-2022": that paper's list for chest images (loop.radiograph).
    #: Where the network's voxels have a size in mm, "jitter" goes by the fields from `shift_mm` on (loop.volume).
    augmentation: Literal["none", "jitter", "mirror", "scanner", "truong-2022"] = "none"
    shift: float = Field(default=2.0, ge=0)
    scale: float = Field(default=0.1, ge=0, lt=1)
    turn: float = Field(default=0.0, ge=0, le=180)
    intensity: float = Field(default=0.0, ge=0, le=2)
    #: Moved by up to so many mm along each axis, turned by up to so many degrees about the axis of slices or any axis.
    shift_mm: float = Field(default=3.0, ge=0)
    rotation: float = Field(default=15.0, ge=0, le=180)
    rotation_axes: Literal["slices", "all"] = "slices"
    #: Normal noise of up to this deviation, in values of 0 to 1; each end of the window moved by up to this part of it.
    noise: float = Field(default=0.02, ge=0)
    window_jitter: float = Field(default=0.05, ge=0, lt=0.5)
    #: Start liquid models at the share of each class: see `train.loop.initialise`.
    initialise_from_labels: bool = False
    #: After every epoch, measure the training scans in evaluation mode, too.
    measure_training: bool = False
    #: Record gradients and weights of every layer: statistics.csv and TensorBoard histograms in the run folder.
    statistics: bool = False


def _variant(base: Training, recipe: str, about: str, **changes: Any) -> Training:
    return Training(**{**base.model_dump(), "recipe": recipe, "about": about, **changes})


# "Training setup", and the published source: early stopping counts only clear rises of the loss.
_HSE = Training(
    recipe="hse-2024",
    about="Adam 5e-4, batch 64, stops after 10 clear rises of the validation loss",
    learning_rate=5e-4,
    batch_size=64,
    max_epochs=500,
    stop="rise",
    patience=10,
    tolerance=0.001,
)

# Section 4 of the report.  Its training ends early at epoch 175 to 200, by a rule that it does not state.
_TRUONG = Training(
    recipe="truong-2022",
    about="setting 1: 0.4 BCE + 1.0 Dice, Adam 1e-4, cosine restarts every 10 epochs, batch 64",
    loss="bce-dice",
    learning_rate=1e-4,
    schedule="cosine-restarts",
    batch_size=64,
    max_epochs=360,
    augmentation="truong-2022",
)

# Chapter 4 and the published source.  The best learning rate differs from network to network; 0.5 is in the range where
# both the fully connected and the recurrent ones learn (table 4.7), 2 is the best of the 2MLP LSTM (table 4.8).
_TUM = Training(
    recipe="tum-2018",
    about="SGD without momentum, 500 training images, tests the best validation accuracy, patience 100",
    optimizer="sgd",
    learning_rate=0.5,
    batch_size=64,
    evaluation_batch_size=1000,
    max_epochs=2000,
    select="accuracy",
    stop="no-gain",
    patience=100,
    subset=500,
    normalise="dataset",
)

# The report states neither optimizer nor rate nor batch: common choices for its networks.
_CMU = Training(
    recipe="cmu",
    about="cross entropy; Adam 1e-3, batch 128, 40 epochs are our choices",
    learning_rate=1e-3,
    batch_size=128,
    max_epochs=40,
)

# The report and the published source: softmax twice, the test set as validation set, momentum 0.9, no shuffling.
_KTH = Training(
    recipe="kth-2021",
    about="as published: softmax twice, SGD 1e-3 momentum 0.9, batch 64, 300 epochs unshuffled, recall per epoch",
    loss="double-softmax",
    optimizer="sgd",
    learning_rate=1e-3,
    momentum=0.9,
    batch_size=64,
    shuffle=False,
    max_epochs=300,
    validate_on_test=True,
    normalise=(0.5, 1.0),
    measure_training=True,
)

RECIPES = {
    settings.recipe: settings
    for settings in (
        _HSE,
        _TRUONG,
        _variant(
            _TRUONG,
            "truong-2022-setting-2",
            "mean squared error, Adam 2.5e-5, cosine restarts every 10 epochs, batch 20",
            loss="mse",
            learning_rate=2.5e-5,
            batch_size=20,
        ),
        _TUM,
        _variant(_TUM, "tum-2018-5k", "the same on 5,000 training images (CIFAR-10, table 4.5)", subset=5000),
        _variant(_TUM, "tum-2018-40k", "the same on 40,000 training images (table 4.4)", subset=40_000),
        Training(
            recipe="tum-2018-pose",
            about="PoseNet-LSTM heads: squared errors, Adam with epsilon 1 and weight decay 0.0625",
            loss="pose",
            beta=500,
            learning_rate=1e-3,
            epsilon=1.0,
            weight_decay=0.0625,
            batch_size=64,
            max_epochs=100,
        ),
        _CMU,
        _variant(
            _CMU, "cmu-mnist", "the same on 10,000 training and 1,000 test images", subset=10_000, test_subset=1000
        ),
        _KTH,
        _variant(_KTH, "kth-2021-5a", "5A: batch 256", batch_size=256, evaluation_batch_size=256),
        _variant(_KTH, "kth-2021-5b", "5B: learning rate 0.1", learning_rate=0.1),
        _variant(_KTH, "kth-2021-5c", "5C: shuffled every epoch", shuffle=True),
        _variant(
            _KTH,
            "kth-2021-best",
            "shuffled, batch 256, for EQ2425-best",
            shuffle=True,
            batch_size=256,
            evaluation_batch_size=256,
        ),
        _variant(
            _KTH,
            "kth-2021-corrected",
            "one softmax, shuffled, validated on training images that are left out",
            loss="cross-entropy",
            shuffle=True,
            validate_on_test=False,
        ),
        # Our own: a useful liquid model in minutes.
        Training(
            recipe="quick",
            about="our own, for any classifier: a useful model in minutes",
            learning_rate=3e-3,
            schedule="one-cycle",
            batch_size=32,
            max_epochs=60,
            augmentation="jitter",
            initialise_from_labels=True,
            clip_gradient=1.0,
        ),
        # Our own, for our own models: what is thick stays as thick as it is.
        Training(
            recipe="liquidlens",
            about="our own: Adam 3e-3 in one cycle, batch 64, 30 epochs, mirrored and moved by whole pixels",
            learning_rate=3e-3,
            schedule="one-cycle",
            batch_size=64,
            max_epochs=30,
            augmentation="mirror",
            shift=1.0,
            clip_gradient=1.0,
        ),
        Training(
            recipe="liquidlens-x",
            about="our own, for X-rays: AdamW 3e-3 in one cycle, batch 128, 40 epochs, another scanner every time",
            label_smoothing=0.1,
            optimizer="adamw",
            learning_rate=3e-3,
            weight_decay=0.02,
            schedule="one-cycle",
            clip_gradient=1.0,
            average_steps=150,
            batch_size=128,
            max_epochs=40,
            select="last",
            augmentation="scanner",
            shift=8.0,
            scale=0.15,
            turn=12.0,
            intensity=1.0,
        ),
        Training(
            recipe="liquidlens-v",
            about="our own, for volumes of grey values: AdamW 2e-3 in one cycle, batch 32, 80 epochs, turned at random",
            label_smoothing=0.1,
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=0.05,
            schedule="one-cycle",
            clip_gradient=1.0,
            average_steps=100,
            batch_size=32,
            max_epochs=80,
            augmentation="scanner",
            shift=1.5,
            scale=0.05,
            turn=15.0,
            intensity=0.3,
        ),
    )
}


def training(recipe: str, changes: dict[str, Any] | None = None) -> Training:
    """The settings of a recipe, with other values for some fields.

    Raises LiquidLensError for an unknown recipe or field, and for a value that does not fit.
    """
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    for field in changes or {}:
        if field not in Training.model_fields or field in ("recipe", "about"):
            raise unknown(
                "field of a recipe", field, [f for f in Training.model_fields if f not in ("recipe", "about")]
            )
    try:
        return Training(**{**RECIPES[recipe].model_dump(), **(changes or {})})
    except ValidationError as error:
        first = error.errors()[0]
        raise LiquidLensError(f"{first['loc'][0]}={first['input']!r} does not fit: {first['msg']}.") from error


def settings_for(model: str, recipe: str | None, changes: dict[str, Any] | None) -> Training:
    """The training settings of a recipe, by default the model's own, or that of its paper.  Raises LiquidLensError for
    unknown names and values that do not fit."""
    entry = models.entry(model)
    return training(recipe or entry.recipe or entry.paper, changes)


def changed(settings: Training) -> dict[str, Any]:
    """The fields in which settings differ from the recipe that they are named after."""
    published = RECIPES[settings.recipe].model_dump() if settings.recipe in RECIPES else {}
    return {field: value for field, value in settings.model_dump().items() if value != published.get(field)}


def rule(settings: Training) -> Rule:
    """The recipe's name and what differs from it."""
    return Rule(settings.recipe, tuple((field, str(value)) for field, value in changed(settings).items()))


def parse_changes(assignments: Iterable[str]) -> dict[str, Any]:
    """Fields from the command line: ``FIELD=VALUE``, the value as JSON or else as text; ``FIELD.KEY=VALUE`` sets one
    entry of a field that holds several.  Raises LiquidLensError for anything else."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        field, equals, text = assignment.partition("=")
        if not equals or not field:
            raise LiquidLensError(f"{assignment!r} sets nothing: write FIELD=VALUE, as in batch_size=32.")
        value = json_or_text(text)
        field, dot, key = field.partition(".")
        several = changes.get(field, {})
        if dot and not isinstance(several, dict):
            raise LiquidLensError(f"{field} is set twice: to {several!r}, and to have {key}={value!r}.")
        changes[field] = {**several, key: value} if dot else value
    return changes


def json_or_text(text: str) -> Any:
    """A value that a person typed: JSON where it is that, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
