"""What other people may import: the names in `__all__` of a few rooms, and nothing deeper, as docs/api.md says."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = "robustbench_bi"
ROOMS = (
    "errors",
    "corruptions",
    "data",
    "models",
    "metrics",
    "ops",
    "runs",
    "transforms",
    "imagecorruptions",
    "analysis",
    "evaluation",
    "training",
    "probes",
    "reports",
)
PROMISED = (PACKAGE, *(f"{PACKAGE}.{room}" for room in ROOMS))
LAZY = tuple(name for name in PROMISED if name not in (f"{PACKAGE}.errors", f"{PACKAGE}.ops"))
ROOT = Path(__file__).parent.parent
READERS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "notebooks/*.ipynb",
        "reports/**/*.md",
        "reports/**/*.py",
        "benchmarks/*.py",
        "docs/*.md",
        "README.md",
    )
    for path in ROOT.glob(pattern)
)


def python_in(path, text):
    """The Python of a notebook's code cells, a page's python and pycon blocks, or a module, as parts that parse."""
    if path.endswith(".ipynb"):
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return [re.sub(r"^[%!].*$", "", "".join(cell["source"]), flags=re.MULTILINE) for cell in cells]
    if path.endswith(".md"):
        blocks = re.findall(r"^```(python|pycon)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        return [block if kind == "python" else prompts_of(block) for kind, block in blocks]
    return [text]


def prompts_of(block):
    return "\n".join(line[4:] for line in block.splitlines() if line.startswith((">>>", "...")))


def not_promised(source):
    """What a source takes from the package, or names in a string, that is in no `__all__`."""
    taken, aliases = [], {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            taken += [(alias.name, None) for alias in node.names]
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in PROMISED}
        elif isinstance(node, ast.ImportFrom):
            taken += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Constant) and re.fullmatch(rf"{PACKAGE}(\.\w+)+(:\w+)?", str(node.value)):
            taken.append((node.value, None))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            taken.append((aliases[node.value.id], node.attr))
    return [f"{module}: {name}" for module, name in taken if not may_be_taken(module, name)]


def may_be_taken(module, name):
    if module.partition(".")[0] != PACKAGE:
        return True
    if module not in PROMISED:
        return False
    return name is None or f"{module}.{name}" in PROMISED or name in importlib.import_module(module).__all__


def test_all_kinds_of_readers_are_there():
    assert {path.partition("/")[0] for path in READERS} == {"README.md", "benchmarks", "docs", "notebooks", "reports"}
    assert {Path(path).suffix for path in READERS} == {".ipynb", ".md", ".py"}


@pytest.mark.parametrize("path", READERS)
def test_readers_take_only_what_is_promised(path):
    parts = python_in(path, (ROOT / path).read_text(encoding="utf-8"))
    assert [found for part in parts for found in not_promised(part)] == []


@pytest.mark.parametrize(
    "source",
    [
        "from robustbench_bi.analysis.summary import summary_frame",
        "def f():\n    import robustbench_bi.runs.run",
        "from robustbench_bi.corruptions import original",
        "from robustbench_bi import commands",
        "import importlib\nimportlib.import_module('robustbench_bi.evaluation.loop')",
        "import robustbench_bi as rb\nrb.corruptions_of()",
        "import robustbench_bi.models as m\nm.resolve('resnet50')",
    ],
)
def test_what_is_not_promised_is_found(source):
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": source.splitlines(keepends=True)}]})
    prompts = "\n".join((">>> " if not line.startswith(" ") else "... ") + line for line in source.splitlines())
    page = f"```python\n{source}\n```\n"
    session = f"```pycon\n{prompts}\n```\n"
    written = {"a.py": source, "a.ipynb": notebook, "a.md": page, "b.md": session}
    for path, text in written.items():
        assert [found for part in python_in(path, text) for found in not_promised(part)], path


@pytest.mark.parametrize("module", PROMISED)
def test_every_promised_name_is_there_and_described(module):
    room = importlib.import_module(module)
    assert len(room.__all__) == len(set(room.__all__))
    for name in room.__all__:
        found = getattr(room, name)
        if inspect.isfunction(found) or inspect.isclass(found):
            described = (found.__doc__ or "").strip()
            # A dataclass without a docstring gets its signature in place of one.
            assert described and not described.startswith(f"{found.__name__}("), name
    assert set(dir(room)) >= set(room.__all__)


@pytest.mark.parametrize("module", PROMISED)
def test_no_promised_name_is_that_of_a_module(module):
    room = importlib.import_module(module)
    if not hasattr(room, "__path__"):
        return
    modules = {path.stem for folder in room.__path__ for path in Path(folder).iterdir() if path.name[0] not in "_."}
    # The operators are imported with their room, so that the name of each is the function from the first moment on.
    operators = {"dynamic_filter", "local_logits"}
    meant = {f"{PACKAGE}": {"imagecorruptions", "ops", "transforms"}, f"{PACKAGE}.ops": operators}.get(module, set())
    assert modules & set(room.__all__) == meant
    ops = importlib.import_module(f"{PACKAGE}.ops")
    assert not any(isinstance(getattr(ops, operator), ModuleType) for operator in operators)


@pytest.mark.parametrize("module", LAZY)
def test_importing_a_room_loads_nothing_large(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'pandas', 'matplotlib', 'pyarrow') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("module", PROMISED)
def test_what_type_checkers_see_is_what_is_handed_out(module):
    room = importlib.import_module(module)
    tree = ast.parse(inspect.getsource(room))
    homes = {}
    for guard in tree.body:
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING":
            for node in guard.body:
                if isinstance(node, ast.ImportFrom) and node.module.startswith(PACKAGE):
                    homes |= {
                        alias.asname or alias.name: node.module
                        + (f":{alias.name}" if alias.asname not in (None, alias.name) else "")
                        for alias in node.names
                    }
    handed_out = getattr(room, "_HOMES", getattr(room, "_HOME", {}))
    assert set(handed_out) <= set(room.__all__)
    assert {name: home for name, home in homes.items() if name in room.__all__ and home != PACKAGE} == handed_out


def test_a_typo_is_answered():
    analysis = importlib.import_module(f"{PACKAGE}.analysis")
    with pytest.raises(AttributeError, match=r"no attribute 'sumary_frame'\. Did you mean 'summary_frame'\?"):
        analysis.sumary_frame  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'evaluate'"):
        importlib.import_module(PACKAGE).evaluat  # noqa: B018


def test_the_page_lists_exactly_what_is_promised():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## `(\S+)`\n\n.*\n\n((?:`.*\n)+)", text, flags=re.MULTILINE)
    listed = {module: re.findall(r"`(\w+)`", names) for module, names in sections}
    assert listed == {module: importlib.import_module(module).__all__ for module in PROMISED}
    assert text.count("\n## ") == len(PROMISED)
