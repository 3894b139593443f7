"""Our networks under timm's roof: after `import robustbench_bi`, `timm.create_model("binet50")` builds one of them.

It does not matter which of the two is imported first. timm brings torch, which takes seconds to import, so it is not
imported for this. If it is there already, our networks are registered at once; otherwise a finder waits for its import,
registers them when that has succeeded, and is gone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from torch import nn

# What timm adds for its own builders; ours have no use for it.
_TIMM_ARGUMENTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def register_when_imported() -> None:
    """Register our networks with timm, now or when it is imported. Calling it again changes nothing."""
    if "timm" in sys.modules:
        register_with_timm()
    elif not any(isinstance(finder, TimmFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TimmFinder())


class TimmFinder:
    """Finds timm as the other finders do, and registers our networks after its import. It finds nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The protocol of `sys.meta_path`; looking without importing leaves everything as it was."""
        if name != "timm":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                register_with_timm()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def register_with_timm() -> None:
    """Add our rows and aliases to timm's registry, so that `timm.create_model` builds them.

    Names that timm already has (`resnet50`, `resnet101`) stay timm's own. `pretrained=True` gives the weights that
    `create_model(weights="pretrained")` would give. Calling it again changes nothing.
    """
    from timm.models import is_model, register_model

    from robustbench_bi.models import ALIASES, MODELS

    for name in (*MODELS.names, *ALIASES):
        if not is_model(name):
            register_model(_entrypoint(name))


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    from robustbench_bi.models import create_model

    def build(pretrained: bool = False, **arguments: Any) -> nn.Module:
        options = {key: value for key, value in arguments.items() if key not in _TIMM_ARGUMENTS}
        if options.get("in_chans") == 3:
            del options["in_chans"]
        model: Any = create_model(name, weights="pretrained" if pretrained else None, **options)
        model.pretrained_cfg = {
            "architecture": name,
            "num_classes": model.num_classes,
            "input_size": (3, model.input_size, model.input_size),
            "crop_pct": model.input_size / model.resize_size,
            "interpolation": model.interpolation,
            "mean": model.mean,
            "std": model.std,
            "classifier": "fc",
        }
        return model  # type: ignore[no-any-return]

    build.__name__ = name
    return build
