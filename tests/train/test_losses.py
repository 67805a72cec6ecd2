"""The papers' losses, on numbers small enough to check by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from liquidlens.train.loop import losses
from liquidlens.train.recipes import training


def logit(p):
    return math.log(p / (1 - p))


def test_dice_of_a_hand_example():
    probabilities = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    one_hot = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # overlap 0.8 + 0.4 = 1.2; sums 2 and 2: 1 - 2 * 1.2 / 4
    assert losses.dice_loss(probabilities, one_hot) == pytest.approx(0.4)
    assert losses.dice_loss(one_hot, one_hot) == pytest.approx(0.0, abs=1e-6)


def test_setting_1_weighs_bce_0_4_and_dice_1():
    outputs = torch.tensor([[logit(0.8), logit(0.2)], [logit(0.4), logit(0.6)]])
    targets = torch.tensor([0, 0])
    bce = -(math.log(0.8) + math.log(0.8) + math.log(0.4) + math.log(0.4)) / 4
    assert losses.bce_dice(outputs, targets) == pytest.approx(0.4 * bce + 0.4, rel=1e-5)


def test_setting_2_compares_sigmoids_with_one_hot_targets():
    outputs = torch.tensor([[logit(0.8), logit(0.3)]])
    assert losses.mean_squared_error(outputs, torch.tensor([0])) == pytest.approx((0.2**2 + 0.3**2) / 2, rel=1e-5)


def test_softmax_twice_cannot_fall_below_1_46():
    certain = torch.full((4, 10), -100.0)
    certain[:, 3] = 100.0
    targets = torch.full((4,), 3)
    assert losses.double_softmax(certain, targets) == pytest.approx(math.log(1 + 9 / math.e))
    assert losses.double_softmax(certain, targets) > 1.46
    assert losses.cross_entropy(certain, targets) == pytest.approx(0)


def test_cross_entropy_is_that_of_what_the_outputs_stand_for():
    one = torch.tensor([[logit(0.9)], [logit(0.2)]])
    assert losses.cross_entropy(one, torch.tensor([1, 0])) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)
    several = torch.tensor([[logit(0.9), logit(0.2)]])
    assert losses.cross_entropy(several, torch.tensor([[1.0, 1.0]])) == pytest.approx(
        -(math.log(0.9) + math.log(0.2)) / 2, rel=1e-5
    )
    two_classes = torch.tensor([[math.log(3.0), 0.0]])
    assert losses.cross_entropy(two_classes, torch.tensor([0])) == pytest.approx(-math.log(0.75))


def test_the_pose_loss_sums_weighted_heads():
    target = torch.tensor([[1.0, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0]])
    away = target + torch.tensor([[3.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]])  # squared errors: position 9/3, orientation 4/4
    assert losses.pose([away], target, beta=100, weights=[1.0]) == pytest.approx(3 + 100)
    three = losses.pose([away, target, away], target, beta=100, weights=[0.3, 0.3, 1.0])
    assert three == pytest.approx(1.3 * 103, rel=1e-6)


def test_balanced_weights_make_every_class_count_as_much():
    targets = torch.tensor([0, 0, 0, 1])
    weights = losses.class_weights(targets, 2)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    one = torch.zeros(4, 1)
    assert losses.cross_entropy(one, targets, weights) == pytest.approx(math.log(2))
    wrong_of_rare = torch.tensor([[-2.0], [-2.0], [-2.0], [-2.0]])
    expected = 0.5 * math.log1p(math.exp(-2)) + 0.5 * math.log1p(math.exp(2))
    assert losses.cross_entropy(wrong_of_rare, targets, weights) == pytest.approx(expected, rel=1e-5)
    two = torch.cat([-wrong_of_rare / 2, wrong_of_rare / 2], 1)
    assert losses.cross_entropy(two, targets, weights) == pytest.approx(expected, rel=1e-5)
    several = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert losses.class_weights(several, 2).tolist() == [3, 3]
    assert losses.cross_entropy(torch.zeros(4, 2), several, torch.tensor([3.0, 3.0])) == pytest.approx(
        1.5 * math.log(2)
    )


def test_label_smoothing_shares_targets_out():
    targets, weights = torch.tensor([0, 1, 1]), torch.tensor([2.0, 0.5])
    one, two = torch.randn(3, 1), torch.randn(3, 2)
    soft = targets[:, None] * 0.8 + 0.1
    each = F.binary_cross_entropy_with_logits(one, soft, reduction="none") * weights[targets][:, None]
    assert torch.allclose(losses.cross_entropy(one, targets, weights, 0.2), each.mean())
    expected = -(F.log_softmax(two, 1) * torch.cat([1 - soft, soft], 1)).sum(1).mean()
    assert torch.allclose(losses.cross_entropy(two, targets, label_smoothing=0.2), expected)
    loss = losses.loss_of(training("quick", {"label_smoothing": 0.2}), targets, 2)
    assert torch.equal(loss(one, targets), losses.cross_entropy(one, targets, label_smoothing=0.2))
