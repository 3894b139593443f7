"""Training: the recipe (what is done), the augmentation, and the loop (how it is run)."""

from typing import TYPE_CHECKING, Any

from robustbench_bi.ground.exports import exported

if TYPE_CHECKING:
    from robustbench_bi.training.augment import AUGMENTATIONS
    from robustbench_bi.training.logs import Progress
    from robustbench_bi.training.loop import train
    from robustbench_bi.training.recipe import PRESETS, Recipe, resolve_recipe
    from robustbench_bi.training.session import STEPS_TO_READ

_HOMES = {
    "AUGMENTATIONS": "robustbench_bi.training.augment",
    "PRESETS": "robustbench_bi.training.recipe",
    "Progress": "robustbench_bi.training.logs",
    "Recipe": "robustbench_bi.training.recipe",
    "STEPS_TO_READ": "robustbench_bi.training.session",
    "resolve_recipe": "robustbench_bi.training.recipe",
    "train": "robustbench_bi.training.loop",
}

__all__ = ["AUGMENTATIONS", "PRESETS", "STEPS_TO_READ", "Progress", "Recipe", "resolve_recipe", "train"]


def __getattr__(name: str) -> Any:
    return exported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)
