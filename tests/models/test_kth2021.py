"""The variants of the EQ2425 network, layer by layer, and its flags."""

import pytest
import torch
from torch import nn

from liquidlens.models.papers import kth2021

ENTRIES = {entry.name: entry for entry in kth2021.ENTRIES}
LETTERS = {
    nn.Conv2d: "C", nn.BatchNorm2d: "B", nn.ReLU: "R", nn.LeakyReLU: "K", nn.MaxPool2d: "P", nn.Flatten: "|",
    nn.Linear: "L", nn.Dropout: "D", kth2021.AlwaysDropout: "A",
}  # fmt: skip


def layers(name: str, **flags: bool) -> str:
    model = ENTRIES[name].make((3, 32, 32), 10, **flags)
    return "".join(LETTERS[type(module)] for module in (*model.features, *model.head))


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("EQ2425", {}, "CRP CRP CP |LRL"),
        ("EQ2425", {"act_after_conv3": True}, "CRP CRP CRP |LRL"),
        ("EQ2425-4A2", {}, "CRP CRP CP |LRLRL"),
        ("EQ2425-4C", {}, "CKP CKP CP |LKL"),
        ("EQ2425-4D", {}, "CRP CRP CP |LRDL"),
        ("EQ2425-4D", {"dropout_always": True}, "CRP CRP CP |LRAL"),
        ("EQ2425-4E", {}, "CBRP CBRP CBP |LRL"),
        ("EQ2425-4E", {"norm_after_activation": True}, "CRBP CRBP CBP |LRL"),
        ("EQ2425-best", {}, "CBKP CBKP CBP |LKDL"),
        ("EQ2425-best", dict.fromkeys(ENTRIES["EQ2425-best"].flags, True), "CKBP CKBP CKBP |LKAL"),
    ],
)
def test_layers(name, flags, expected):
    assert layers(name, **flags) == expected.replace(" ", "")


def test_flags_are_offered_where_they_change_something():
    for entry in kth2021.ENTRIES:
        assert all(layers(entry.name, **{flag: True}) != layers(entry.name) for flag in entry.flags)
    assert ENTRIES["EQ2425"].flags == ("act_after_conv3",)
    assert len(ENTRIES["EQ2425-best"].flags) == 3


@pytest.mark.parametrize(("always", "same"), [(False, True), (True, False)])
def test_dropout_in_evaluation(always, same):
    torch.manual_seed(0)
    model = ENTRIES["EQ2425-4D"].make((3, 32, 32), 10, dropout_always=always).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), model(images)) == same


def test_dropout_rate_is_that_of_the_report():
    kept = (kth2021.AlwaysDropout(0.3).eval()(torch.ones(100_000)) > 0).float().mean()
    assert abs(kept - 0.7) < 0.01
    assert [m.p for m in ENTRIES["EQ2425-best"].make((3, 32, 32), 10).modules() if isinstance(m, nn.Dropout)] == [0.3]


@pytest.mark.parametrize(("name", "size"), [("EQ2425", 2), ("EQ2425-4B", 1)])
def test_activations_are_the_means_of_the_last_maps(name, size):
    model = ENTRIES[name].make((3, 32, 32), 10)
    images = torch.randn(2, 3, 32, 32)
    maps = model.features(images)
    assert maps.shape == (2, 96, size, size)
    assert torch.equal(model.decide(images).activations, maps.mean((2, 3)).unsqueeze(1))


def test_other_images_and_classes():
    assert ENTRIES["EQ2425-best"].make((1, 28, 40), 4)(torch.randn(2, 1, 28, 40)).shape == (2, 4)
    with pytest.raises(ValueError, match="28 x 28 pixels are too small for EQ2425-4B"):
        ENTRIES["EQ2425-4B"].make((1, 28, 28), 10)
