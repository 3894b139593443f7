"""What the name of a model tells before its library is imported, which takes seconds: typos are answered at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.ground.registry import nearest, unknown_name
from robustbench_bi.models import MODELS, find_model
from robustbench_bi.models.sources import how_to_name_a_model
from robustbench_bi.models.sources.downloads import AN_EXISTING_FOLDER, repository_of
from robustbench_bi.models.sources.library_names import library_names, library_texts

_MADE_AS_IT_RUNS = re.compile(r"import \*|__getattr__|globals\(\)|setattr\(|exec\(")


def check_model_name(model: str) -> None:
    """Refuse a model that cannot be there; that it is there is known once it is built.

    Raises:
        UnknownNameError: no table and no library lists it.
        InputError: there is no such module or function.
        WeightsError: there is no such file.

    Example:
        >>> check_model_name("torchvision:resnet5O")
        Traceback (most recent call last):
        ...
        robustbench_bi.errors.UnknownNameError: unknown torchvision model 'resnet5O'. Did you mean 'resnet50'?
    """
    found = find_model(model)
    if found is not None and found[0].name in _CHECKS:
        _CHECKS[found[0].name](found[1])


def _listed_in(library: str) -> Callable[[str], None]:
    """A check of names that a library lists; older names stand in its files too, and may be made from others."""

    def check(name: str) -> None:
        known, base = library_names(library), name.partition(".")[0]
        quoted = (f'"{base}"', f"'{base}'")
        in_text = any(form in text for text in library_texts(library) for form in quoted)
        # Our own networks are handed to timm too.
        if known and base not in known and base not in MODELS and not in_text:
            raise unknown_name(f"{library} model", name, sorted(known))

    return check


def _file(name: str) -> None:
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")


def _repository(name: str) -> None:
    """A folder, or the name of a repository with perhaps its revision."""
    if not Path(name).expanduser().is_dir():
        repository_of("hf", name, AN_EXISTING_FOLDER)


def _function(name: str) -> None:
    """A function whose module is found, and whose name stands in its text."""
    module, _, attribute = name.partition(":")
    advice = how_to_name_a_model()
    if not module or not attribute:
        raise InputError(f"there is no model {name!r}; {advice}")
    if module in sys.modules:
        return
    file = _file_of_module(module)
    if file is None and module.endswith(".py"):
        raise InputError(
            f"cannot import {module} for the model {name!r}: leave out .py, as in {module[:-3]}:{attribute}"
        )
    if file is None:
        raise InputError(f"cannot import {module} for the model {name!r}: there is no such module; {advice}")
    if file.suffix != ".py":
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    if not re.search(rf"\b{re.escape(attribute)}\b", text) and not _MADE_AS_IT_RUNS.search(text):
        functions = re.findall(r"^def (\w+)\(", text, re.MULTILINE)
        raise InputError(f"the module {module} has no function {attribute!r}. {nearest(attribute, functions)}")


def _file_of_module(module: str) -> Path | None:
    """The file of a module, found without running any; as for a script, the current folder comes first.

    A module that is part of a package is looked for beside the package's file, since finding it runs the package.
    """
    first, *inner = module.split(".")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None
    if not inner:
        return Path(spec.origin or first)
    found = [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
    files = [file for path in found for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    # Namespace packages and compiled modules are left to the import.
    return next(iter(files), None) or next((path for path in found if _may_be_there(path)), None)


def _may_be_there(path: Path) -> bool:
    return path.is_dir() or any(path.parent.glob(f"{path.name}.*"))


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "timm": _listed_in("timm"),
    "torchvision": _listed_in("torchvision"),
    "timm:hf-hub": lambda name: repository_of("timm:hf-hub", name),
    "hf": _repository,
    **dict.fromkeys(("onnx", "export", "torchscript"), _file),
    "function": _function,
}
"""By the name of the source of models; what is not here is found out by its library."""
