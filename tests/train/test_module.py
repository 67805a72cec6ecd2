"""The papers' rules of training, on numbers small enough to check by hand."""

import math

import pytest
import torch

from liquidlens.errors import LiquidLensError
from liquidlens.train.loop.callbacks import EarlyStop, badness
from liquidlens.train.loop.evaluate import epoch_figures, pose_errors
from liquidlens.train.loop.fit import draw_subset
from liquidlens.train.loop.losses import cross_entropy, double_softmax
from liquidlens.train.loop.module import ShuffledBatches, loader
from liquidlens.train.recipes import training

HSE, TUM = training("hse-2024"), training("tum-2018", {"patience": 3})


@pytest.mark.parametrize(
    ("losses", "stops_after"),
    [
        ([1.0] + [1.1] * 10, 11),  # ten clear rises
        ([1.0] + [1.0005] * 30, None),  # within the tolerance: neither counted nor reset
        ([1.0] + [1.1] * 9 + [0.9] + [1.1] * 9, None),  # a new lowest loss resets
        ([1.0] + [1.1] * 5 + [1.0005] * 5 + [1.1] * 5, 16),  # a loss within the tolerance does not reset
        ([1.0] + [1.001] * 30, None),  # exactly at the tolerance is within it
    ],
)
def test_early_stopping_of_hse_2024(losses, stops_after):
    assert epochs_until_stop(HSE, [{"val_loss": loss} for loss in losses]) == stops_after


@pytest.mark.parametrize(
    ("accuracies", "stops_after"),
    [
        ([0.5] + [0.4] * 10, 5),  # more than three epochs after the best
        ([0.5] * 10, 5),  # an equal accuracy is no better one
        ([0.5, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5], None),  # a gain after exactly three resets
    ],
)
def test_early_stopping_of_tum_2018(accuracies, stops_after):
    epochs = [{"val_loss": 1.0, "val_accuracy": accuracy} for accuracy in accuracies]
    assert epochs_until_stop(TUM, epochs) == stops_after


def epochs_until_stop(settings, epochs):
    rule = EarlyStop(settings)
    return next((n for n, figures in enumerate(epochs, 1) if rule.should_stop(badness(settings, figures))), None)


def test_early_stopping_goes_on_after_a_resume():
    settings = training("hse-2024", {"patience": 3})
    rule, resumed = EarlyStop(settings), EarlyStop(settings)
    for loss in (1.0, 1.1, 1.1):
        assert not rule.should_stop(loss)
    resumed.load_state_dict(rule.state_dict())
    assert resumed.should_stop(1.1)


def test_an_epoch_that_has_diverged_is_never_the_best_and_ends_the_training():
    diverged = {"val_loss": math.nan, "val_accuracy": 0.9}
    for settings in (HSE, TUM):
        assert badness(settings, diverged) == math.inf
        assert badness(settings, {"val_loss": 9.0, "val_accuracy": 0.1}) < math.inf
        assert epochs_until_stop(settings, [diverged] * 20) is not None


def test_loss_accuracy_and_recall_are_means_over_batches():
    full = torch.full((4, 1), 100.0), torch.ones(4, dtype=torch.int64)  # right, loss 0
    short = torch.full((1, 1), 100.0), torch.zeros(1, dtype=torch.int64)  # wrong, loss 100
    figures = epoch_figures("classes", [full, short], cross_entropy)
    assert figures["accuracy"] == 0.5
    assert figures["recall"] == 0.5
    assert figures["loss"] == pytest.approx(50)
    assert figures["dice"] == pytest.approx(2 * 4 / (5 + 4)), "of all scans together"


def test_figures_of_ten_classes_use_the_recipes_loss():
    outputs, targets = torch.eye(10) * 100, torch.arange(10)
    figures = epoch_figures("classes", [(outputs, targets)], double_softmax)
    assert figures["loss"] == pytest.approx(math.log(1 + 9 / math.e), rel=1e-5)
    assert figures["recall"] == figures["accuracy"] == figures["auc"] == figures["f1"] == 1.0


def test_pose_errors_are_metres_and_degrees():
    half = math.sqrt(0.5)
    targets = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0]]).numpy()
    quarter_turn = torch.tensor([[3.0, 4, 0, half, half, 0, 0]]).numpy()
    assert pose_errors(quarter_turn, targets) == pytest.approx({"position_error": 5.0, "orientation_error": 90.0})
    quarter_turn[:, 3:] *= -1  # the same rotation
    assert pose_errors(quarter_turn, targets)["orientation_error"] == pytest.approx(90.0)


def test_subsets_are_the_same_for_every_model_and_seed():
    first = draw_subset(50_000, 500, seed=0)
    assert (first == draw_subset(50_000, 500, seed=0)).all()
    assert len(set(first.tolist())) == 500
    assert (first != draw_subset(50_000, 500, seed=1)).any()
    assert set(draw_subset(50_000, 100, seed=0)) <= set(first), "a smaller subset is part of a larger one"
    with pytest.raises(LiquidLensError, match="501 cannot be drawn from 500"):
        draw_subset(500, 501, seed=0)


def test_batches_depend_on_seed_and_epoch_alone():
    first, second = ShuffledBatches(10, 4, seed=1), ShuffledBatches(10, 4, seed=1)
    assert list(first) == list(second)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(i for batch in first for i in batch) == list(range(10))
    second.set_epoch(1)
    assert list(first) != list(second)
    first.set_epoch(1)
    assert list(first) == list(second)
    assert list(ShuffledBatches(10, 4, seed=2)) != list(ShuffledBatches(10, 4, seed=1))


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (5, 4, [5]), (1, 4, [1]), (3, 1, [1, 1, 1])]
)
def test_no_batch_of_a_training_has_a_single_scan_that_was_left_over(count, size, lengths):
    """Batch normalisation has no deviation of one."""
    shuffled = ShuffledBatches(count, size, seed=1)
    in_order = loader(torch.arange(count), torch.arange(count), size, training=True)
    for batches in (list(shuffled), [batch[0].tolist() for batch in in_order]):
        assert [len(batch) for batch in batches] == lengths
        assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert len(shuffled) == len(lengths)


def test_the_loader_keeps_order_without_a_seed():
    inputs = torch.arange(5.0)
    batches = [batch[0].tolist() for batch in loader(inputs, inputs, 2)]
    assert batches == [[0, 1], [2, 3], [4]]
