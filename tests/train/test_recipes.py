"""Recipes: what the papers state, and how fields are changed."""

import pytest
import torch
from torch import nn

from liquidlens import models
from liquidlens.errors import LiquidLensError
from liquidlens.train.loop.optimizer import configure, parameter_groups
from liquidlens.train.recipes import RECIPES, changed, parse_changes, training


def test_every_paper_has_a_recipe_of_its_name():
    assert {models.entry(name).paper for name in models.names()} <= set(RECIPES)


@pytest.mark.parametrize(
    ("recipe", "facts"),
    [
        ("hse-2024", {"optimizer": "adam", "learning_rate": 5e-4, "batch_size": 64, "max_epochs": 500, "patience": 10}),
        ("truong-2022", {"loss": "bce-dice", "learning_rate": 1e-4, "batch_size": 64, "max_epochs": 360}),
        ("truong-2022-setting-2", {"loss": "mse", "learning_rate": 2.5e-5, "batch_size": 20, "restart_epochs": 10}),
        ("tum-2018", {"optimizer": "sgd", "momentum": 0, "subset": 500, "patience": 100, "select": "accuracy"}),
        ("cmu-mnist", {"subset": 10_000, "test_subset": 1000}),
        ("kth-2021", {"loss": "double-softmax", "momentum": 0.9, "shuffle": False, "validate_on_test": True}),
        ("kth-2021-5a", {"batch_size": 256, "learning_rate": 1e-3}),
        ("kth-2021-5b", {"batch_size": 64, "learning_rate": 0.1}),
        ("kth-2021-5c", {"shuffle": True}),
        ("kth-2021-corrected", {"loss": "cross-entropy", "validate_on_test": False}),
        ("tum-2018-pose", {"loss": "pose", "epsilon": 1.0, "weight_decay": 0.0625}),
    ],
)
def test_what_the_papers_state(recipe, facts):
    settings = training(recipe)
    assert {field: getattr(settings, field) for field in facts} == facts


def test_any_field_can_be_changed():
    changes = parse_changes(
        ["learning_rate=2", "normalise=[0.5, 1]", "subset=null", "stop=never", "module_learning_rates.output=0.5"]
    )
    settings = training("tum-2018", changes)
    assert settings.learning_rate == 2
    assert settings.normalise == (0.5, 1.0)
    assert settings.subset is None
    assert settings.module_learning_rates == {"output": 0.5}
    assert set(changed(settings)) == {"learning_rate", "normalise", "subset", "stop", "module_learning_rates"}
    assert changed(training("tum-2018")) == {}


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("batch", "'batch' sets nothing: write FIELD=VALUE"),
        ("bath_size=3", "no field of a recipe named 'bath_size'. Did you mean batch_size"),
        ("recipe=mine", "no field of a recipe named 'recipe'"),
        ("batch_size=0", "batch_size=0 does not fit: Input should be greater than 0"),
        ("loss=hinge", "loss='hinge' does not fit"),
        ("shuffle=maybe", "shuffle='maybe' does not fit"),
        ("module_learning_rates.output=-1", "does not fit: Input should be greater than 0"),
    ],
)
def test_changes_that_do_not_fit(assignment, sentence):
    with pytest.raises(LiquidLensError, match=sentence.replace("(", r"\(")):
        training("hse-2024", parse_changes([assignment]))


def test_per_module_rates_reach_the_right_parameters():
    model = models.build("2MLP-LSTM")
    settings = training("tum-2018", {"learning_rate": 2, "module_learning_rates": {"output": 0.5, "recurrent": 1}})
    rates = {id(p): group["lr"] for group in parameter_groups(model, settings) for p in group["params"]}
    expected = {"first": 2, "recurrent": 1, "output": 0.5}
    seen = {}
    for name, parameter in model.named_parameters():
        (module,) = (module for module in expected if f".{module}." in f".{name}")
        assert rates[id(parameter)] == expected[module], name
        seen[module] = True
    assert set(seen) == set(expected)
    assert len(rates) == len(list(model.parameters()))


def test_a_module_that_does_not_exist_is_named():
    settings = training("tum-2018", {"module_learning_rates": {"lstm": 1}})
    with pytest.raises(LiquidLensError, match=r"no such module.*recurrent"):
        list(parameter_groups(models.build("2MLP-LSTM"), settings))


def test_a_field_that_is_set_in_two_ways():
    with pytest.raises(LiquidLensError, match="module_learning_rates is set twice"):
        parse_changes(["module_learning_rates=3", "module_learning_rates.output=2"])


@pytest.mark.parametrize("steps", [1, 5, 6, 100])
def test_one_cycle_of_any_length(steps):
    made = configure(nn.Linear(1, 1), training("quick", {"optimizer": "sgd", "momentum": 0.5}), steps)
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] <= 3e-3
    assert optimizer.param_groups[0]["momentum"] == 0.5


def test_masks_are_not_optimised():
    model = models.build("LiqExp1N2")
    (group,) = parameter_groups(model, training("hse-2024"))
    assert sum(p.numel() for p in group["params"]) == 37_265


def test_the_cosine_restarts_every_ten_epochs():
    made = configure(nn.Linear(1, 1), training("truong-2022"), steps=100)
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert made["lr_scheduler"]["interval"] == "epoch"
    rates = []
    for _ in range(21):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == rates[10] == rates[20] == pytest.approx(1e-4)
    assert rates[5] == pytest.approx(0.5e-4)
    assert rates[9] < 0.05e-4
    assert rates[:10] == sorted(rates[:10], reverse=True)


def test_sgd_of_the_papers_has_their_momentum():
    assert configure(nn.Linear(1, 1), training("tum-2018"), 1)["optimizer"].param_groups[0]["momentum"] == 0
    optimizer = configure(nn.Linear(1, 1), training("kth-2021"), 1)["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.9
