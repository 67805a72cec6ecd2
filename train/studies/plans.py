"""What the studies train: for each paper the models, data and recipes of its tables, the most telling ones first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liquidlens.errors import LiquidLensError, unknown
from liquidlens.train import recipes
from liquidlens.train.names import Network, Rule

#: Other values for some fields of a recipe.
Changes = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Trial:
    """What is run with one seed after another: a model on a dataset.

    recipe: None for that of the model's paper; changes: other values for some of its fields; flags: of the model;
    size: of the network's input, None for the paper's.
    """

    model: str
    data: str
    recipe: str | None = None
    changes: Changes = ()
    flags: tuple[str, ...] = ()
    size: tuple[int, ...] | None = None

    def line(self, paper: str) -> tuple[str, Network, Rule]:
        """Its dataset, network and rule, which its lines in a results table begin with."""
        settings = recipes.training(self.recipe or paper, dict(self.changes))
        data = f"table:{Path(self.data).stem}" if self.data.startswith("table:") else self.data
        return data, Network(self.model, self.flags, self.size), recipes.rule(settings)


@dataclass(frozen=True)
class Plan:
    """A paper's study.

    trials: in their order.
    reported: the figure that the paper reports, as a column of the results table.
    figures: further columns of the results table, besides those of all studies, see `train.studies.results`.
    curves: columns of ``history.csv`` that are kept of every run, epoch by epoch, beside the table.
    elsewhere: datasets on which its networks are trained only where they are named.
    shares: the study whose results table, of the same columns, holds some of its lines.
    """

    trials: tuple[Trial, ...]
    reported: str
    figures: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    shares: str | None = None

    def lines(self, paper: str) -> set[tuple[str, Network, Rule]]:
        """What the lines that its page shows begin with."""
        more = (replace(trial, data=data) for trial in self.trials for data in self.elsewhere)
        return {trial.line(paper) for trial in (*self.trials, *more)}


def _each(models: Sequence[str], datasets: Sequence[str], **how: Any) -> tuple[Trial, ...]:
    return tuple(Trial(model, data, **how) for model in models for data in datasets)


# --- hse-2024: in each group the cheapest model first -------------------------------------------------------

# fmt: off
#: "Ours" of Table 2.
COMPACT = (
    "CNNExp2N4", "CNNExp2N3", "CNNExp3N1", "CNNExp3N6", "LSTMExp5N2", "CNNExp4N1", "LiqExp3N2", "LiqExp4N2",
    "LiqExp4N6",
)
#: The other rows of Table 1 without liquid layers, and with them.
OTHERS = (
    "CNNExp1N4", "CNNExp1N1", "CNNExp1N3", "CNNExp2N1", "RNNExp5N5", "RNNExp5N6", "LSTMExp5N3", "LSTMExp5N4",
    "CNNExp4N4", "CNNExp4N3",
)
LIQUID = (
    "LiqExp5N1", "LiqExp3N5", "LiqExp1N2", "LiqExp3N4", "LiqExp3N3", "LiqExp1N6", "LiqExp1N5", "LiqExp4N5",
    "LiqExp2N5", "LiqExp2N2", "LiqExp2N6",
)
# fmt: on
#: As the published source runs them: over the samples of a batch.  The printed figures are of these runs.
SOURCE_LAYOUT = ("LSTMExp5N2", "RNNExp5N5", "RNNExp5N6", "LSTMExp5N3", "LSTMExp5N4")
HSE_DATASETS = ("adrenalmnist3d", "vesselmnist3d")
#: Of our own networks for X-rays: data, size of the input, and other values for their recipe.
XRAYS: tuple[tuple[str, tuple[int, ...] | None, Changes], ...] = (
    ("chestxray224", None, ()),
    ("pneumoniamnist", (28, 28), (("shift", 2.0),)),
)
#: What stands in for the liquid layers of our own: nothing, and as many parameters of something else.
TWINS: tuple[tuple[str, ...], ...] = ((), ("mean",), ("gru",), ("rnn",), ("cfc",))
#: The paper's third dataset, and other nodules, whose results are not to be compared with the published ones.
NODULES, OTHER_NODULES = "nodulemnist3d", "lidc-nodule3d"

_HSE = (
    *_each((*COMPACT, *OTHERS), HSE_DATASETS),
    *_each(SOURCE_LAYOUT, HSE_DATASETS, flags=("source_layout",)),
    *_each(LIQUID, HSE_DATASETS),
)


# --- tum-2018: rates of which each network's best one, on validation, counts --------------------------------

RATES = (0.1, 0.5, 2.0)
#: With 5,000 images of CIFAR-10, the fully connected 1MLP already diverges at 0.5.
CIFAR_RATES = (0.02, 0.1, 0.5)
#: Further rates, for the robustness of networks.
MORE_RATES = (20.0, 100.0, 5.0, 10.0, 0.02, 0.005)
#: Table 4.8: the rate of all modules but one, and that one's.
OUTPUT_RATES = ((2.0, 1.0), (2.0, 0.5), (2.0, 0.1), (1.0, 0.5), (1.0, 0.1))
RECURRENT_RATES = ((1.0, 2.0), (0.5, 2.0), (0.1, 2.0), (0.5, 1.0), (0.1, 1.0))
# fmt: off
PAIRS = (
    "1MLP-FC-for-LSTM", "1MLP-LSTM", "2MLP-FC-for-LSTM", "2MLP-LSTM", "CNN-FC-for-LSTM", "CNN-LSTM",
)
DEPTHS = (
    "2MLP-FC-2206-128", "3MLP-FC-1040-1024-128", "4MLP-FC-738-738-1024-128",
    "2MLP-LSTM-50x50", "3MLP-LSTM-1094-32x32", "4MLP-LSTM-768-768-32x32",
)
ON_CIFAR10 = (
    "1MLP-FC-for-LSTM-CIFAR10", "1MLP-LSTM-CIFAR10", "CNN-FC-for-LSTM-CIFAR10", "CNN-LSTM-CIFAR10",
    "2MLP-FC-for-LSTM-CIFAR10", "2MLP-LSTM-CIFAR10",
)
SHAPES = ("2MLP-LSTM-54x24", "2MLP-LSTM-72x18", "2MLP-LSTM-162x8", "2MLP-LSTM-324x4")
SIZES = ("3MLP-LSTM-1934-16x16", "3MLP-LSTM-1524-23x23", "3MLP-LSTM-784-42x42")
# fmt: on
HIDDEN_SIZES = {
    kind: tuple(f"{kind}-LSTM-h{size}" for size in sizes)
    for kind, sizes in (
        ("1MLP", (4, 8, 16, 64, 128, 256)),
        ("2MLP", (4, 8, 16, 64, 128)),
        ("3MLP", (4, 8, 16, 64, 128, 256)),
    )
}
#: Columns for table 4.7 and figures 4.12 to 4.15: of the first and the last fully connected layer.
FIRST_PEAK, FIRST_GRADIENT = "gradient_peak:features.first.weight", "gradient:features.first.weight"
LAST_GRADIENT, LAST_WEIGHT = "gradient:head.output.weight", "weight:head.output.weight"
STATISTICS = (FIRST_PEAK, FIRST_GRADIENT, LAST_GRADIENT, LAST_WEIGHT)
#: Every epoch is validated, on 10,000 images in the thesis: that would take ten times as long as training on 500.
TUM_VALIDATION = 2000


def _rates(
    models: Sequence[str],
    rates: Sequence[float],
    data: str = "mnist",
    recipe: str | None = None,
    flags: tuple[str, ...] = (),
) -> tuple[Trial, ...]:
    return tuple(
        Trial(model, data, recipe, (("learning_rate", rate), ("validation_subset", TUM_VALIDATION)), flags)
        for model in models
        for rate in rates
    )


def _with_statistics(models: Sequence[str], rates: Sequence[float]) -> tuple[Trial, ...]:
    return tuple(replace(trial, changes=(*trial.changes, ("statistics", True))) for trial in _rates(models, rates))


def _module_rates(module: str, rates: Sequence[tuple[float, float]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(
            "2MLP-LSTM",
            "mnist",
            changes=(
                ("learning_rate", rate),
                ("module_learning_rates", {module: own}),
                ("validation_subset", TUM_VALIDATION),
            ),
        )
        for rate, own in rates
    )


_TUM = (
    *_rates(PAIRS, RATES),  # table 4.3
    *_rates(["2MLP-FC-for-LSTM", "2MLP-LSTM"], MORE_RATES),  # figures 4.6, 4.7
    *_rates(["biLSTM-rows", "LSTM-biLSTM"], RATES),  # section 4.6.2
    *_rates(["2MLP-LSTM-x2", "2MLP-LSTM-first"], RATES),  # section 4.6.4
    *_rates(["2MLP-FC-for-LSTM"], (*RATES, *MORE_RATES), flags=("batch_norm",)),  # section 4.5
    *_with_statistics(["2MLP-FC-for-LSTM", "2MLP-LSTM"], (0.1, 0.5)),  # table 4.7, figures 4.12, 4.14
    *_with_statistics(["2MLP-LSTM"], (20.0, 100.0)),  # figure 4.15
    *_rates(DEPTHS, RATES),  # table 4.6
    *_rates(["CNN-LSTM-16x16", "CNN-LSTM-16x16-full", "CNN-LSTM-32x8-full", "CNN-LSTM-32x16-full"], RATES),  # table 4.9
    *_rates(SHAPES, RATES),  # table 4.2
    *_rates(["2MLP-LSTM"], [1.0]),  # one rate for all modules, beside table 4.8
    *_module_rates("output", OUTPUT_RATES),  # table 4.8a
    *_module_rates("recurrent", RECURRENT_RATES),  # table 4.8b
    *_rates(ON_CIFAR10, CIFAR_RATES, "cifar10", "tum-2018-5k"),  # table 4.5
    *_rates(["1MLP-LSTM"], MORE_RATES),  # figures 4.10, 4.11
    *_rates(["1MLP-GRU", "1MLP-RNN", "2MLP-GRU", "2MLP-RNN"], (*RATES, *MORE_RATES)),
    *_rates(HIDDEN_SIZES["3MLP"], RATES),  # figure 4.5
    *_rates(SIZES, RATES),  # table 4.1
    *_rates(PAIRS, RATES, recipe="tum-2018-5k"),  # table 4.4
    *_rates((*HIDDEN_SIZES["1MLP"], *HIDDEN_SIZES["2MLP"]), (*RATES, *MORE_RATES)),  # figures 4.8, 4.9
)


# --- The other papers, some with fewer epochs than they have ------------------------------------------------

#: About twice as fast on processors with AMX.  Networks that are set beside each other all have it, or none.
_BF16: Changes = (("precision", "bf16"),)
#: kth-2021 trains 300 epochs, truong-2022 175 to 360, cmu "more than 30".
KTH_EPOCHS, TRUONG_EPOCHS, CMU_EPOCHS = 100, 3, 31
#: truong-2022 reads 224 pixels, and trains at 1e-4, too slow a rate for so few epochs.
TRUONG_SIZE, TRUONG_RATE = (112, 112), 1e-3
TRUONG_HEADS = ("CRNet-FC", "CRNet-NCP-y", "CRNet-NCP-z", "CRNet-NCP-patch", "CRNet-3FC")
#: Of these, those that are trained with its setting 2 as well.
TRUONG_SECOND = ("CRNet-FC", "CRNet-NCP-y", "CRNet-NCP-z")
#: What the report's images probably are, CT slices with COVID-19: 746 of them in a table, with patients.
COVID_CT = "table:own/covid_ct/covid_ct.csv"
COVID_CT_CHANGES: Changes = (("max_epochs", 180), *_BF16)

#: What the report calls its configurations: (model, recipe).
KTH = {
    "DEFAULT": ("EQ2425", "kth-2021"),
    "4B": ("EQ2425-4B", "kth-2021"),
    "4C": ("EQ2425-4C", "kth-2021"),
    "4D": ("EQ2425-4D", "kth-2021"),
    "4A2": ("EQ2425-4A2", "kth-2021"),
    "4E": ("EQ2425-4E", "kth-2021"),
    "5A": ("EQ2425", "kth-2021-5a"),
    "5B": ("EQ2425", "kth-2021-5b"),
    "5C": ("EQ2425", "kth-2021-5c"),
    "4A1": ("EQ2425-4A1", "kth-2021"),
    "best": ("EQ2425-best", "kth-2021-best"),
    "corrected": ("EQ2425", "kth-2021-corrected"),
}
_KTH_CHANGES: Changes = (("max_epochs", KTH_EPOCHS), *_BF16)
_KTH = (
    *(Trial(model, "cifar10", recipe, _KTH_CHANGES) for model, recipe in KTH.values()),
    # What the report leaves open: a ReLU after the third convolution, and whether dropout drops in evaluation.
    Trial("EQ2425", "cifar10", "kth-2021", _KTH_CHANGES, flags=("act_after_conv3",)),
    Trial("EQ2425-4D", "cifar10", "kth-2021", _KTH_CHANGES, flags=("dropout_always",)),
    # Its conclusion names the batch of 64; its recipe, as published, has 256.
    Trial(
        "EQ2425-best",
        "cifar10",
        "kth-2021-best",
        (*_KTH_CHANGES, ("batch_size", 64), ("evaluation_batch_size", 64)),
    ),
)
#: The report trains on all 50,000 images and draws errors of training and test images over the epochs.
_CMU_CHANGES = (("max_epochs", CMU_EPOCHS), ("validate_on_test", True), ("measure_training", True))

# --- Where liquid layers help: beside twins that differ in nothing else -------------------------------------

#: A tenth of the training scans, in about as many steps as the recipe takes with all of them.
TENTH = {
    "adrenalmnist3d": (("subset", 119), ("batch_size", 32), ("max_epochs", 100)),
    "vesselmnist3d": (("subset", 133), ("batch_size", 32), ("max_epochs", 100)),
    "chestxray224": (("subset", 471), ("batch_size", 32), ("max_epochs", 80)),
}


def _twins(model: str, data: str, recipe: str) -> tuple[Trial, ...]:
    """With liquid layers and with each twin: first on a tenth of the training scans, then on all."""
    return tuple(Trial(model, data, recipe, changes, flags=twin) for changes in (TENTH[data], ()) for twin in TWINS)


_OF_OURS = ("best_test_ece_calibrated", "best_test_selective_accuracy")

PLANS = {
    "hse-2024": Plan(_HSE, reported="last_test_auc", elsewhere=(NODULES, OTHER_NODULES)),
    "tum-2018": Plan(_TUM, reported="best_test_accuracy", figures=STATISTICS),
    "kth-2021": Plan(_KTH, reported="mean_val_recall", figures=("mean_train_recall", "mean_val_recall")),
    "cmu": Plan(
        _each(("ResNet-1", "RecNet-RNN", "RecNet", "RecNet-step-BN", "ResNet-8"), ["cifar10"], changes=_CMU_CHANGES),
        reported="last_test_accuracy",
        figures=("final_train_accuracy",),
        curves=("train_accuracy", "val_accuracy"),
    ),
    "truong-2022": Plan(
        (
            *_each(TRUONG_HEADS, ["chestxray224"], changes=(("max_epochs", TRUONG_EPOCHS),), size=TRUONG_SIZE),
            *_each(
                (*TRUONG_HEADS, "CRNet-NCP-y-double", "CRNet-NCP-y-custom"),
                [COVID_CT],
                changes=COVID_CT_CHANGES,
                size=TRUONG_SIZE,
            ),
            *_each(
                TRUONG_SECOND,
                [COVID_CT],
                recipe="truong-2022-setting-2",
                changes=COVID_CT_CHANGES,
                size=TRUONG_SIZE,
            ),
            *_each(
                TRUONG_HEADS,
                ["chestxray224"],
                changes=(("learning_rate", TRUONG_RATE), ("max_epochs", TRUONG_EPOCHS)),
                size=TRUONG_SIZE,
            ),
        ),
        reported="best_test_accuracy",
        figures=("best_test_f1", "best_test_dice"),
    ),
    # our own: masks, on the data of hse-2024; X-rays
    "liquidlens": Plan(
        (
            *_each(("LiquidLens-S", "LiquidLens-CNN"), HSE_DATASETS),
            *_each(["LiquidLens-S"], HSE_DATASETS, flags=("uneven",)),
            *_each(["LiquidLens-S"], HSE_DATASETS, flags=("uneven", "timespans")),
            *_each(["LiquidLens-M"], HSE_DATASETS),
            *(
                Trial("LiquidLens-X", data, "liquidlens-x", changes, flags=twin, size=size)
                for data, size, changes in XRAYS
                for twin in TWINS
            ),
        ),
        reported="best_test_auc",
        figures=_OF_OURS,
    ),
    "liquid-layers": Plan(
        (
            *(trial for data in HSE_DATASETS for trial in _twins("LiquidLens-S", data, "liquidlens")),
            *_twins("LiquidLens-X", "chestxray224", "liquidlens-x"),
            *_each(["LiquidLens-CNN"], HSE_DATASETS, recipe="liquidlens"),
        ),
        reported="best_test_auc",
        figures=_OF_OURS,
        shares="liquidlens",
    ),
}


def plan(paper: str) -> Plan:
    """A paper's study.  Raises LiquidLensError if there is none."""
    if paper not in PLANS:
        raise unknown("study", paper, PLANS)
    return PLANS[paper]


def selected(paper: str, datasets: Sequence[str] = (), models: Sequence[str] = ()) -> list[Trial]:
    """The trials of a paper's study, in order; all, or those of some models, flags behind them as in
    LSTMExp5N2+source_layout; on their own datasets, or each on `datasets` instead.  Raises LiquidLensError for a model
    that the study has not."""
    trials = plan(paper).trials
    if models:
        wanted = [Network.parse(model) for model in sorted(set(models))]
        known = dict.fromkeys(trial.model for trial in trials)
        for one in wanted:
            if one.model not in known:
                raise unknown("model of this study", one.model, known)
        pairs = [(trial, one) for trial in trials for one in wanted if one.model == trial.model]
        trials = tuple(replace(trial, flags=one.flags, size=one.size or trial.size) for trial, one in pairs)
    if datasets:
        trials = tuple(replace(trial, data=data) for trial in trials for data in datasets)
    return list({(trial.data, trial.line(paper)): trial for trial in trials}.values())


def parse_seeds(text: str) -> list[int]:
    """ "0-4" and "0,2,5" as seeds.  Raises LiquidLensError for anything else."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last if dash else first) + 1)
        if not seeds:
            raise ValueError(text)
    except ValueError as error:
        raise LiquidLensError(f"--seeds takes numbers and ranges, as in 0-4 or 0,2,5, not {text!r}.") from error
    return list(dict.fromkeys(seeds))
