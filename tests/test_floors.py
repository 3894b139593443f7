"""The floors of CONTRIBUTING.md: imports point only down, and a few names appear in one place only."""

import ast
import re
from pathlib import Path

import pytest

import robustbench_bi

PACKAGE = Path(__file__).parent.parent / "robustbench_bi"
FLOORS = {
    "__init__": 10, "__main__": 10,
    "cli": 9,
    "commands": 8,
    "probes": 7, "reports": 7,
    "evaluation": 6, "corrupted_files": 6, "training": 6, "analysis": 6,
    "runs": 5,
    "tasks": 4, "transforms": 4, "imagecorruptions": 4,
    "models": 3, "data": 3, "metrics": 3, "corruptions": 3,
    "ops": 2,
    "ground": 1,
    "errors": 0,
}  # fmt: skip
WITHOUT_TORCH = ("analysis", "reports", "runs", "metrics")
ONLY_IN = {
    "imagecorruptions": ("corruptions/original.py",),
    "timm": ("models/sources/from_timm.py", "models/timm_hook.py"),
    "click": ("cli.py", "commands/"),
}
KERNELS_ONLY = ("numba", "triton")


def imported(source: str) -> list[str]:
    """Every module that a source text imports or names in a string, as tables do, wherever that stands."""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            modules += re.findall(r"^(robustbench_bi(?:\.\w+)+)(?::\w+)?$", node.value)
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            modules.append("robustbench_bi.__init__")
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module or "")
            names = [alias.name for alias in node.names]
            homes = robustbench_bi._HOME if node.module == "robustbench_bi" else {}
            modules += [homes.get(name, f"{node.module}.{name}") for name in names]
    return modules


def violations(path: str, source: str) -> list[str]:
    """What in the file at `path`, relative to the package, breaks the floors."""
    room = path.split("/")[0].removesuffix(".py")
    found = []
    for module in imported(source):
        top, *rest = module.split(".")
        other = rest[0] if top == "robustbench_bi" and rest and rest[0] in FLOORS else room
        if other != room and FLOORS[other] >= FLOORS[room] and room not in ("__init__", "__main__"):
            found.append(f"{path} imports {module}, which is not on a lower floor")
        if top in ONLY_IN and not path.startswith(ONLY_IN[top]):
            found.append(f"{path} imports {top}; only {' and '.join(ONLY_IN[top])} may")
        if top in KERNELS_ONLY and not path.endswith("_kernels.py"):
            found.append(f"{path} imports {top}; only *_kernels.py may")
        if top == "torch" and room in WITHOUT_TORCH:
            found.append(f"{path} imports torch; {room} stands on records")
    return found


def test_every_room_has_a_floor():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix in (".py", "")}
    assert rooms - {"__pycache__"} == set(FLOORS)


@pytest.mark.parametrize("path", sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")))
def test_imports_point_down(path):
    assert violations(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ops/x.py", "def f():\n    import robustbench_bi.models.resnet"),
        ("metrics/x.py", "from robustbench_bi.data import open_data"),
        ("analysis/x.py", "from robustbench_bi import evaluate"),
        ("reports/x.py", "import torch"),
        ("probes/x.py", "from robustbench_bi.reports.write import write_csv"),
        ("training/x.py", "from robustbench_bi.evaluation import loop"),
        ("metrics/x.py", "from ..data import open_data"),
        ("metrics/x.py", "importlib.import_module('robustbench_bi.analysis.summary')"),
        ("data/__init__.py", "Source('a', 'robustbench_bi.evaluation.loop:evaluate')"),
        ("corruptions/weather.py", "import imagecorruptions"),
        ("runs/records.py", "import click"),
        ("models/resnet.py", "from timm.layers import DropPath"),
        ("ops/random_bits/reference.py", "import numba"),
    ],
)
def test_a_broken_floor_is_found(path, source):
    assert violations(path, source)


def imports_at_start(path):
    """The modules of the package that a file imports when it is imported itself."""
    found, waiting = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def cycles(graph):
    """A node of a graph that can be reached from itself, or None."""
    done, open_nodes = set(), set()

    def visit(node):
        if node in open_nodes:
            return node
        if node in done:
            return None
        open_nodes.add(node)
        for other in sorted(graph[node]):
            if (found := visit(other)) is not None:
                return found
        open_nodes.remove(node)
        done.add(node)
        return None

    return next((found for node in sorted(graph) if (found := visit(node)) is not None), None)


def test_no_module_imports_itself_by_way_of_others():
    paths = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {name: {other for other in imports_at_start(path) if other in paths} for name, path in paths.items()}
    # A package's own file comes first when one of its modules is imported; what it imports of itself is not a circle.
    graph = {
        name: {other for other in others if not f"{other}.".startswith(f"{name}.")} for name, others in graph.items()
    }
    assert sum(map(len, graph.values())) > 300
    assert cycles(graph) is None
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == "a"


@pytest.mark.parametrize("path", sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")))
def test_files_are_short(path):
    most = 150 if path == "cli.py" else 400
    assert len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) <= most
    assert "_helpers" not in path
