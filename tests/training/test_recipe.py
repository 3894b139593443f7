import math

import pytest

from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.training.recipe import PRESETS, Recipe, resolve_recipe


def test_the_paper_preset_is_section_4_1():
    paper = PRESETS["paper"]
    assert (paper.epochs, paper.learning_rate, paper.final_learning_rate) == (130, 0.1, 1e-5)
    assert (paper.momentum, paper.weight_decay, paper.crop, paper.flip) == (0.9, 1e-4, "inception", True)
    assert (paper.input_size, paper.label_smoothing, paper.warmup_epochs) == (224, 0.0, 0.0)


def test_the_cosine_runs_from_the_scaled_rate_to_the_final_one():
    recipe = Recipe(epochs=10, batch_size=1024, learning_rate=0.1, final_learning_rate=1e-5)
    rates = [recipe.learning_rate_at(step, 7) for step in range(70)]
    assert rates[0] == pytest.approx(0.4)
    assert rates[-1] == pytest.approx(1e-5)
    assert rates[23] == pytest.approx(1e-5 + (0.4 - 1e-5) * 0.5 * (1 + math.cos(math.pi / 3)))
    assert rates == sorted(rates, reverse=True)


def test_the_warm_up_is_linear_and_reaches_the_top():
    recipe = Recipe(epochs=4, batch_size=256, learning_rate=0.1, warmup_epochs=2)
    rates = [recipe.learning_rate_at(step, 5) for step in range(20)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert max(rates) == pytest.approx(0.1)
    assert rates[10] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(1e-5)


def test_a_training_of_one_step_has_a_rate():
    assert Recipe(epochs=1).learning_rate_at(0, 1) == pytest.approx(0.1)


def test_a_preset_can_be_changed():
    changed = resolve_recipe("cifar", epochs=3, batch_size=None)
    assert changed.epochs == 3
    assert changed.batch_size == PRESETS["cifar"].batch_size


def test_an_unknown_preset_is_answered_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"unknown preset 'papr'\. Did you mean 'paper'\?"):
        resolve_recipe("papr")
    with pytest.raises(UnknownNameError, match="Known: paper, cifar, demo"):
        resolve_recipe("xyz")


def test_an_unknown_part_is_answered_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"unknown recipe field 'weight_decy'\. Did you mean 'weight_decay'"):
        resolve_recipe("paper", weight_decy=0.1)


def test_what_is_not_of_the_papers_recipe_is_off_in_every_preset():
    for preset in PRESETS.values():
        assert (preset.augment, preset.ema, preset.nesterov, preset.label_smoothing) == ("none", 0.0, False, 0.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 0}, "epochs must be a positive integer, got 0"),
        ({"epochs": True}, "epochs must be a positive integer, got True"),
        ({"batch_size": 2.5}, "batch_size must be a positive integer, got 2.5"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a number above 0, got -1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a number above 0, got nan"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"crop": "centre"}, "crop must be one of inception, shift, none, got 'centre'"),
        ({"augment": "mixup"}, "augment must be one of none, augmix, noise, got 'mixup'"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1, got 1.0"),
        ({"ema": "0.9x"}, "ema must be at least 0 and below 1, got '0.9x'"),
        ({"label_smoothing": True}, "label_smoothing must be at least 0 and below 1, got True"),
        ({"shift": 1.5}, "shift must be an integer of at least 0, got 1.5"),
        ({"flip": 1}, "flip must be true or false, got 1"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov needs momentum above 0"),
        ({"model_options": 5}, "model_options must be a dict of options by name, got 5"),
    ],
)
def test_values_out_of_range_are_refused(changes, text):
    with pytest.raises(InputError, match=text):
        Recipe(**changes)
