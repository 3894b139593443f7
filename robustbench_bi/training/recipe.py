"""Recipes: everything about a training that changes its result, and the presets of the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from robustbench_bi.errors import InputError
from robustbench_bi.ground.checks import is_number
from robustbench_bi.ground.registry import unknown_name

CROPS = ("inception", "shift", "none")
AUGMENTS = ("none", "augmix", "noise")
"""No augmentation, or a name in `augment.AUGMENTATIONS`."""


@dataclass(frozen=True)
class Recipe:
    """A training recipe: SGD with momentum, a linear warm-up, and a cosine to the final learning rate.

    Args:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: at the top of the schedule, for 256 images a step; it is scaled with the batch size.
        final_learning_rate: at the last step; not scaled.
        momentum: of SGD.
        nesterov: take Nesterov's form of it, as RedNet's own recipe does.
        weight_decay: on all parameters.
        label_smoothing: 0 for none.
        warmup_epochs: the learning rate rises linearly over these.
        ema: decay a step of an exponential moving average of the weights, which is then what is evaluated and saved;
            0 for none.
        crop: "inception" takes a box of 8 to 100 % of the area and an aspect of 3/4 to 4/3 (Szegedy et al. 2015) of
            the whole picture; "shift" moves the picture by up to `shift` pixels each way; "none" takes it as it is.
        shift: pixels of zero padding for "shift".
        flip: mirror every other picture, left to right.
        augment: "augmix" or "noise", applied after crop and flip, see `robustbench_bi.training.augment`; or "none".
        input_size: side of the training images where the data and the network have no side of their own.
        model_options: for this package's own networks, below what the caller asks for.
        drops: epochs after which the learning rate is divided by ten, in place of the cosine.
        clip: the largest norm of all gradients together; 0 for no bound. Of detectors alone.
        half: store the weights in half precision. The final accuracy is measured with the stored weights.

    Raises:
        InputError: a value is out of range.
    """

    epochs: int = 130
    batch_size: int = 256
    learning_rate: float = 0.1
    final_learning_rate: float = 1e-5
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    warmup_epochs: float = 0.0
    ema: float = 0.0
    crop: Literal["inception", "shift", "none"] = "inception"
    shift: int = 0
    flip: bool = True
    augment: str = "none"
    input_size: int = 224
    model_options: Mapping[str, Any] = field(default_factory=dict)
    half: bool = False
    drops: tuple[int, ...] = ()
    clip: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "input_size"):
            self._require(name, "a positive integer", lambda value: isinstance(value, int) and value >= 1)
        self._require("shift", "an integer of at least 0", lambda value: isinstance(value, int) and value >= 0)
        object.__setattr__(self, "drops", tuple(self.drops))
        if any(not isinstance(epoch, int) or not 0 < epoch < self.epochs for epoch in self.drops):
            raise InputError(
                f"drops must be epochs before the last of {self.epochs}, got {list(self.drops)}; with fewer epochs set "
                "drops too: drops=[1], say, or drops=[] for none"
            )
        self._require("learning_rate", "a number above 0", lambda value: 0 < value < math.inf)
        for name in ("final_learning_rate", "weight_decay", "warmup_epochs", "clip"):
            self._require(name, "a number of at least 0", lambda value: 0 <= value < math.inf)
        for name in ("momentum", "label_smoothing", "ema"):
            self._require(name, "at least 0 and below 1", lambda value: 0 <= value < 1)
        self._check_choices()
        if self.warmup_epochs > self.epochs:
            raise InputError(f"warmup_epochs must be at most epochs={self.epochs}, got {self.warmup_epochs:g}")
        if self.nesterov and not self.momentum:
            raise InputError("nesterov needs momentum above 0, got 0")

    def _check_choices(self) -> None:
        for name in ("nesterov", "flip", "half"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}")
        for name, known in (("crop", CROPS), ("augment", AUGMENTS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not isinstance(self.model_options, Mapping):
            raise InputError(f"model_options must be a dict of options by name, got {self.model_options!r}")

    def _require(self, name: str, expected: str, fits: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        if not is_number(value) or not fits(value):
            raise InputError(f"{name} must be {expected}, got {value!r}")

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
        if self.drops:
            return top * 0.1 ** sum(step >= epoch * steps_per_epoch for epoch in self.drops)
        last = self.epochs * steps_per_epoch - 1
        done = (step - warmup) / max(1, last - warmup)
        return self.final_learning_rate + (top - self.final_learning_rate) * 0.5 * (1.0 + math.cos(math.pi * done))


# Section 4.1 of the paper, by the protocol of RedNet's detectors (d-li14/involution): 0.02 for 16 pictures a step,
# divided at epochs 8 and 11, weight decay 1e-4 (the paper's 1e-5 claims "the same protocol" and looks misprinted).
DETECTION = Recipe(
    epochs=12, batch_size=16, learning_rate=0.32, weight_decay=1e-4, warmup_epochs=0.07, crop="none", drops=(8, 11)
)

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
    "detection": DETECTION,
    # The same where involution or Bi-volution stands in neck or head: longer warm-up, and gradients bounded to norm 5.
    "detection-dynamic": replace(DETECTION, warmup_epochs=0.27, clip=5.0),
    # Small detectors on the demo set, all by one recipe: 0.01 for 4 pictures a step, twice the protocol's, since they
    # see few; small pictures, few channels and 100 proposals, so that one takes minutes.
    "demo-detection": replace(
        DETECTION,
        batch_size=4,
        learning_rate=0.64,
        warmup_epochs=1,
        clip=5.0,
        model_options={
            "width": 0.125,
            "pyramid_channels": 32,
            "head_channels": 64,
            "smallest_anchor": 8,
            "min_size": 96,
            "max_size": 120,
            "proposals": 100,
        },
        half=True,
    ),
}

_ADDED = {"drops": [], "clip": 0.0}


def stated(recipe: Recipe) -> dict[str, Any]:
    """A recipe as its files state it; fields that are younger than the first files only where they say more.

    Example:
        >>> "clip" in stated(PRESETS["paper"]), stated(PRESETS["detection"])["drops"]
        (False, [8, 11])
    """
    written = {**asdict(recipe), "drops": list(recipe.drops)}
    return {name: value for name, value in written.items() if name not in _ADDED or value != _ADDED[name]}


def resolve_recipe(preset: str, **changes: Any) -> Recipe:
    """A preset with some fields changed; a change to None is no change.

    Raises:
        UnknownNameError: no such preset or field.
        InputError: a changed value is out of range.

    Example:
        >>> resolve_recipe("paper", epochs=90).epochs
        90
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    known = [field.name for field in fields(Recipe)]
    for name in changes:
        if name not in known:
            raise unknown_name("recipe field", name, known)
    return replace(PRESETS[preset], **{name: value for name, value in changes.items() if value is not None})
