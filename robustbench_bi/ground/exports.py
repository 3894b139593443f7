"""Names that a package hands out before it has imported them (PEP 562), so that importing the package costs nothing."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from robustbench_bi.ground.registry import nearest


def exported(package: str, homes: Mapping[str, str], name: str) -> Any:
    """Import what a package hands out under a name; for the package's `__getattr__`.

    Args:
        package: the package's `__name__`; where it has `__all__`, a typo is answered from that.
        homes: public name → the module that holds it, or "module:name" where it has another name there.
        name: what is asked for.

    Returns:
        The object.

    Raises:
        AttributeError: the package hands out nothing of that name.

    Example:
        >>> homes = {"square_root": "math:sqrt", "pi": "math"}
        >>> exported("shapes", homes, "square_root")(9.0), round(exported("shapes", homes, "pi"))
        (3.0, 3)
        >>> exported("shapes", homes, "squareroot")
        Traceback (most recent call last):
        ...
        AttributeError: module 'shapes' has no attribute 'squareroot'. Did you mean 'square_root'?
    """
    if name not in homes:
        known = getattr(sys.modules.get(package), "__all__", homes)
        raise AttributeError(f"module {package!r} has no attribute {name!r}. {nearest(name, known)}")
    module, _, own = homes[name].partition(":")
    return getattr(importlib.import_module(module), own or name)
