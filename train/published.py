"""The figures that the papers print, as data: what a study sets its own beside."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Accuracy and AUC on test scans, to three decimals."""

    accuracy: float
    auc: float


# hse-2024, figures 4 to 18 and the author's result notebooks; Table 2 repeats nine rows.  The notebooks report the test
# figures after the last epoch, accuracy as the unweighted mean over batches of 64; one run each, no seed fixed.
_HSE_DATASETS = ("adrenalmnist3d", "nodulemnist3d", "vesselmnist3d")
# fmt: off
_HSE_2024 = {
    # (accuracy, AUC) on Adrenal, Nodule and Vessel
    "CNNExp1N1":  ((0.768, 0.836), (0.838, 0.887), (0.903, 0.854)),
    "LiqExp1N2":  ((0.773, 0.798), (0.844, 0.876), (0.909, 0.901)),
    "CNNExp1N3":  ((0.802, 0.855), (0.839, 0.885), (0.911, 0.872)),
    "CNNExp1N4":  ((0.794, 0.850), (0.848, 0.852), (0.890, 0.863)),
    "LiqExp1N5":  ((0.773, 0.682), (0.854, 0.895), (0.901, 0.860)),
    "LiqExp1N6":  ((0.732, 0.772), (0.852, 0.904), (0.904, 0.831)),
    "CNNExp2N1":  ((0.799, 0.839), (0.844, 0.828), (0.896, 0.830)),
    "LiqExp2N2":  ((0.765, 0.752), (0.854, 0.873), (0.893, 0.818)),
    "CNNExp2N3":  ((0.796, 0.859), (0.848, 0.853), (0.901, 0.927)),
    "CNNExp2N4":  ((0.812, 0.855), (0.855, 0.847), (0.878, 0.796)),
    "LiqExp2N5":  ((0.765, 0.754), (0.860, 0.876), (0.893, 0.811)),
    "LiqExp2N6":  ((0.765, 0.746), (0.839, 0.825), (0.893, 0.828)),
    "CNNExp3N1":  ((0.810, 0.845), (0.835, 0.853), (0.895, 0.866)),
    "LiqExp3N2":  ((0.755, 0.716), (0.835, 0.883), (0.935, 0.903)),
    "LiqExp3N3":  ((0.765, 0.753), (0.850, 0.891), (0.898, 0.809)),
    "LiqExp3N4":  ((0.760, 0.775), (0.848, 0.889), (0.903, 0.827)),
    "LiqExp3N5":  ((0.785, 0.770), (0.841, 0.884), (0.919, 0.872)),
    "CNNExp3N6":  ((0.818, 0.863), (0.842, 0.828), (0.903, 0.889)),
    "CNNExp4N1":  ((0.787, 0.844), (0.862, 0.908), (0.885, 0.822)),
    "LiqExp4N2":  ((0.755, 0.718), (0.855, 0.908), (0.909, 0.918)),
    "CNNExp4N3":  ((0.801, 0.845), (0.855, 0.886), (0.903, 0.901)),
    "CNNExp4N4":  ((0.776, 0.848), (0.861, 0.876), (0.896, 0.864)),
    "LiqExp4N5":  ((0.762, 0.685), (0.835, 0.862), (0.891, 0.818)),
    "LiqExp4N6":  ((0.777, 0.740), (0.847, 0.873), (0.927, 0.914)),
    "LiqExp5N1":  ((0.765, 0.744), (0.822, 0.827), (0.888, 0.839)),
    "LSTMExp5N2": ((0.765, 0.829), (0.867, 0.871), (0.891, 0.792)),
    "LSTMExp5N3": ((0.765, 0.443), (0.792, 0.853), (0.888, 0.528)),
    "LSTMExp5N4": ((0.783, 0.795), (0.839, 0.882), (0.888, 0.763)),
    "RNNExp5N5":  ((0.760, 0.824), (0.850, 0.875), (0.901, 0.847)),
    "RNNExp5N6":  ((0.787, 0.818), (0.845, 0.861), (0.904, 0.870)),
}
# fmt: on

#: paper -> (model, dataset) -> figures.
FIGURES = {
    "hse-2024": {
        (model, dataset): Published(*pair)
        for model, pairs in _HSE_2024.items()
        for dataset, pair in zip(_HSE_DATASETS, pairs, strict=True)
    }
}


def published(paper: str, model: str, dataset: str) -> Published | None:
    """The figures that a paper prints for a model on a dataset, if it prints any.

    model: with or without flags; LSTM and RNN rows of hse-2024 were run as `+source_layout`.
    """
    return FIGURES[paper].get((model.partition("+")[0], dataset))
