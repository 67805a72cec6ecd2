"""The paper's rules, on numbers small enough to check by hand."""

import pytest
import torch

from train.callbacks import StopOnRise
from train.module import Batches, batch_mean_metrics, loader


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
    rule = StopOnRise(patience=10, tolerance=0.001)
    stopped = next((epoch for epoch, loss in enumerate(losses, 1) if rule.should_stop(loss)), None)
    assert stopped == stops_after


def test_early_stopping_goes_on_after_a_resume():
    rule, resumed = StopOnRise(3, 0.001), StopOnRise(3, 0.001)
    for loss in (1.0, 1.1, 1.1):
        assert not rule.should_stop(loss)
    resumed.load_state_dict(rule.state_dict())
    assert resumed.should_stop(1.1)


def test_loss_and_accuracy_are_means_over_batches():
    full = torch.full((4,), 100.0), torch.ones(4)  # right, loss 0
    short = torch.full((1,), 100.0), torch.zeros(1)  # wrong, loss 100
    figures = batch_mean_metrics([full, short])
    assert figures["accuracy"] == 0.5
    assert figures["loss"] == pytest.approx(50)


def test_batches_depend_on_seed_and_epoch_alone():
    first, second = Batches(10, 4, seed=1), Batches(10, 4, seed=1)
    assert list(first) == list(second)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(i for batch in first for i in batch) == list(range(10))
    second.set_epoch(1)
    assert list(first) != list(second)
    first.set_epoch(1)
    assert list(first) == list(second)
    assert list(Batches(10, 4, seed=2)) != list(Batches(10, 4, seed=1))


def test_the_loader_keeps_order_without_a_seed():
    inputs = torch.arange(5.0)
    batches = [batch[0].tolist() for batch in loader(inputs, inputs, 2)]
    assert batches == [[0, 1], [2, 3], [4]]
