"""Makes `timm.create_model("binet50")` work after `import robustbench_bi`, whichever of the two is imported first.

timm brings torch, which takes seconds to import, so it is not imported for this. If it is there already, our networks
are registered at once; otherwise a finder waits for its import, registers them when that has succeeded, and is gone.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def register_when_imported() -> None:
    """Register our networks with timm, now or when it is imported. Calling it again changes nothing."""
    if "timm" in sys.modules:
        _register()
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
                _register()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    from robustbench_bi.models.external import register_with_timm

    register_with_timm()
