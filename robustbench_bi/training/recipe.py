"""Recipes: everything about a training that changes its result, and the presets of the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from robustbench_bi.errors import InputError
from robustbench_bi.registry import unknown_name


@dataclass(frozen=True)
class Recipe:
    """A training recipe: SGD with momentum, a linear warm-up, and a cosine to the final learning rate.

    Args:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: at the top of the schedule, for 256 images a step; it is scaled with the batch size.
        final_learning_rate: at the last step; not scaled.
        momentum: of SGD.
        weight_decay: on all parameters.
        label_smoothing: 0 for none.
        warmup_epochs: the learning rate rises linearly over these.
        crop: "inception" takes a box of 8 to 100 % of the area and an aspect of 3/4 to 4/3 (Szegedy et al. 2015), here
            of the centre square of a picture, so that a batch has one size; "shift" moves the picture by up to `shift`
            pixels each way; "none" takes it as it is.
        shift: pixels of zero padding for "shift".
        flip: mirror every other picture, left to right.
        input_size: side of the training images where the data have no side of their own.
        model_options: for this package's own networks, below what the caller asks for.
        half: store the weights in half precision. The final accuracy is measured with the stored weights.

    Raises:
        InputError: a value is out of range.
    """

    epochs: int = 130
    batch_size: int = 256
    learning_rate: float = 0.1
    final_learning_rate: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    warmup_epochs: float = 0.0
    crop: Literal["inception", "shift", "none"] = "inception"
    shift: int = 0
    flip: bool = True
    input_size: int = 224
    model_options: Mapping[str, Any] = field(default_factory=dict)
    half: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "input_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a positive integer, got {value!r}")
        for name in ("learning_rate", "final_learning_rate", "weight_decay", "warmup_epochs", "shift"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a number of at least 0, got {getattr(self, name)!r}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be from 0 to below 1, got {getattr(self, name)!r}")
        if self.crop not in ("inception", "shift", "none"):
            raise InputError(f"crop must be 'inception', 'shift' or 'none', got {self.crop!r}")

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step: linear to the top over the warm-up, then half a cosine to the final one.

        Args:
            step: counted from 0 over the whole training.
            steps_per_epoch: so that `epochs * steps_per_epoch` steps are all.

        Example:
            >>> recipe = Recipe(epochs=4, batch_size=512, warmup_epochs=1)
            >>> [round(recipe.learning_rate_at(step, 2), 4) for step in range(8)]
            [0.1, 0.2, 0.2, 0.1809, 0.1309, 0.0691, 0.0191, 0.0]
        """
        top = self.learning_rate * self.batch_size / 256
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return top * (step + 1) / warmup
        last = self.epochs * steps_per_epoch - 1
        done = (step - warmup) / max(1, last - warmup)
        return self.final_learning_rate + (top - self.final_learning_rate) * 0.5 * (1.0 + math.cos(math.pi * done))


PRESETS: Mapping[str, Recipe] = {
    # Section 4.1 of the paper.
    "paper": Recipe(),
    # The usual CIFAR recipe of He et al. 2016, with a cosine in place of the steps.
    "cifar": Recipe(
        epochs=100,
        batch_size=128,
        learning_rate=0.2,
        weight_decay=5e-4,
        warmup_epochs=1,
        crop="shift",
        shift=4,
        input_size=32,
        model_options={"stem": "cifar"},
    ),
    # The bundled demo weights: one recipe for all of them.
    "demo": Recipe(
        epochs=20,
        batch_size=128,
        learning_rate=0.2,
        warmup_epochs=1,
        crop="shift",
        shift=4,
        input_size=64,
        model_options={"width": 0.25},
        half=True,
    ),
}


def resolve_recipe(preset: str, **changes: Any) -> Recipe:
    """A preset with some fields changed; a change to None is no change.

    Raises:
        UnknownNameError: no such preset.
        InputError: a changed value is out of range.

    Example:
        >>> resolve_recipe("paper", epochs=90).epochs
        90
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    return replace(PRESETS[preset], **{name: value for name, value in changes.items() if value is not None})
